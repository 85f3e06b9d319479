"""Vectors in and out of a real database."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray

from siglip_ingest import SiglipClient
from siglip_ingest.db import Database, models
from siglip_ingest.errors import ConfigurationError, DatabaseError, InvalidInputError, NotFoundError
from siglip_ingest.types import VectorImport
from siglip_ingest.vectors import importing
from tests.database.helpers import DIMENSION, FakeEmbedder, content_hash, index_images, states, unit_vectors
from tests.programs import wait_until


@pytest.fixture
def client(database_url: str) -> Any:
    with SiglipClient(database_url=database_url) as client:
        yield client


def write(folder: Path, vectors: NDArray[Any], items: list[dict[str, Any]] | None = None) -> tuple[Path, Path]:
    """Write an array and its items; returns their paths."""
    np.save(folder / "v.npy", vectors)
    lines = [{"uri": f"https://example.com/{n:05}.jpg"} for n in range(len(vectors))] if items is None else items
    (folder / "items.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder / "v.npy", folder / "items.jsonl"


def hashed(*contents: object) -> list[dict[str, Any]]:
    return [
        {"uri": f"https://example.com/{n}.jpg", "content_hash": content_hash(content).hex()}
        for n, content in enumerate(contents)
    ]


def count(client: SiglipClient, table: str) -> int:
    with client.database.connection() as connection:
        row = connection.execute(f"SELECT count(*) FROM siglip.{table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def test_imported_vectors_are_found_with_what_was_said_of_them(client: SiglipClient, tmp_path: Path) -> None:
    vectors = unit_vectors(30)
    items = [
        {"uri": f"s3://photos/{n}", "collection": "trip", "key": str(n), "metadata": {"n": n}}
        | {"width": 640, "height": 480, "format": "JPEG", "content_hash": content_hash(n).hex()}
        for n in range(30)
    ]
    done = client.import_vectors(*write(tmp_path, vectors, items), model="clip", logit_scale=2.0, logit_bias=-1.0)
    assert (done.imported, done.skipped, done.replaced) == (30, 0, 0)
    best = client.search_images(vectors[7], limit=1, collection="trip")[0]
    assert (best.uri, best.metadata) == ("s3://photos/7", {"n": 7})
    assert best.similarity == pytest.approx(1, abs=1e-3)
    assert best.score == pytest.approx(1 / (1 + math.exp(-(math.exp(2.0) * best.similarity - 1))))
    with client.database.connection() as connection:
        row = connection.execute(
            "SELECT i.key, c.content_hash, c.width, c.height, c.format"
            " FROM siglip.images AS i JOIN siglip.contents AS c USING (content_id) WHERE i.uri = 's3://photos/7'"
        ).fetchone()
    assert row == ("7", content_hash(7), 640, 480, "JPEG")


def test_the_first_import_makes_its_model_the_active_one_and_queues_nothing(
    client: SiglipClient, tmp_path: Path
) -> None:
    done = client.import_vectors(*write(tmp_path, unit_vectors(5)), model="any name at all")
    with client.database.connection() as connection:
        active = models.get_active_model(connection)
        assert states(connection, done.model_id) == {}
    assert active is not None
    assert (active.model_id, active.name, active.is_external) == (done.model_id, "any name at all", True)
    assert client.model.model_id == active.model_id


def test_a_second_model_stays_beside_the_active_one(
    client: SiglipClient, database: Database, model_id: int, tmp_path: Path
) -> None:
    index_images(database, model_id, unit_vectors(3))
    done = client.import_vectors(*write(tmp_path, unit_vectors(5, 8)), model="other")
    assert client.model.model_id == model_id
    with pytest.raises(DatabaseError, match="3 not imported"):
        client.switch_model(done.model_id)
    client.switch_model(done.model_id, force=True)
    assert client.model.model_id == done.model_id
    with database.connection() as connection:
        assert states(connection, done.model_id) == {}  # the three images have no vectors there, and get none
    assert len(client.search_images(unit_vectors(5, 8)[0])) == 5
    client.switch_model(model_id)
    with database.connection() as connection:
        assert states(connection, model_id) == {"done": 3, "queued": 5}


def test_vectors_of_a_model_that_workers_load_are_done_in_the_ledger(
    client: SiglipClient, database: Database, model_id: int, tmp_path: Path
) -> None:
    index_images(database, model_id, unit_vectors(2))
    done = client.import_vectors(*write(tmp_path, unit_vectors(4, seed=1)), model="fake")
    assert done.model_id == model_id
    with database.connection() as connection:
        assert states(connection, model_id) == {"done": 6}
        models.activate_model(connection, model_id)
        assert states(connection, model_id) == {"done": 6}


def test_an_image_that_waits_for_a_worker_is_done_once_its_vector_is_imported(
    client: SiglipClient, model_id: int, tmp_path: Path
) -> None:
    ingestion = client.enqueue_images(["https://example.com/00001.jpg", "https://example.com/9.jpg"])
    client.import_vectors(*write(tmp_path, unit_vectors(3)), model="fake")
    counts = ingestion.counts()
    assert (counts.done, counts.queued) == (1, 1)


def test_rows_that_have_vectors_are_skipped_and_counted(client: SiglipClient, tmp_path: Path) -> None:
    vectors = unit_vectors(20)
    client.import_vectors(*write(tmp_path, vectors[:8]), model="m")
    again = client.import_vectors(*write(tmp_path, vectors), model="m")
    assert (again.imported, again.skipped) == (12, 8)
    assert str(again) == "12 imported, 8 had vectors already"
    assert count(client, "image_embeddings") == count(client, "images") == count(client, "contents") == 20


def test_only_replace_gives_an_image_another_vector(client: SiglipClient, tmp_path: Path) -> None:
    old, new = unit_vectors(6), unit_vectors(6, seed=1)
    items = [{"uri": f"u{n}", "metadata": {"n": n, "old": True}} for n in range(6)]
    client.import_vectors(*write(tmp_path, old, items), model="m")
    items = [{"uri": f"u{n}", "metadata": {"old": False}} for n in range(6)]
    kept = client.import_vectors(*write(tmp_path, new, items), model="m")
    assert (kept.skipped, client.search_images(old[2], limit=1)[0].metadata) == (6, {"n": 2, "old": True})
    done = client.import_vectors(*write(tmp_path, new, items), model="m", replace=True)
    assert (done.imported, done.skipped, done.replaced) == (0, 0, 6)
    best = client.search_images(new[2], limit=1)[0]
    assert (best.uri, best.metadata) == ("u2", {"n": 2, "old": False})
    assert best.similarity > 0.99
    assert count(client, "image_embeddings") == 6


def test_one_content_hash_is_one_content_with_the_first_vector(client: SiglipClient, tmp_path: Path) -> None:
    vectors = unit_vectors(4)
    done = client.import_vectors(*write(tmp_path, vectors, hashed("a", "b", "a", "a")), model="m")
    assert done.imported == 4
    assert (count(client, "contents"), count(client, "image_embeddings"), count(client, "images")) == (2, 2, 4)
    found = client.search_images(vectors[0], limit=3)
    assert {match.uri[-5:] for match in found} == {"0.jpg", "2.jpg", "3.jpg"}
    assert all(match.similarity > 0.99 for match in found)


def test_an_image_that_is_embedded_keeps_its_content_under_an_imported_model(
    client: SiglipClient, database: Database, model_id: int, tmp_path: Path
) -> None:
    index_images(database, model_id, unit_vectors(2))
    uris = [{"uri": f"file:///default/{n:05}.jpg"} for n in range(2)]
    client.import_vectors(*write(tmp_path, unit_vectors(2, 8), uris), model="other")
    assert (count(client, "contents"), count(client, "image_embeddings")) == (2, 4)
    with database.connection() as connection:
        assert states(connection, model_id) == {"done": 2}


def test_a_changed_hash_queues_the_image_for_the_models_that_workers_load(
    client: SiglipClient, database: Database, model_id: int, tmp_path: Path
) -> None:
    index_images(database, model_id, unit_vectors(2))
    items = [{"uri": f"file:///default/{n:05}.jpg", "content_hash": content_hash("new").hex()} for n in (0, 1)]
    items[1]["content_hash"] = content_hash("file:///default/00001.jpg").hex()  # which it has already
    client.import_vectors(*write(tmp_path, unit_vectors(2, 8), items), model="other")
    with database.connection() as connection:
        assert states(connection, model_id) == {"done": 1, "queued": 1}


BAD_INPUT: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "a dimension that wasn't asked for": (unit_vectors(2), None, {"dimension": 8}, "16 elements; 8"),
    "fewer lines than vectors": (unit_vectors(3), hashed("a", "b"), {}, "3 vectors and .* 2 lines"),
    "more lines than vectors": (unit_vectors(1), hashed("a", "b", "c"), {}, "1 vectors and .* 3 lines"),
    "the same image twice": (unit_vectors(3), [{"uri": "a"}, {"uri": "b"}, {"uri": "a"}], {}, "lines 1 and 3"),
    "a vector that isn't of length 1": (2 * unit_vectors(2), None, {}, "row 0 .* norm 2"),
    "no vectors": (np.empty((0, 16), np.float32), [], {}, "no vectors"),
    "a scale without a bias": (unit_vectors(1), None, {"logit_scale": 1.0}, "together"),
    "a bias that is no number": (unit_vectors(1), None, {"logit_scale": 1.0, "logit_bias": math.nan}, "finite"),
    "a model without a name": (unit_vectors(1), None, {"model": " "}, "name"),
}


@pytest.mark.parametrize(("vectors", "items", "options", "words"), BAD_INPUT.values(), ids=BAD_INPUT.keys())
def test_bad_input_is_refused_and_nothing_is_stored(
    client: SiglipClient, tmp_path: Path, vectors: Any, items: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words):
        client.import_vectors(*write(tmp_path, vectors, items), **{"model": "m", **options})
    assert [count(client, table) for table in ("models", "images", "contents")] == [0, 0, 0]


def test_the_model_of_that_name_must_fit(client: SiglipClient, tmp_path: Path) -> None:
    files = write(tmp_path, unit_vectors(2))
    client.import_vectors(*files, model="m", logit_scale=1.0, logit_bias=0.0)
    with pytest.raises(InvalidInputError, match="logit_bias 0, not 3"):
        client.import_vectors(*files, model="m", logit_scale=1.0, logit_bias=3.0)
    with pytest.raises(InvalidInputError, match=r"8 elements.* have 16"):
        client.import_vectors(*write(tmp_path, unit_vectors(2, 8)), model="m")


def test_normalised_vectors_are_found_by_their_direction(client: SiglipClient, tmp_path: Path) -> None:
    vectors = unit_vectors(5)
    lengths = np.array([[1e-30], [1e30], [3], [1], [0.5]], np.float32)
    client.import_vectors(*write(tmp_path, vectors * lengths), model="m", normalize=True)
    for number, vector in enumerate(vectors):
        best = client.search_images(vector, limit=1)[0]
        assert (best.uri[-5:-4], best.similarity > 0.99) == (str(number), True)


def test_without_constants_scores_are_nan_in_python_and_null_in_sql(client: SiglipClient, tmp_path: Path) -> None:
    vectors = unit_vectors(3)
    client.import_vectors(*write(tmp_path, vectors), model="m")
    assert all(math.isnan(match.score) for match in client.search_images(vectors[0]))
    with client.database.connection() as connection:
        text = "[" + ",".join(map(str, vectors[0])) + "]"
        rows = connection.execute("SELECT score FROM siglip.search_images(%s::halfvec)", [text]).fetchall()
    assert rows == [(None,)] * 3
    with pytest.raises(InvalidInputError, match="has no scores"):
        client.search_images(vectors[0], min_score=0.5)


def test_what_an_external_model_cannot_do_says_so(client: SiglipClient, tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    from PIL import Image

    Image.new("RGB", (8, 8)).save(image)
    client.import_vectors(*write(tmp_path, unit_vectors(3)), model="clip")
    for call in (
        lambda: client.search_images("a sunset"),
        lambda: client.search_images(image),
        lambda: client.create_label_set("scenes", ["sunset"]),
        lambda: client.enqueue_images(image),
    ):
        with pytest.raises(InvalidInputError, match="external"):
            call()
    assert count(client, "ingest_items") == 0
    with (
        client.database.connection() as connection,
        pytest.raises(psycopg.errors.InvalidParameterValue, match="external"),
    ):
        connection.execute("SELECT siglip.embed_text('a sunset')")
    image_id = client.search_images(unit_vectors(3)[0], limit=1)[0].image_id
    assert len(client.similar_images(image_id)) == 2


def test_an_embedder_of_ones_own_makes_an_external_model_searchable_by_text(
    database_url: str, client: SiglipClient, tmp_path: Path
) -> None:
    from dataclasses import replace

    from tests.database.helpers import INFO, text_vector

    vectors = np.stack([text_vector(text) for text in ("red", "green", "blue")])
    client.import_vectors(*write(tmp_path, vectors), model="mine")
    with SiglipClient(
        database_url=database_url, embedder=FakeEmbedder(replace(INFO, name="mine", revision="external"))
    ) as own:
        assert own.search_images("green", limit=1)[0].uri.endswith("00001.jpg")


def test_labels_of_another_model_are_refused_under_an_external_one(
    database_url: str, database: Database, model_id: int, tmp_path: Path
) -> None:
    with SiglipClient(database_url=database_url, embedder=FakeEmbedder()) as client:
        client.create_label_set("scenes", ["sunset"])
        done = client.import_vectors(*write(tmp_path, unit_vectors(2)), model="m", logit_scale=1.0, logit_bias=0.0)
        client.switch_model(done.model_id)  # waits for no labels
        with database.connection() as connection, pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            connection.execute("SELECT * FROM siglip.images_with_label('scenes', 'sunset')")


def test_a_worker_refuses_to_load_an_external_model(
    client: SiglipClient, database_url: str, broker_url: str, tmp_path: Path
) -> None:
    from siglip_ingest.settings import Settings
    from siglip_workers.runtime import make_runtime

    client.import_vectors(*write(tmp_path, unit_vectors(2)), model="clip")
    for name in (None, "clip"):
        with pytest.raises(ConfigurationError, match="external"):
            make_runtime(Settings(database_url=database_url, broker_url=broker_url, model=name))


def search_everything(client: SiglipClient, queries: NDArray[np.float32]) -> list[list[tuple[Any, ...]]]:
    return [[(m.uri, m.similarity, m.metadata) for m in client.search_images(query)] for query in queries]


@pytest.mark.parametrize("suffix", ["npy", "parquet"])
def test_an_export_that_is_imported_again_gives_the_same_searches(
    client: SiglipClient, tmp_path: Path, suffix: str
) -> None:
    items = [
        {"uri": f"bücher/{n}", "metadata": {"n": n, "ü": [None, 1.5]}}
        | ({"content_hash": content_hash(n).hex()} if n % 2 else {})
        for n in range(40)
    ]
    client.import_vectors(*write(tmp_path, unit_vectors(40), items), model="first")
    queries = unit_vectors(5, seed=9)
    expected = search_everything(client, queries)
    out = tmp_path / f"out.{suffix}"
    lines = tmp_path / "out.jsonl" if suffix == "npy" else None
    assert client.export_vectors(out, lines) == 40
    assert not list(tmp_path.glob("*.partial"))
    done = client.import_vectors(out, lines, model="second", dimension=DIMENSION)
    assert (done.imported, count(client, "contents")) == (40, 40)
    client.switch_model(done.model_id)
    assert search_everything(client, queries) == expected


def test_an_export_has_the_vectors_as_stored_in_the_order_of_the_images(client: SiglipClient, tmp_path: Path) -> None:
    vectors = unit_vectors(12)
    items = [{"uri": str(n), "collection": "even" if n % 2 == 0 else "odd"} for n in range(12)]
    client.import_vectors(*write(tmp_path, vectors, items), model="m")
    assert client.export_vectors(tmp_path / "out.npy", tmp_path / "out.jsonl", collection="odd") == 6
    exported = np.load(tmp_path / "out.npy")
    assert exported.dtype == np.float16
    np.testing.assert_array_equal(exported, vectors[1::2].astype(np.float16))
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"uri": str(n), "collection": "odd"} for n in range(1, 12, 2)]
    client.export_vectors(tmp_path / "out.npy", tmp_path / "out.jsonl", float32=True, model="m")
    assert np.load(tmp_path / "out.npy").dtype == np.float32


def test_an_export_that_fails_leaves_the_old_files(client: SiglipClient, tmp_path: Path) -> None:
    client.import_vectors(*write(tmp_path, unit_vectors(3)), model="m")
    (tmp_path / "out.npy").write_text("old")
    with pytest.raises(InvalidInputError, match="can't be written"):
        client.export_vectors(tmp_path / "out.npy", tmp_path / "no folder" / "out.jsonl")
    assert (tmp_path / "out.npy").read_text() == "old"
    assert not list(tmp_path.glob("*.partial"))
    with pytest.raises(NotFoundError, match="no model 'other'"):
        client.export_vectors(tmp_path / "out.npy", tmp_path / "out.jsonl", model="other")
    with pytest.raises(InvalidInputError, match="--items"):
        client.export_vectors(tmp_path / "out.npy")
    with pytest.raises(InvalidInputError, match=r"leave .* out"):
        client.export_vectors(tmp_path / "out.parquet", tmp_path / "out.jsonl")


def test_an_export_is_of_one_moment_and_pages_without_gaps(client: SiglipClient, tmp_path: Path) -> None:
    from siglip_ingest.db.vectors import read_vectors

    vectors = unit_vectors(25)
    client.import_vectors(*write(tmp_path, vectors), model="m")
    model_id = client.model.model_id
    with client.database.connection() as connection:
        pages = read_vectors(connection, model_id, page_rows=4)
        rows, embeddings = next(pages)
        client.import_vectors(*write(tmp_path, unit_vectors(40)), model="m")
        for more, part in pages:
            rows += more
            embeddings = np.concatenate([embeddings, part])
    assert [row.uri for row in rows] == [f"https://example.com/{n:05}.jpg" for n in range(25)]
    np.testing.assert_array_equal(embeddings, vectors.astype(np.float16))


def test_two_imports_of_the_same_at_once_store_it_once(
    client: SiglipClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH_ROWS", 100)
    count_rows = 2000
    items = [
        {"uri": f"u{n}"} | ({"content_hash": content_hash(n % 700).hex()} if n % 3 == 0 else {})
        for n in range(count_rows)
    ]
    files = write(tmp_path, unit_vectors(count_rows), items)
    results: list[VectorImport] = []
    threads = [threading.Thread(target=lambda: results.append(client.import_vectors(*files, model="m"))) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(result.imported for result in results) == count_rows
    assert sum(result.skipped for result in results) == count_rows
    contents = len({n % 700 for n in range(0, count_rows, 3)}) + sum(n % 3 != 0 for n in range(count_rows))
    assert count(client, "images") == count_rows
    assert count(client, "contents") == count(client, "image_embeddings") == contents


KILLED = """
import sys
from siglip_ingest import SiglipClient
from siglip_ingest.vectors import importing

importing.BATCH_ROWS, importing.CONNECTIONS = 50, 1
client = SiglipClient(database_url=sys.argv[1])
client.import_vectors(sys.argv[2], sys.argv[3], model="m")
"""


def test_a_killed_import_goes_on_where_it_was(client: SiglipClient, database_url: str, tmp_path: Path) -> None:
    vectors = unit_vectors(10_000)
    files = write(tmp_path, vectors)
    program = subprocess.Popen([sys.executable, "-c", KILLED, database_url, *map(str, files)])
    try:
        wait_until(lambda: count(client, "images") >= 200, timeout_s=60)
    finally:
        os.kill(program.pid, signal.SIGKILL)
        program.wait()
    stored = count(client, "images")
    assert stored % 50 == 0
    assert stored < 10_000
    done = client.import_vectors(*files, model="m")
    assert (done.imported, done.skipped) == (10_000 - done.skipped, done.skipped)
    assert done.skipped >= stored  # a transaction may have been on its way when the program was killed
    assert count(client, "images") == count(client, "image_embeddings") == 10_000


WRONG_VECTORS: dict[str, tuple[Any, str]] = {
    "another dimension": (np.ones(8), "8 elements"),
    "zero": (np.zeros(DIMENSION), "zero"),
    "NaN": ([math.nan] * DIMENSION, "NaN"),
    "infinite": ([math.inf] * DIMENSION, "infinite"),
    "two vectors": (np.ones((2, DIMENSION)), r"\(2, 16\)"),
    "none": ([], r"\(0,\)"),
}


@pytest.mark.parametrize(("query", "words"), WRONG_VECTORS.values(), ids=WRONG_VECTORS.keys())
def test_a_vector_that_cannot_be_searched_by_is_refused(
    client: SiglipClient, model_id: int, query: Any, words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words):
        client.search_images(query)


@pytest.mark.parametrize("length", [1e-300, 1e-5, 1, 1e5, 1e300])
@pytest.mark.parametrize("kind", ["array", "list"])
def test_a_search_by_vector_takes_any_length(
    client: SiglipClient, database: Database, model_id: int, length: float, kind: str
) -> None:
    vectors = unit_vectors(5).astype(np.float64)
    index_images(database, model_id, vectors.astype(np.float32))
    query = vectors[3] * length
    best = client.search_images(query if kind == "array" else query.tolist(), limit=1)[0]
    assert best.uri == "file:///default/00003.jpg"
    assert best.similarity > 0.99


def test_hashes_of_files_join_what_is_imported_with_what_is_indexed(
    client: SiglipClient, database: Database, model_id: int, tmp_path: Path
) -> None:
    index_images(database, model_id, unit_vectors(1), contents=["one"])
    items = [{"uri": "elsewhere", "content_hash": sha256(b"one").hexdigest()}]
    done = client.import_vectors(*write(tmp_path, unit_vectors(1, seed=5), items), model="fake")
    assert done.imported == 1
    assert {match.similarity > 0.99 for match in client.search_images(unit_vectors(1)[0])} == {True}
    assert (count(client, "contents"), count(client, "images")) == (1, 2)


def test_an_export_into_one_file_or_a_folder_is_refused_and_changes_nothing(
    client: SiglipClient, tmp_path: Path
) -> None:
    client.import_vectors(*write(tmp_path, unit_vectors(4, 8)), model="m")
    path = tmp_path / "kept.npy"
    path.write_bytes(b"kept")
    with pytest.raises(InvalidInputError, match="can't be both the vectors and what they belong to"):
        client.export_vectors(path, path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidInputError, match="folder is a folder"):
        client.export_vectors(path, tmp_path / "folder")
    with pytest.raises(InvalidInputError, match=r"items\.jsonl can't be written"):
        client.export_vectors(path, tmp_path / "missing" / "items.jsonl")
    assert path.read_bytes() == b"kept"
    assert sorted(entry.name for entry in tmp_path.glob("*.partial")) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("NULL, 4", "The model has no name"),
        ("'', 4", "The model has no name"),
        ("'q', 0", "dimension is 0"),
        ("'q', 4001", "dimension is 4001"),
        ("'q', 4, 1, NULL", "go together"),
        ("'q', 4, 'NaN', 1", "logit_scale is NaN"),
        ("'q', 4, 1e308, 1", "no logarithm of a factor"),
    ],
)
def test_an_external_model_of_nonsense_is_refused_in_a_sentence(
    database_url: str, arguments: str, sentence: str
) -> None:
    with psycopg.connect(database_url) as connection, pytest.raises(psycopg.Error, match=sentence):
        connection.execute(f"SELECT siglip.add_external_model({arguments})".encode())


def test_a_logit_scale_that_overflows_is_refused(client: SiglipClient, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="logit_scale is a logarithm"):
        client.import_vectors(*write(tmp_path, unit_vectors(4, 8)), model="m", logit_scale=1e308, logit_bias=0.0)
