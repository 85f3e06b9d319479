"""A client that openapi-python-client writes from /openapi.json, against a real server."""

from __future__ import annotations

import base64
import importlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.web.conftest import COLLECTION, IMAGES, Web

pytest.importorskip("openapi_python_client", reason="openapi-python-client isn't installed: the extra `clients` has it")

NAME = "generated_siglip_client"


@pytest.fixture(scope="module")
def generated(guarded: TestClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_text(guarded.get("/openapi.json").text)
    # Without its hooks, which would format the code; and told what it doesn't know of kinds of content.
    kinds = {"image/webp": "application/octet-stream", "image/*": "application/octet-stream"}
    config = {"package_name_override": NAME, "post_hooks": [], "content_type_overrides": kinds}
    (folder / "config.yaml").write_text(json.dumps(config))
    command = ["-m", "openapi_python_client", "generate", "--path", "openapi.json", "--config", "config.yaml"]
    done = subprocess.run(
        [sys.executable, *command, "--meta", "none", "--output-path", NAME, "--fail-on-warning"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield folder / NAME
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.split(".")[0] == NAME]:
        del sys.modules[name]


def load(name: str) -> Any:
    return importlib.import_module(f"{NAME}.{name}")


@pytest.mark.slow
def test_a_client_can_be_generated_and_used(
    generated: Path, web: Web, server_url: str, keys_by_scope: dict[str, str]
) -> None:
    with load("client").AuthenticatedClient(base_url=server_url, token=keys_by_scope["search"]) as client:
        use(client, web)


def use(client: Any, web: Web) -> None:
    models = load("models")
    body = models.SearchRequest(query="a red circle", collection=COLLECTION, limit=5)
    page = load("api.search.search_v1_search_post").sync(client=client, body=body)
    assert len(page.matches) == 5
    assert page.matches[0].score >= page.matches[4].score
    assert page.next_cursor

    path = sorted((web.folder / "images").iterdir())[2]
    file = load("types").File(payload=io.BytesIO(path.read_bytes()), file_name=path.name, mime_type="image/jpeg")
    form = models.BodyUploadImageV1UploadsPost(file=file)
    upload = load("api.search.upload_image_v1_uploads_post").sync(client=client, body=form)
    assert hasattr(upload, "upload_id"), upload
    found = load("api.search.search_v1_search_post").sync(
        client=client, body=models.SearchRequest(upload_id=upload.upload_id, collection=COLLECTION)
    )
    assert found.matches[0].image_id == web.image_ids[2]

    images = load("api.images.list_images_v1_images_get").sync(client=client, collection=COLLECTION, limit=200)
    assert images.total == len(images.images) == IMAGES
    assert images.images[0].created_at.year >= 2024

    request = models.EmbeddingRequest(input_=f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}")
    vectors = load("api.embeddings.create_embeddings_v1_embeddings_post").sync(client=client, body=request)
    assert len(vectors.data[0].embedding) > 16

    thumbnail = load("api.images.get_thumbnail_v1_images_image_id_thumbnail_get")
    content = thumbnail.sync(client=client, image_id=web.image_ids[0]).payload.read()
    assert content[8:12] == b"WEBP"

    refused = load("api.images.delete_image_v1_images_image_id_delete").sync(image_id=web.image_ids[0], client=client)
    assert (refused.status, refused.code) == (403, "scope_needed")
