"""The mapped classes beside the real schema: a migration that they don't follow is noticed here."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKeyConstraint, Table, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session, configure_mappers, selectinload

import siglip_ingest.sqlalchemy as orm
from siglip_ingest.db import Database
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.labeling import create_label_set
from siglip_ingest.sqlalchemy import Base, Image, ImageLabel, IngestItem, LabelRule, LabelScore, LabelSet
from tests.database.helpers import make_fake
from tests.database.orm.products import Product

# What the library keeps for itself, or what is better asked by SQL than row by row.
INTERNAL = {
    "alembic_version",
    "api_keys",
    "api_sessions",
    "attached_changes",
    "attachments",
    "batch_sizes",
    "image_bytes",
    "index_settings",
    "label_progress",
    "label_refusals",
    "label_status",
    "landmarks",
    "model_drops",
    "recall_drift",
    "released_contents",
    "released_images",
    "segment_builds",
    "segment_servers",
    "segments",
    "wanted_labels",
}

COLUMNS = """
    SELECT c.relname, a.attname, regexp_replace(format_type(a.atttypid, a.atttypmod), '^.*\\.', ''), a.attnotnull,
           c.relkind = 'v'
    FROM pg_class AS c
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = 'siglip'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition
    ORDER BY c.relname, a.attnum
"""

KEYS = """
    SELECT c.relname, k.contype = 'p', array(
               SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum = ANY (k.conkey)
           ), k.confrelid::regclass::text
    FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid
    WHERE c.relnamespace = 'siglip'::regnamespace AND k.contype IN ('p', 'f') AND NOT c.relispartition
"""


def mapped_tables() -> dict[str, Table]:
    return {table.name: table for table in Base.metadata.tables.values()}


def type_name(table: Table, column: str) -> str:
    return table.columns[column].type.compile(dialect=postgresql.dialect()).lower()


def compare(rows: list[Any], tables: dict[str, Table]) -> list[str]:
    """What the classes lack of the schema, and what they have that it lacks: a sentence each."""
    found: dict[str, dict[str, tuple[str, bool, bool]]] = {}
    for table, column, kind, is_required, is_view in rows:
        found.setdefault(table, {})[column] = (kind, is_required, is_view)
    problems = [f"siglip.{name} is mapped, and isn't there." for name in sorted(tables.keys() - found.keys())]
    for name, columns in found.items():
        if name in INTERNAL:
            continue
        if name not in tables:
            listed = ", ".join(f"{column} {kind}{' NOT NULL' * must}" for column, (kind, must, _) in columns.items())
            problems.append(f"siglip.{name} isn't mapped: add a class, or name it in INTERNAL. Columns: {listed}.")
            continue
        mapped = tables[name].columns
        problems += [f"{name}.{extra} is mapped, and isn't there." for extra in mapped.keys() - columns.keys()]
        for column, (kind, is_required, is_view) in columns.items():
            if column not in mapped:
                problems.append(f"{name}.{column} isn't mapped: {kind}{' NOT NULL' * is_required}.")
            elif type_name(tables[name], column) != kind:
                problems.append(f"{name}.{column} is {kind}, and mapped as {type_name(tables[name], column)}.")
            elif not is_view and mapped[column].nullable == is_required:
                problems.append(f"{name}.{column} is mapped as {'nullable' if is_required else 'NOT NULL'}: it isn't.")
    return problems


def test_the_classes_have_the_columns_of_the_schema(engine: Engine) -> None:
    with engine.connect() as connection:
        problems = compare(list(connection.execute(text(COLUMNS)).all()), mapped_tables())
    assert not problems, "\n" + "\n".join(problems)


def test_the_comparison_names_what_is_missing(engine: Engine) -> None:
    with engine.connect() as connection:
        before = compare(list(connection.execute(text(COLUMNS)).all()), mapped_tables())
        connection.execute(text("CREATE TABLE siglip.moods (mood text NOT NULL, strength real)"))
        connection.execute(text("ALTER TABLE siglip.images ADD COLUMN mood text, ALTER COLUMN key TYPE varchar"))
        connection.execute(text("ALTER TABLE siglip.images ALTER COLUMN uri DROP NOT NULL, DROP COLUMN source_version"))
        problems = compare(list(connection.execute(text(COLUMNS)).all()), mapped_tables())
    assert set(problems) - set(before) == {
        "siglip.moods isn't mapped: add a class, or name it in INTERNAL. Columns: mood text NOT NULL, strength real.",
        "images.mood isn't mapped: text.",
        "images.source_version is mapped, and isn't there.",
        "images.key is character varying, and mapped as text.",
        "images.uri is mapped as NOT NULL: it isn't.",
    }


def test_the_classes_have_the_keys_of_the_schema(engine: Engine) -> None:
    tables = mapped_tables()
    with engine.connect() as connection:
        rows = connection.execute(text(KEYS)).all()
    views = {name for name in tables if name not in {row[0] for row in rows}}
    primary = {row[0]: set(row[2]) for row in rows if row[1]}
    foreign = {(row[0], *row[2], row[3].removeprefix("siglip.")) for row in rows if not row[1]}
    for name, table in tables.items():
        assert name in views or {column.name for column in table.primary_key} == primary[name], name
    mapped = {
        (name, *constraint.column_keys, constraint.referred_table.name)
        for name, table in tables.items()
        for constraint in table.constraints
        if isinstance(constraint, ForeignKeyConstraint)
    }
    assert {key for key in foreign if {key[0], key[-1]} <= tables.keys()} == {
        key for key in mapped if key[0] not in views
    }


def test_every_class_is_public_and_can_be_read(session: Session) -> None:
    configure_mappers()
    for mapper in Base.registry.mappers:
        assert getattr(orm, mapper.class_.__name__) is mapper.class_
        assert mapper.class_.__name__ in orm.__all__
        assert mapper.class_.__doc__
        assert session.scalars(select(mapper.class_)).all() == []


def test_relationships_lead_from_an_image_to_all_that_is_known(session: Session, image_ids: list[int]) -> None:
    session.execute(
        text("""
            WITH s AS (
                INSERT INTO siglip.label_sets (name, template) VALUES ('clothes', '{label}') RETURNING label_set_id
            )
            INSERT INTO siglip.labels (label_set_id, position, label, prompts)
            SELECT label_set_id, p, label, '{x}' FROM s, (VALUES (1, 'hat'), (0, 'shoe')) AS v (p, label)
        """)
    )
    session.execute(
        text("""
            INSERT INTO siglip.image_labels (label_id, image_id, is_accepted, marked_by)
            SELECT label_id, :image_id, true, 'me' FROM siglip.labels WHERE label = 'hat'
        """),
        {"image_id": image_ids[0]},
    )
    image = session.scalars(select(Image).where(Image.image_id == image_ids[0])).one()
    assert image.content is not None
    assert image.content.images == [image]
    assert image.embeddings[0].embedding.shape == (16,)
    assert image.embeddings[0].model.name == "fake"
    assert [(item.state, item.image, item.model.is_active) for item in image.ingest_items] == [("done", image, True)]
    assert [(mark.label.label, mark.label.label_set.name, mark.marked_by) for mark in image.image_labels] == [
        ("hat", "clothes", "me")
    ]
    assert [label.label for label in session.scalars(select(LabelSet)).one().labels] == ["shoe", "hat"]
    assert session.scalars(select(ImageLabel).options(selectinload(ImageLabel.image))).one().image is image


def test_metadata_are_filtered_as_json(session: Session, image_ids: list[int]) -> None:
    found = session.scalars(select(Image.image_id).where(Image.metadata_.contains({"number": 2})))
    assert found.all() == [image_ids[2]]


def test_a_deleted_image_leaves_by_the_databases_own_rules(session: Session, image_ids: list[int]) -> None:
    image = session.scalars(select(Image).where(Image.image_id == image_ids[0])).one()
    assert image.ingest_items
    session.delete(image)
    session.commit()
    assert session.scalars(select(IngestItem).where(IngestItem.image_id == image_ids[0])).all() == []
    assert session.scalars(select(Product).where(Product.name == "red shoes")).one().image is None


def test_label_scores_are_rows(session: Session, database: Database, image_ids: list[int]) -> None:
    create_label_set(database, make_fake, "clothes", {"shoes": ["red shoes"], "hat": ["a red hat"]}, template="{label}")
    best = select(LabelScore).where(LabelScore.label_set == "clothes", LabelScore.score > 0.99)
    scores = session.scalars(best.order_by(LabelScore.image_id).options(selectinload(LabelScore.image))).all()
    assert [(row.label, row.image.image_id) for row in scores] == [("shoes", image_ids[0]), ("hat", image_ids[2])]
    rules = session.scalars(select(LabelRule).order_by(LabelRule.label_id)).all()
    assert [(rule.label.label, rule.scale, rule.threshold) for rule in rules] == [("shoes", 1, 0.5), ("hat", 1, 0.5)]


@pytest.mark.parametrize("change", ["create_all", "drop_all"])
def test_sqlalchemy_never_makes_or_drops_our_tables(engine: Engine, change: str) -> None:
    with pytest.raises(InvalidInputError, match="siglip-ingest migrate"):
        getattr(Base.metadata, change)(engine, checkfirst=False)
    with engine.connect() as connection:
        assert connection.execute(select(Image)).all() == []
