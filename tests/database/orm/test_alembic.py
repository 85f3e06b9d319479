"""An application's own Alembic project, on a database that has our schema: what it generates leaves us alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import Script
from alembic.util import CommandError
from sqlalchemy import Engine, inspect, select, text
from sqlalchemy.orm import Session

from siglip_ingest.db import Database
from siglip_ingest.sqlalchemy import Image, is_ours
from tests.database.helpers import index_images, unit_vectors
from tests.database.orm.documents import code_blocks
from tests.database.orm.products import Base, Product

ENV = """
from alembic import context
from sqlalchemy import create_engine
from tests.database.orm.documents import code_blocks
from tests.database.orm.products import Base

target_metadata = Base.metadata
engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    {configure}
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
"""

TEMPLATE = """
from alembic import op
import sqlalchemy as sa

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}

def upgrade():
    ${upgrades if upgrades else "pass"}

def downgrade():
    ${downgrades if downgrades else "pass"}
"""

(DOCUMENTED,) = [block for block in code_blocks("sqlalchemy.md") if "context.configure" in block]
(ATTACHING,) = [block for block in code_blocks("sqlalchemy.md") if "op.execute" in block]
PLAIN = "context.configure(connection=connection, target_metadata=target_metadata)"
WITHOUT = "context.configure(connection=connection, target_metadata=target_metadata, include_schemas=True)"


class Project:
    """A folder with env.py and revisions, as `alembic init` makes one."""

    def __init__(self, folder: Path, url: str, configure: str) -> None:
        (folder / "versions").mkdir(parents=True)
        indented = configure.strip().replace("\n", "\n    ")
        (folder / "env.py").write_text(ENV.format(configure=indented))
        (folder / "script.py.mako").write_text(TEMPLATE)
        self.config = Config()
        self.config.set_main_option("script_location", str(folder))
        self.config.set_main_option("path_separator", "os")
        self.config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))

    def generate(self) -> str:
        """Let Alembic compare, and return the script that it writes."""
        script = command.revision(self.config, autogenerate=True)
        assert isinstance(script, Script)
        return Path(script.path).read_text()

    def upgrade(self) -> None:
        command.upgrade(self.config, "head")


@pytest.fixture(autouse=True)
def _indexed(database: Database, model_id: int) -> None:
    """Partitions and indexes of a model, too."""
    index_images(database, model_id, unit_vectors(3))


@pytest.mark.parametrize("configure", [DOCUMENTED, PLAIN], ids=["with schemas", "plain"])
def test_generated_scripts_leave_our_schema_alone(tmp_path: Path, url: str, engine: Engine, configure: str) -> None:
    project = Project(tmp_path / "alembic", url, configure)
    first = project.generate()
    assert "op.create_table('product'" in first
    assert "'siglip.images.image_id'" in first  # the application's own foreign key
    assert first.count("siglip") == 1
    assert "op.drop" not in first.partition("def downgrade")[0]
    project.upgrade()
    with Session(engine) as session:
        image = session.scalars(select(Image).limit(1)).one()
        session.add(Product(name="a scarf", price=1, image_id=image.image_id))
        session.flush()
        assert session.scalars(select(Product)).one().image is image
    second = project.generate()
    assert "siglip" not in second
    assert second.count("pass") == 2, second
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM siglip.alembic_version")) != connection.scalar(
            text("SELECT version_num FROM public.alembic_version")
        )


def test_an_attached_table_needs_no_filter(tmp_path: Path, url: str, engine: Engine) -> None:
    project = Project(tmp_path / "alembic", url, DOCUMENTED)
    project.generate()
    script = command.revision(project.config)
    assert isinstance(script, Script)
    content = Path(script.path).read_text().partition("def upgrade")[0]
    Path(script.path).write_text(content + ATTACHING)
    project.upgrade()
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO product (name, price, photo_url) VALUES ('a scarf', 1, 'https://a.example/1')")
        )
        assert connection.scalar(
            text("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'product'::regclass AND NOT tgisinternal")
        )
    assert project.generate().count("pass") == 2
    command.downgrade(project.config, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]


def test_without_the_filter_it_would_drop_our_tables(tmp_path: Path, url: str) -> None:
    assert "op.drop_table('images', schema='siglip')" in Project(tmp_path / "alembic", url, WITHOUT).generate()


def test_alembics_check_is_content_too(tmp_path: Path, url: str) -> None:
    project = Project(tmp_path / "alembic", url, DOCUMENTED)
    with pytest.raises(CommandError):
        command.check(project.config)
    project.generate()
    project.upgrade()
    command.check(project.config)


def test_create_all_of_an_application_makes_its_own_tables_only(engine: Engine) -> None:
    before = set(inspect(engine).get_table_names(schema="siglip"))
    Base.metadata.create_all(engine)
    assert inspect(engine).get_table_names() == ["product"]
    Base.metadata.drop_all(engine)
    assert inspect(engine).get_table_names() == []
    assert set(inspect(engine).get_table_names(schema="siglip")) == before


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (("siglip", "schema", {}), True),
        ((None, "schema", {}), False),
        (("public", "schema", {}), False),
        (("images", "table", {"schema_name": "siglip"}), True),
        (("images", "table", {"schema_name": None}), False),
        (("siglip", "table", {"schema_name": "public"}), False),
        (("uri", "column", {"schema_name": "siglip", "table_name": "images"}), True),
        (("siglip", "column", {"schema_name": None, "table_name": "siglip"}), False),
    ],
    ids=str,
)
def test_what_is_ours(found: tuple[str | None, str, dict[str, str | None]], expected: bool) -> None:
    assert is_ours(*found) is expected
