"""`/v1/images/{image_id}/location`: where in an image a text matches."""

from __future__ import annotations

import numpy as np
import pytest
from starlette.testclient import TestClient

from siglip_ingest.client import SiglipClient
from siglip_ingest.embedders.batching import BatchingEmbedder
from siglip_ingest.embedders.local import load_embedder
from siglip_ingest.settings import Settings
from tests.web.conftest import Web


@pytest.fixture(scope="module")
def located(web: Web, api: TestClient) -> dict[str, object]:
    return api.get(f"/v1/images/{web.image_ids[0]}/location", params={"text": "water"}).json()


def test_the_map_is_the_librarys(web: Web, located: dict[str, object]) -> None:
    embedder = BatchingEmbedder(load_embedder("demo", Settings(device="cpu", dtype="float32")))
    with SiglipClient(settings=web.settings, embedder=embedder) as client:
        expected = client.locate(web.image_ids[0], "water")
    assert (located["rows"], located["columns"]) == expected.values.shape
    np.testing.assert_allclose(located["values"], expected.values, atol=1e-3)
    assert located["peak"] == {"x": expected.peak[0], "y": expected.peak[1]}
    assert located["score"] == pytest.approx(expected.score, abs=1e-3)


def test_values_are_shares_of_the_strongest(located: dict[str, object]) -> None:
    values = np.array(located["values"])
    assert values.max() == 1
    assert values.min() >= 0


@pytest.mark.parametrize(
    ("image_id", "text", "status"), [(999_999, "water", 404), (0, "water", 422), (None, "", 422), (None, "...", 422)]
)
def test_bad_input_is_told(api: TestClient, web: Web, image_id: int | None, text: str, status: int) -> None:
    answer = api.get(
        f"/v1/images/{image_id if image_id is not None else web.image_ids[0]}/location", params={"text": text}
    )
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
