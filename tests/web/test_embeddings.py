"""OpenAI's embeddings, of texts and of images."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient

from siglip_ingest.embedders.local import load_embedder
from siglip_ingest.settings import Settings
from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.siglip.preprocess.opening import open_image
from tests.web.conftest import Web

SHORT = "cat"
LONG = "a photo of a very large red circle that stands beside a small green triangle above the blue water"


@pytest.fixture(scope="module")
def reference() -> TorchEmbedder:
    return load_embedder("demo", Settings(device="cpu", dtype="float32"))


def embed(api: TestClient, **body: Any) -> NDArray[np.float32]:
    answer = api.post("/v1/embeddings", json=body)
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert [each["index"] for each in data] == list(range(len(data)))
    return np.array([each["embedding"] for each in data], dtype=np.float32)


def refuse(api: TestClient, status: int = 422, **body: Any) -> dict[str, Any]:
    answer = api.post("/v1/embeddings", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    problem: dict[str, Any] = answer.json()
    return problem


def data_url(path: Path, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


@pytest.fixture(scope="module")
def paths(web: Web) -> list[Path]:
    return sorted((web.folder / "images").iterdir())[:3]


def test_the_answer_is_openais(api: TestClient, reference: TorchEmbedder) -> None:
    answer = api.post("/v1/embeddings", json={"model": "demo", "input": SHORT, "user": "me"}).json()
    (tokens,) = reference.count_tokens([SHORT])
    assert answer.keys() == {"object", "data", "model", "usage"}
    assert (answer["object"], answer["model"]) == ("list", "demo")
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert 1 < tokens < 10
    (row,) = answer["data"]
    assert (row["object"], row["index"], len(row["embedding"])) == ("embedding", 0, reference.info.dimension)


def test_vectors_are_those_of_the_model(api: TestClient, reference: TorchEmbedder) -> None:
    found = embed(api, input=[SHORT, LONG])
    np.testing.assert_allclose(found, reference.embed_texts([SHORT, LONG]), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_a_short_text_is_the_same_beside_a_long_one(api: TestClient, reference: TorchEmbedder) -> None:
    alone, beside = embed(api, input=SHORT)[0], embed(api, input=[LONG, SHORT])[1]
    np.testing.assert_allclose(alone, beside, atol=1e-6)
    np.testing.assert_allclose(alone, reference.embed_texts([SHORT])[0], atol=1e-6)
    assert reference.tokenize([SHORT]).shape == reference.tokenize([LONG]).shape


def test_base64_is_little_endian_float32(api: TestClient) -> None:
    answer = api.post("/v1/embeddings", json={"input": [SHORT, LONG], "encoding_format": "base64"}).json()
    found = np.array([np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in answer["data"]])
    assert np.array_equal(found, embed(api, input=[SHORT, LONG]))


def test_images_as_infinity_takes_them(api: TestClient, paths: list[Path], reference: TorchEmbedder) -> None:
    expected = reference.embed_images([open_image(path) for path in paths])
    urls = [data_url(path) for path in paths]
    np.testing.assert_allclose(embed(api, model="demo", input=urls, modality="image"), expected, atol=1e-5)
    np.testing.assert_allclose(embed(api, input=urls[0], modality="image"), expected[:1], atol=1e-5)
    mixed = embed(api, input=[urls[1], SHORT, urls[0]])
    np.testing.assert_allclose(mixed[[2, 0]], expected[:2], atol=1e-5)
    np.testing.assert_allclose(mixed[1], reference.embed_texts([SHORT])[0], atol=1e-6)


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "image_url", "image_url": {"url": "URL"}}],
        [{"type": "image_url", "image_url": "URL"}, {"type": "text", "text": " "}],
    ],
    ids=["vllm", "with an empty text"],
)
def test_images_as_vllm_takes_them(api: TestClient, paths: list[Path], content: Any) -> None:
    filled = [
        {
            **part,
            "image_url": {"url": data_url(paths[0])} if isinstance(part["image_url"], dict) else data_url(paths[0]),
        }
        if part["type"] == "image_url"
        else part
        for part in content
    ]
    found = embed(api, model="demo", messages=[{"role": "user", "content": filled}], encoding_format="float")
    assert np.array_equal(found, embed(api, input=data_url(paths[0])))


def test_a_text_in_messages(api: TestClient) -> None:
    expected = embed(api, input=SHORT)
    assert np.array_equal(embed(api, messages=[{"role": "user", "content": SHORT}]), expected)
    parts = [{"type": "text", "text": SHORT}]
    assert np.array_equal(embed(api, messages=[{"role": "user", "content": parts}]), expected)


def test_messages_hold_one_thing(api: TestClient, paths: list[Path]) -> None:
    image = {"type": "image_url", "image_url": {"url": data_url(paths[0])}}
    for parts in ([image, {"type": "text", "text": "Represent it."}], [image, image], [{"type": "text", "text": ""}]):
        assert "one text or one image" in refuse(api, messages=[{"role": "user", "content": parts}])["detail"]


@pytest.mark.parametrize("tokens", [[1, 2], [[1, 2], [3]]], ids=["one", "several"])
def test_tokens_are_refused_with_a_sentence(api: TestClient, tokens: Any) -> None:
    assert "arrays of tokens" in refuse(api, input=tokens)["detail"]


@pytest.mark.parametrize("body", [{}, {"input": []}, {"input": "x", "messages": []}, {"input": None}, {"input": {}}])
def test_something_is_to_be_embedded(api: TestClient, body: dict[str, Any]) -> None:
    refuse(api, **body)


@pytest.mark.parametrize("texts", ["", "  ", [SHORT, ""], [SHORT, "\0"]], ids=["empty", "blank", "one of two", "NUL"])
def test_texts_that_cannot_be_read_are_refused(api: TestClient, texts: Any) -> None:
    refuse(api, input=texts)


def test_another_model_is_not_found(api: TestClient) -> None:
    problem = refuse(api, 404, input=SHORT, model="text-embedding-3-small")
    assert problem["code"] == "model_not_found"
    assert "'demo'" in problem["detail"]
    assert len(refuse(api, 404, input=SHORT, model="x" * 10_000)["detail"]) < 400


def test_dimensions_are_the_models(api: TestClient, reference: TorchEmbedder) -> None:
    assert embed(api, input=SHORT, dimensions=reference.info.dimension).shape == (1, reference.info.dimension)
    assert "can't be shortened" in refuse(api, input=SHORT, dimensions=8)["detail"]


@pytest.mark.parametrize("modality", [None, "image"])
@pytest.mark.parametrize("url", ["https://photos.example/a.jpg", "http://169.254.169.254/latest/meta-data"])
def test_addresses_are_not_fetched(
    api: TestClient, monkeypatch: pytest.MonkeyPatch, url: str, modality: str | None
) -> None:
    monkeypatch.setattr("siglip_ingest.client.searching.fetch", lambda *_, **__: pytest.fail("fetched"))
    assert "aren't fetched" in refuse(api, input=[url], modality=modality)["detail"]
    message = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
    assert "aren't fetched" in refuse(api, messages=[message])["detail"]


def test_an_address_can_be_a_text(api: TestClient) -> None:
    assert len(embed(api, input="https://photos.example/a.jpg", modality="text")) == 1


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,",
        "data:image/png;base64,!!!",
        "data:text/plain;base64,QQ==",
        "file:///etc/passwd",
        "/etc/passwd",
        SHORT,
    ],
)
def test_what_is_no_image_is_refused(api: TestClient, url: str) -> None:
    refuse(api, input=[url], modality="image")


def test_an_image_too_large_is_refused(web: Web) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (300, 300)).save(buffer, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    with web.serve(max_image_pixels=10_000) as app:
        assert refuse(app, input=[url])["code"] == "too_large"


def test_a_request_has_its_limits(api: TestClient, paths: list[Path]) -> None:
    assert "at most 2048" in refuse(api, input=["x"] * 2049)["detail"]
    assert "64 images" in refuse(api, input=[data_url(paths[0])] * 65)["detail"]
    assert len(embed(api, input=[f"text {number}" for number in range(200)])) == 200
