"""What the documents show is typed, page by page, on the machine of somebody who reads them."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import psycopg
import pytest
from PIL import Image

from siglip_ingest.demo.world import write_images
from tests.conftest import replace_database
from tests.documents import snippets_of
from tests.project.reader import run_script, write_script
from tools.documents import ROOT, find_snippets

pytestmark = pytest.mark.slow  # a shell, some programs and some seconds a page

# Pages, and which of their languages are typed here: the rest is run by other tests. Those that delete come last.
TYPED = {
    "README.md": ("sh",),
    "docs/usage.md": ("sh",),
    "docs/composing.md": ("sh", "python"),
    "docs/sources.md": ("sh",),
    "docs/recall.md": ("sh",),
    "docs/sql.md": ("sh",),
    "docs/labels.md": ("console",),
    "docs/engine.md": ("python",),
    "docs/api.md": ("python",),
    "docs/cli.md": ("sh",),
    "docs/gallery.md": ("sh",),
    "docs/mcp.md": ("sh",),
    "docs/encoders.md": ("sh",),
    "docs/deployment.md": ("sh",),
    "docs/how-to/gpu-box.md": ("sh",),
    "docs/how-to/s3-bucket.md": ("sh", "python", "sql"),
    "docs/how-to/products-table.md": ("sql",),
    "docs/how-to/tune-thresholds.md": ("sh", "sql"),
    "docs/how-to/other-languages.md": ("sh", "python", "sql"),
    "docs/how-to/change-the-model.md": ("sh", "sql"),
    "docs/how-to/near-duplicates.md": ("sh", "python", "sql"),
    "docs/deleting.md": ("sh", "python"),
    "CONTRIBUTING.md": ("sh",),
    "docs/tutorial.md": ("sh", "python", "sql"),
}
# Lines of the shell that aren't run, and why.
SKIPPED = {
    r"^pip install|^python3 -m venv": "installs packages; tests/project/test_wheel.py builds and looks at the wheel",
    r"^git clone|^make (test|check|fmt)\b": "it is what runs this test",
    r"^make demo\b": "draws and indexes 400 images; the tutorial does the same with fewer",
    r"siglip-ingest serve": "goes on until Ctrl-C; tests/cli/test_serving.py starts and ends it",
    r"^siglip-ingest worker": "goes on until Ctrl-C; tests/cli/test_worker.py starts and ends workers",
    r" --watch ": "goes on until Ctrl-C; tests/cli/test_deleting.py watches a folder",
    r"https://example.org": "the web, which tests don't use; tests/workers/test_sources.py has a server",
    r"torch\.cuda\.get_device_name": "needs a GPU",
}
_OTHER_SERVER = {"docs/deployment.md", "docs/how-to/gpu-box.md", "README.md"}


@dataclass
class Machine:
    """A folder with what the documents name, services that run, and what stands there for servers far away."""

    folder: Path
    environment: dict[str, str]
    said_otherwise: dict[str, str] = field(default_factory=dict)

    def type(self, text: str) -> str:
        return run_script(f"set -euo pipefail\n{text}\n", self.folder, self.environment)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, _s3: dict[str, str]) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("reader")
    (folder / "last").touch()
    _write_files(folder)
    _fill_buckets(_s3, sorted((folder / "photos").iterdir()))
    made = Machine(folder, {**_s3, "SIGLIP_HOME": str(folder / "home")})
    made.type("siglip-ingest up")
    try:
        made.type(
            """SIGLIP_MODEL=demo siglip-ingest index photos --collection holiday --metadata '{"album": "2026"}'"""
        )
        services = json.loads(made.type("siglip-ingest status --json"))["services"]
        with psycopg.connect(services["database_url"], autocommit=True) as connection:
            connection.execute("CREATE DATABASE photos")
        made.said_otherwise = {
            "postgresql://me@db.example/photos": replace_database(services["database_url"], "photos"),
            "postgresql://siglip:secret@db.example/photos": replace_database(services["database_url"], "photos"),
            "redis://redis.example:6379/0": replace_database(services["broker_url"], "1"),
            "https://images.example.com/": f"file://{folder}/shop/",
            "google/siglip2-base-patch16-384": str(folder / "other"),
            "google/siglip2-base-patch16-224": "demo",
            "siglip-ingest delete --": "siglip-ingest delete --yes --",  # nobody can be asked here
            "find /photos ": f"find {folder}/photos ",
        }
        yield made
    finally:
        made.type("siglip-ingest down")


@pytest.mark.parametrize("page", [page for page in TYPED if page != "docs/tutorial.md"])
def test_what_a_page_shows_works(machine: Machine, page: str) -> None:
    blocks = [block for block in find_snippets(ROOT / page) if block.language in TYPED[page]]
    said_otherwise = dict(machine.said_otherwise)
    if page == "docs/engine.md":
        said_otherwise["page = "] = "from siglip_ingest import search_images\n\npage = "
    script = write_script(blocks, SKIPPED, said_otherwise)
    assert "== " in script
    environment = machine.environment | ({"SIGLIP_MODEL": "demo"} if page in _OTHER_SERVER else {})
    run_script(script, machine.folder, environment)
    if " models use " in script:
        machine.type("siglip-ingest models use demo")


def test_the_tutorial_works_and_prints_what_it_says(tmp_path: Path) -> None:
    page = "docs/tutorial.md"
    blocks = find_snippets(ROOT / page)
    try:
        printed = run_script(write_script(blocks, SKIPPED, {}), tmp_path, {})
    finally:
        run_script("siglip-ingest down", tmp_path, {"SIGLIP_HOME": str(tmp_path / "home")})
    for line in "".join(block.text for block in snippets_of(page, "text")).splitlines():
        *_, last = line.split()
        last = last.removeprefix("/home/me/")  # the reader's folder
        assert last in printed, line  # scores move in the third digit with what computes
    assert "night sky |     22" in printed


def _write_files(folder: Path) -> None:
    """The images, folders and lists that the documents name."""
    photos = [image.path for image in write_images(folder / "photos", 48, seed=70_000, size=(160, 120))]
    for name in ("one.jpg", "query.jpg", "a.jpg", "more/one.jpg", "backup/IMG"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(photos[0], folder / name)
    shutil.copy(photos[1], folder / "photos" / "copy.jpg")
    (folder / "shop").mkdir()
    for number in (1, 2, 3):
        shutil.copy(photos[number], folder / "shop" / f"{number}.jpg")
    (folder / "scans").mkdir()
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(folder / "scans" / "1.tif")
    (folder / "shards").mkdir()
    with tarfile.open(folder / "shards" / "photos-000001.tar", "w") as tar:
        tar.add(photos[4], "0001.jpg")
    rows = [f"photos/{photo.name},{number}" for number, photo in enumerate(photos[:3])]
    (folder / "products.csv").write_text("\n".join(["photo,sku", *rows]) + "\n")
    lines = [json.dumps({"image": str(photo), "caption": f"image {number}"}) for number, photo in enumerate(photos)]
    (folder / "captions.jsonl").write_text("\n".join(lines) + "\n")
    from siglip_ingest.siglip import AutoModel, AutoProcessor

    AutoModel.from_pretrained("demo").save_pretrained(folder / "other")
    AutoProcessor.from_pretrained("demo").save_pretrained(folder / "other")


def _fill_buckets(environment: dict[str, str], photos: list[Path]) -> None:
    """The buckets that the documents name, on the tests' S3 server."""
    client: Any = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
    )
    for name in ("bucket", "my-bucket"):
        client.create_bucket(Bucket=name)
        for photo in photos[:6]:
            client.put_object(Bucket=name, Key=f"photos/{photo.name}", Body=photo.read_bytes())
    shard = photos[0].parents[1] / "shards" / "photos-000001.tar"
    client.put_object(Bucket="bucket", Key="shards/photos-000001.tar", Body=shard.read_bytes())
