"""The database that the examples of the functions' comments run on: 40 images of two collections under two models."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from siglip_ingest import labeling
from siglip_ingest.db import Connection, Database, texts
from siglip_ingest.db.texts import EmbeddedText
from siglip_ingest.types import ModelInfo
from tests.database.helpers import INFO, FakeEmbedder, add_model, index_images, text_vector
from tests.database.listeners import Listener

DEMO = dataclasses.replace(INFO, name="demo")
OTHER = dataclasses.replace(INFO, name="other", revision="sha256:2")
MODELS = (DEMO, OTHER)  # model_id 1, which is active, and 2, which is kept
LABELS = ("sunset", "night sky", "forest")
MARKS = {1: True, 2: True, 3: True, 4: False, 5: False}  # image_id: whether it is a sunset

SERVER_URL = "postgresql://siglip:secret@10.0.0.8/segments"  # in examples; a test puts a real one in its place

# What is said before an example, in its transaction: to the table that is attached, to the label that is calibrated.
_PREPARATIONS = {
    r"siglip\.(attachments|search|search_rows)\b|UPDATE public\.product": (
        "SELECT siglip.attach('public.product', id_column => 'id', uri_column => 'photo_url', collection => 'product')",
        "SELECT siglip.follow_attached()",
    ),
    r"siglip\.(calibrations|use_calibration|recalibrate)\(": (
        "SELECT siglip.calibrate('scenes', 'sunset', positives => '{1,2,3}', negatives => '{4,5}')",
    ),
}
_FIND_EXAMPLES = """
SELECT p.oid::regprocedure::text, p.proname, p.prokind::text, p.proretset,
       coalesce(obj_description(p.oid, 'pg_proc'), ''), p.prorettype = 'trigger'::regtype
FROM pg_proc AS p
WHERE p.pronamespace = 'siglip'::regnamespace
  AND p.proname !~ '^nearest_images_[0-9]+$'  -- made for each model, called by siglip.nearest_images alone
ORDER BY 1
"""
_ADD_IMAGES_TO_OTHER = """
INSERT INTO siglip.ingest_items (image_id, model_id, state) SELECT i.image_id, 2, 'done' FROM siglip.images AS i
"""
_KEEP_LABELS = """
UPDATE siglip.models SET is_kept = true WHERE model_id = 2;
UPDATE siglip.label_sets SET is_kept = true WHERE name = 'scenes'
"""
_MARK = """
INSERT INTO siglip.image_labels (label_id, image_id, is_accepted, marked_by)
SELECT l.label_id, %s, %s, 'anna' FROM siglip.labels AS l WHERE l.label = 'sunset'
ON CONFLICT (label_id, image_id) DO UPDATE SET is_accepted = excluded.is_accepted, marked_by = excluded.marked_by
"""
_PRODUCTS = """
CREATE TABLE public.product (id integer PRIMARY KEY, name text, photo_url text, category text, price numeric);
INSERT INTO public.product
SELECT n, 'Product ' || n, 'file:///product/' || lpad((n - 1)::text, 5, '0') || '.jpg',
       CASE WHEN n <= 10 THEN 'shoes' ELSE 'bags' END, 10 * n
FROM generate_series(1, 20) AS n
"""


@dataclass(frozen=True)
class Example:
    """A function of the schema, with its comment: a sentence or two, and an example.

    Attributes:
        function: With the types of its parameters.
        name: Without the schema.
        kind: `f` for a function, `p` for a procedure, as pg_proc.prokind.
        returns_rows: Whether it returns a set of rows.
        comment: What pg_description has.
        is_trigger: Whether it is a trigger's.
    """

    function: str
    name: str
    kind: str
    returns_rows: bool
    comment: str
    is_trigger: bool = False

    @property
    def sentence(self) -> str:
        return self.comment.partition("\nExample: ")[0]

    @property
    def statement(self) -> str:
        return self.comment.partition("\nExample: ")[2]

    @property
    def is_procedure(self) -> bool:
        return self.kind == "p"

    @property
    def needs_servers(self) -> bool:
        """Whether it needs a second server, `archive`."""
        return any(word in self.statement for word in ("'archive'", SERVER_URL, "require_extensions"))


def find_examples(connection: psycopg.Connection[Any]) -> list[Example]:
    """All functions of the schema siglip, by name."""
    return [Example(*row) for row in connection.execute(_FIND_EXAMPLES.encode())]


def run_example(url: str, example: Example) -> list[Any]:
    """Run an example in a transaction that is rolled back; returns its rows."""
    with psycopg.connect(url) as connection:
        for pattern, statements in _PREPARATIONS.items():
            for statement in statements if re.search(pattern, example.statement) else ():
                connection.execute(statement.encode())
        cursor = connection.execute(example.statement.encode(), prepare=True)  # prepared: more statements are an error
        rows = cursor.fetchall() if cursor.description else []
        connection.rollback()
    return rows


class _Listener(Listener):
    """Answers texts under the model that it is given."""

    def __init__(self, database: Database, model_id: int, info: ModelInfo) -> None:
        super().__init__(database, database, model_id)
        self._info = info

    def _answer(self, request: object) -> None:
        query = request.query  # type: ignore[attr-defined]
        with self._primary.connection() as connection:
            texts.store_texts(
                connection, self._model_id, self._info, [EmbeddedText(query, vector_of(query, self._model_id))]
            )


def vector_of(text: str, model_id: int) -> NDArray[np.float32]:
    """(16,) float32 unit vector of a text: each model has its own."""
    return text_vector(text) if model_id == 1 else text_vector(f"model {model_id}: {text}")


def fill_example_database(database: Database) -> None:
    """Make the example database out of a migrated, empty one."""
    with database.connection() as connection:
        model_ids = [add_model(connection, info, is_active=info is DEMO) for info in MODELS]
    assert model_ids == [1, 2]
    vectors = _image_vectors(1)
    metadata = [{"album": "2026", "taken_at": f"2026-07-{day:02}T10:00:00"} for day in range(1, 21)]
    assert index_images(database, 1, vectors[:20], collection="holiday", metadata=metadata) == list(range(1, 21))
    assert index_images(database, 1, vectors[20:], collection="product") == list(range(21, 41))
    labeling.create_label_set(database, lambda _: FakeEmbedder(DEMO), "scenes", LABELS)
    with database.connection() as connection:
        _add_to_other(connection)
        for statement in (_KEEP_LABELS, _PRODUCTS):
            connection.execute(statement.encode())
        for image_id, is_accepted in MARKS.items():
            connection.execute(_MARK.encode(), [image_id, is_accepted])
        connection.execute("SELECT siglip.close_segment(1)")  # siglip.image_embeddings_1_1, with all 40 images


@contextmanager
def answering(database: Database) -> Iterator[None]:
    """Answer texts that SQL asks for, under both models."""
    with ExitStack() as stack:
        for model_id, info in enumerate(MODELS, 1):
            listener = _Listener(database, model_id, info)
            listener.start()
            stack.callback(listener.stop)
            assert listener.is_ready.wait(30)
        yield


def _image_vectors(model_id: int) -> NDArray[np.float32]:
    """(40, 16): images 1 to 3 are near sunset, 4 and 5 near night sky, others anywhere; 7 and 8 are nearly the same."""
    rows = [vector_of(f"image {number}", model_id) for number in range(1, 41)]
    for number in range(1, 6):
        prompt = labeling.DEFAULT_TEMPLATE.replace("{label}", LABELS[0] if number <= 3 else LABELS[1])
        rows[number - 1] = _mix((vector_of(prompt, model_id), rows[number - 1]), (2, 1))
    rows[7] = _mix((rows[6], rows[7]), (50, 1))
    return np.stack(rows)


def _mix(vectors: Sequence[NDArray[np.float32]], weights: Sequence[float]) -> NDArray[np.float32]:
    mixed = np.sum([weight * vector for weight, vector in zip(weights, vectors, strict=True)], axis=0)
    normalized: NDArray[np.float32] = (mixed / np.linalg.norm(mixed)).astype(np.float32)
    return normalized


def _add_to_other(connection: Connection) -> None:
    """The vectors of images and labels under the second model."""
    connection.execute(_ADD_IMAGES_TO_OTHER.encode())
    for image_id, vector in enumerate(_image_vectors(2), 1):
        connection.execute(
            "INSERT INTO siglip.image_embeddings SELECT 2, i.content_id, %s::real[]::public.halfvec"
            " FROM siglip.images AS i WHERE i.image_id = %s",
            [vector.tolist(), image_id],
        )
    for label in LABELS:
        prompt = labeling.DEFAULT_TEMPLATE.replace("{label}", label)
        connection.execute(
            "INSERT INTO siglip.label_embeddings SELECT 2, l.label_id, %s::real[]::public.halfvec"
            " FROM siglip.labels AS l WHERE l.label = %s",
            [vector_of(prompt, 2).tolist(), label],
        )
