"""OpenAI's own client against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.web.conftest import Web

openai = pytest.importorskip("openai", reason="openai isn't installed: the extra `clients` has it")


@pytest.fixture(scope="module")
def client(server_url: str, keys_by_scope: dict[str, str]) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server_url}/v1", api_key=keys_by_scope["search"], max_retries=0) as opened:
        yield opened


def test_texts_are_embedded(client: Any, web: Web) -> None:
    texts = ["a red circle", "two green squares"]
    answer = client.embeddings.create(model="demo", input=texts)  # it asks for base64
    found = np.array([row.embedding for row in answer.data], np.float32)
    np.testing.assert_allclose(found, web.embedder.embed_texts(texts), atol=1e-6)
    assert (answer.model, answer.object) == ("demo", "list")
    assert answer.usage.prompt_tokens == sum(web.embedder.count_tokens(texts)) > 2
    numbers = client.embeddings.create(model="demo", input=texts[0], encoding_format="float").data[0].embedding
    np.testing.assert_allclose(numbers, found[0], atol=1e-6)


def test_errors_show_their_sentences(client: Any, server_url: str) -> None:
    with pytest.raises(openai.NotFoundError, match="isn't the active one, 'demo'") as caught:
        client.embeddings.create(model="text-embedding-3-small", input="x")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.UnprocessableEntityError, match="arrays of tokens"):
        client.embeddings.create(model="demo", input=[1, 2, 3])
    with (
        openai.OpenAI(base_url=f"{server_url}/v1", api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError, match="isn't valid"),
    ):
        stranger.embeddings.create(model="demo", input="x")
