"""What is said about texts that are too long, and what is refused."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.tokenizer.base import Tokenizer
from siglip_ingest.siglip.tokenizer.loading import load_tokenizer
from tests.checkpoints import write_gemma_style_tokenizer, write_processor

LONG = "a photo of a cat and a dog beside a river and a red boat"


@pytest.fixture(scope="module", params=["siglip", "siglip2"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "siglip":
        write_processor(folder, image_size=32)
    else:
        write_gemma_style_tokenizer(folder)
    return load_tokenizer(folder, max_length=16)


def test_a_text_that_is_too_long_keeps_its_final_token_and_is_reported(tokenizer: Tokenizer) -> None:
    tokenized = tokenizer.tokenize(["cat", LONG])
    (truncation,) = tokenized.truncations
    assert tokenized.input_ids[1, -1] == tokenizer.eos_id
    assert truncation.index == 1
    assert truncation.token_count == len(tokenizer.encode([LONG])[0]) > 16
    assert truncation.max_length == 16
    assert truncation.dropped.endswith("red boat")
    assert LONG.endswith(truncation.dropped.removeprefix("…"))


def test_what_fits_to_the_last_token_is_not_cut(tokenizer: Tokenizer) -> None:
    whole = next(
        text for text in (LONG[:length] for length in range(len(LONG), 0, -1)) if len(tokenizer.encode([text])[0]) == 16
    )
    assert not tokenizer.tokenize([whole]).truncations
    assert tokenizer.tokenize([whole]).input_ids[0].tolist() == tokenizer.encode([whole])[0]


def test_a_text_whose_own_final_token_is_the_last_that_fits_is_not_cut(tmp_path: Path) -> None:
    write_processor(tmp_path, image_size=32)
    tokenizer = load_tokenizer(tmp_path, max_length=16)
    assert len(tokenizer.encode(["cat " * 15 + "</s>"])[0]) == 16
    assert not tokenizer.tokenize(["cat " * 15 + "</s>"]).truncations


def test_the_end_that_is_dropped_is_the_end_of_what_was_kept(tokenizer: Tokenizer) -> None:
    (truncation,) = tokenizer.tokenize([LONG]).truncations
    kept = LONG.removesuffix(truncation.dropped.removeprefix("…")).rstrip()
    assert tokenizer.encode([kept])[0][:-1] == tokenizer.tokenize([LONG]).input_ids[0, :15].tolist()
    assert truncation.dropped.startswith("…") == (not LONG.removeprefix(kept).startswith(" "))


def test_a_call_warns_in_one_line_however_many_texts_are_cut(
    tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        tokenizer(["cat", *[f"{LONG} {number}\nmore" for number in range(50)]])
    (record,) = caplog.records
    assert record.name == "siglip_ingest.siglip.tokenizer.base"
    assert "50 of 51 texts are cut. Text 2 has" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_a_warning_on_one_text_says_how_many_tokens_fit_and_what_was_dropped(
    tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer([LONG])
    message = caplog.messages[0]
    assert f"The text has {len(tokenizer.encode([LONG])[0])} tokens, but the model reads 16" in message
    assert "red boat" in message


def test_the_warning_on_a_very_long_text_stays_short(tokenizer: Tokenizer) -> None:
    warning = tokenizer.tokenize(["cat " * 10_000]).warning
    assert warning is not None
    assert len(warning) < 300
    assert "…" in warning


def test_the_warning_is_seen_where_nobody_set_up_logging(tmp_path: Path) -> None:
    write_processor(tmp_path, image_size=32)
    code = (
        "import sys, pathlib; from siglip_ingest.siglip.tokenizer.loading import load_tokenizer; "
        "load_tokenizer(pathlib.Path(sys.argv[1]), max_length=16)(['cat ' * 50])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stderr.startswith("The text has 51 tokens, but the model reads 16.")
    assert done.stderr.count("\n") == 1


def test_nothing_is_said_about_texts_that_fit(tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer(["cat", "", "a dog"])
    assert not caplog.records
    assert tokenizer.tokenize([]).warning is None


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ("cat", "not one text"),
        (["cat", None], "Text 2 must be a string, not NoneType"),
        ([b"cat"], "not bytes"),
        (["cat", "a \ud83e cat"], "Text 2 holds half a character"),
    ],
    ids=["one text", "none", "bytes", "lone surrogate"],
)
def test_what_is_no_list_of_texts_is_refused(tokenizer: Tokenizer, texts: list[str], words: str) -> None:
    for call in (tokenizer, tokenizer.tokenize, tokenizer.encode):
        with pytest.raises(InvalidInputError, match=words):
            call(texts)
