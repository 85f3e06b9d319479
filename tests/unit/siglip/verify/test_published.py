from __future__ import annotations

from pathlib import Path

import pytest

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.tokenizer.loading import load_tokenizer
from siglip_ingest.siglip.verify.inputs import CIRCLES, SHAPES
from siglip_ingest.siglip.verify.published import find_published, load_table
from tests.parity.pairs import optional_data


def test_the_table_of_published_numbers_is_whole() -> None:
    table = load_table()
    assert {"google/siglip-base-patch16-224", "google/siglip2-base-patch16-224"} <= table.keys()
    for published in table.values():
        for scores in published.get("scores", []):
            values = scores.get("logits", scores.get("probabilities"))
            assert len(values) == len(scores["texts"])
            assert scores["source"]
            assert scores["image"] in {*SHAPES, *CIRCLES, *published["images"]}
        for ids in (published["tokens"] or {"texts": {}})["texts"].values():
            assert ids[-1] == 1


def test_the_published_token_ids_of_siglip_2_are_those_of_the_published_tokenizer() -> None:
    published = load_table()["google/siglip2-base-patch16-naflex"]
    tokenizer = load_tokenizer(optional_data("tokenizers/siglip2/tokenizer.json").parent, max_length=64)
    for text, ids in published["tokens"]["texts"].items():
        assert tokenizer([text])[0].tolist() == ids + [0] * (64 - len(ids)), text


NAFLEX = "google/siglip2-base-patch16-naflex"
NAFLEX_SNAPSHOT = "/cache/models--google--siglip2-base-patch16-naflex/snapshots/0"
NAFLEX_HASH = "sha256:ac5f28bbdf92c0c1696ccbd3ce716426049cd67ad8045b66d0d938b0f9c8bbec"


@pytest.mark.parametrize(
    ("name", "revision", "folder", "named_as", "expected"),
    [
        pytest.param(NAFLEX, "0" * 40, None, None, NAFLEX, id="a name on the hub"),
        pytest.param(f"{NAFLEX}@main", "0" * 40, None, None, NAFLEX, id="a name with a revision"),
        pytest.param("/x", "0" * 40, Path(NAFLEX_SNAPSHOT), None, NAFLEX, id="a folder of the hub's cache"),
        pytest.param("/x", NAFLEX_HASH, Path("/x"), None, NAFLEX, id="the hash of the weights"),
        pytest.param("/x", "sha256:0", Path("/x"), NAFLEX, NAFLEX, id="as a person says"),
        pytest.param("/x", "sha256:0", Path("/x"), None, None, id="unknown"),
    ],
)
def test_published_numbers_are_found(
    name: str, revision: str, folder: Path | None, named_as: str | None, expected: str | None
) -> None:
    found = find_published(name, revision, folder, named_as=named_as)
    assert (None if found is None else found["name"]) == expected


def test_a_name_that_nothing_is_published_of_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"published of 'google/none'\. There are: google/siglip-"):
        find_published("/x", "sha256:0", named_as="google/none")
