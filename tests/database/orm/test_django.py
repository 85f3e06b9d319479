"""docs/django.md is run: a Django project whose files are those that the document shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from siglip_ingest.db import Database
from siglip_ingest.labeling import create_label_set
from tests.conftest import replace_database
from tests.database.helpers import add_model, index_images, make_fake, text_vector
from tests.database.listeners import listening
from tests.database.orm.documents import code_blocks

pytest.importorskip("django", minversion="5.2")

NAMES = ["red shoes", "a scarf", "gloves"]
BLOCKS = code_blocks("django.md")
FILES = {match[1]: block for block in BLOCKS if (match := re.match(r"# (\S+\.py)\n", block))}
ATTACHING = "shop/migrations/0004_attach.py"
(QUERIES,) = [block for block in BLOCKS if not block.startswith("# ")]

SETTINGS = """
import os
SECRET_KEY = "x"
INSTALLED_APPS = ["shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
DATABASES["default"].update(HOST=os.environ["DB_HOST"], NAME=os.environ["DB_NAME"], USER=os.environ["DB_USER"],
                            PORT=os.environ.get("DB_PORT", ""))
"""

TESTS = """
from django.test import TestCase

from shop.models import Image, LabelScore, Product


class SchemaTest(TestCase):
    def test_the_schema_is_there(self):
        self.assertEqual(Image.objects.count() + LabelScore.objects.count(), 0)
        Product.objects.create(name="a scarf", price=1)
        self.assertEqual(Product.objects.count(), 1)
"""


class Project:
    """A folder with manage.py's work: settings, and the app `shop`."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.name = conninfo_to_dict(database_url)["dbname"]
        server = conninfo_to_dict(database_url)
        self._environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "settings",
            "DB_HOST": str(server["host"]),
            "DB_NAME": str(server["dbname"]),
            "DB_USER": str(server["user"]),
            "DB_PORT": str(server.get("port") or ""),
            "PGPASSWORD": str(server.get("password") or ""),
            "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        for name, content in FILES.items():
            if name != ATTACHING:
                self.write(name, content)
        self.write("settings.py", FILES["settings.py"] + SETTINGS)
        self.write("shop/__init__.py", "")
        self.write("shop/migrations/__init__.py", "")
        self.write("shop/tests.py", TESTS)

    def write(self, name: str, content: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(content)

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, "-W", "error", "-m", "django", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def run(self, code: str) -> list[str]:
        """Run a program with the project's settings; returns the lines that it prints."""
        return self.manage("shell", "--no-imports", "-c", code).splitlines()


@pytest.fixture
def project(tmp_path: Path, empty_database_url: str) -> Project:
    """The project as the document builds it, migrated: in a database that didn't have our schema."""
    project = Project(tmp_path / "project", empty_database_url)
    with_image, by_hand = FILES["shop/models.py"], FILES["shop/migrations/0003_product_image.py"]
    project.write("shop/models.py", "\n".join(line for line in with_image.split("\n") if "SET_NULL" not in line))
    (project.folder / "shop/migrations/0003_product_image.py").unlink()
    project.manage("makemigrations", "shop", "--name", "models")
    project.write("shop/models.py", with_image)
    project.write("shop/migrations/0003_product_image.py", by_hand)
    project.manage("migrate")
    return project


@pytest.fixture
def database(project: Project, empty_database_url: str) -> Iterator[Database]:
    with Database(empty_database_url) as database:
        yield database


@pytest.fixture
def image_ids(database: Database) -> list[int]:
    """A product for each name, with an image that has the name's vector."""
    with database.connection() as connection:
        model_id = add_model(connection)
    ids = index_images(database, model_id, [text_vector(name) for name in NAMES], collection="product")
    create_label_set(database, make_fake, "scenes", {"sunset": ["red shoes"]}, template="{label}")
    rows = [(name, 10 * number, image_id) for number, (name, image_id) in enumerate(zip(NAMES, ids, strict=True))]
    with database.connection() as connection:
        connection.cursor().executemany("INSERT INTO shop_product (name, price, image_id) VALUES (%s, %s, %s)", rows)
    return ids


def test_its_migrations_touch_nothing_of_ours(project: Project) -> None:
    assert "No changes detected" in project.manage("makemigrations", "--check", "--dry-run")
    assert (project.folder / "shop/migrations/0002_models.py").read_text().count("'managed': False") == 2
    statements = project.manage("sqlmigrate", "shop", "0002")
    assert re.findall(r"^(?:CREATE|ALTER|DROP) \w+ (\S+)", statements, flags=re.MULTILINE) == ['"shop_product"']
    inspected = project.manage("inspectdb")
    assert "class ShopProduct" in inspected
    assert "class Images" not in inspected
    assert "class ImageEmbeddings" not in inspected


def test_products_are_searched_in_a_transaction(project: Project, database: Database, image_ids: list[int]) -> None:
    with listening(database):
        lines = project.run("""
from django.db import transaction
from shop.search import search_products
with transaction.atomic():
    for product in search_products("red shoes", limit=1):
        print(product.name, round(product.score, 3), product.image.uri)
    print(len(search_products("never asked before")))
""")
    assert lines == ["red shoes 1.0 file:///product/00000.jpg", "3"]


def test_the_queries_find_what_they_say(project: Project, database: Database, image_ids: list[int]) -> None:
    with listening(database):
        lines = project.run(f"""
from shop.models import Image, LabelScore, Product
{QUERIES}
print(sorted(product.name for product in cheap))
print([image.uri for image in sunsets], list(counts))
""")
    assert lines == [
        "['a scarf', 'gloves', 'red shoes']",
        "['file:///product/00000.jpg'] [{'label': 'sunset', 'images': 1}]",
    ]


def test_an_image_that_a_product_has_can_be_deleted(project: Project, database: Database, image_ids: list[int]) -> None:
    with database.connection() as connection:
        assert connection.execute("SELECT siglip.delete_images(%s::bigint[])", [image_ids[:1]]).fetchone() == (1,)
        row = connection.execute("SELECT image_id FROM shop_product WHERE name = 'red shoes'").fetchone()
    assert row == (None,)
    assert project.run("from shop.models import Product; print(Product.objects.filter(image=None).count())") == ["1"]


def test_an_attached_table_is_a_migration_like_another(project: Project, empty_database_url: str) -> None:
    project.write(ATTACHING, FILES[ATTACHING])
    with Database(empty_database_url) as database, database.connection() as connection:
        add_model(connection)
    project.manage("migrate")
    assert "No changes detected" in project.manage("makemigrations", "--check", "--dry-run")
    assert "Ran 1 test" in project.manage("test", "shop")
    project.manage("migrate", "shop", "0003")


def test_the_test_database_has_our_schema(project: Project, empty_database_url: str) -> None:
    assert "Ran 1 test" in (output := project.manage("test", "shop"))
    assert "OK" in output
    with psycopg.connect(replace_database(empty_database_url, "postgres")) as connection:
        left = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [f"test_{project.name}"]).fetchone()
    assert left is None
