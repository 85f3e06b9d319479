"""Label sets that are made, extended and changed in SQL."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, LiteralString
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from psycopg import sql

from siglip_ingest import labeling
from siglip_ingest.db import Connection, Database
from siglip_ingest.errors import AlreadyExistsError, DatabaseError, InvalidInputError, NotFoundError
from tests.database.helpers import INFO, FakeEmbedder, add_model, index_images, make_fake, text_vector, unit_vectors
from tests.database.test_labeling import Reader


def ask(connection: Connection, query: LiteralString, *parameters: object) -> Any:
    row: Any = connection.execute(query, parameters).fetchone()
    return row[0]


def labels_of(connection: Connection, label_set: str = "scenes") -> dict[str, list[str]]:
    """The labels of a set in order, with their prompts."""
    rows: Any = connection.execute(
        "SELECT l.label, l.prompts FROM siglip.labels AS l JOIN siglip.label_sets AS s USING (label_set_id)"
        " WHERE s.name = %s ORDER BY l.position",
        [label_set],
    ).fetchall()
    return dict(rows)


def embedded(connection: Connection) -> list[str]:
    """The labels that have a vector, by name."""
    rows: Any = connection.execute(
        "SELECT l.label FROM siglip.labels AS l JOIN siglip.label_embeddings USING (label_id) ORDER BY 1"
    ).fetchall()
    return [label for (label,) in rows]


def embed(database: Database, model_id: int) -> int:
    return labeling.embed_labels_for_model(database, FakeEmbedder(), model_id)


@pytest.fixture
def scenes(database: Database, model_id: int) -> str:
    """A set of three labels with vectors."""
    with database.connection() as connection:
        connection.execute("SELECT siglip.create_label_set('scenes', '{sunset,\"night sky\",forest}')")
    assert embed(database, model_id) == 3
    return "scenes"


def test_the_template_makes_the_prompts(database: Database) -> None:
    with database.connection() as connection:
        set_id = ask(connection, "SELECT siglip.create_label_set('scenes', '{sunset,\"night sky\"}')")
        assert labels_of(connection) == {
            "sunset": ["This is a photo of sunset."],
            "night sky": ["This is a photo of night sky."],
        }
        assert ask(connection, "SELECT name FROM siglip.label_sets WHERE label_set_id = %s", set_id) == "scenes"
        assert ask(connection, "SELECT is_kept FROM siglip.label_sets") is False


def test_labels_may_have_prompts_of_their_own(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        connection.execute(
            "SELECT siglip.create_label_set('pets', '{bird,cat}', template => 'a {label}!', keep => true,"
            ' prompts => \'{"cat": ["a cat", "a kitten"], "dog": "a dog", "fish": []}\')'
        )
        assert labels_of(connection, "pets") == {
            "bird": ["a bird!"],
            "cat": ["a cat", "a kitten"],
            "dog": ["a dog"],
            "fish": ["a fish!"],
        }
        assert ask(connection, "SELECT is_kept FROM siglip.label_sets") is True
    assert embed(database, model_id) == 4
    mean = text_vector("a cat") + text_vector("a kitten")
    with database.connection() as connection:
        vector = ask(
            connection,
            "SELECT v.embedding::real[] FROM siglip.label_embeddings AS v JOIN siglip.labels USING (label_id)"
            " WHERE label = 'cat'",
        )
    assert vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-3)


def test_names_are_any_text(database: Database, model_id: int) -> None:
    names = ["it's", 'a "b", {c}', "森 🌲", "NULL", "x'); DROP TABLE siglip.labels; --", "{label}", "%s", "ÄÖ/ü"]
    with database.connection() as connection:
        ask(connection, "SELECT siglip.create_label_set(%s, %s)", names[0], names)
        assert list(labels_of(connection, names[0])) == names
        prompts = json.dumps({name: [name] for name in names})
        ask(connection, "SELECT siglip.create_label_set(%s, prompts => %s::json)", names[4], prompts)
        assert labels_of(connection, names[4]) == {name: [name] for name in names}
        for name in names:
            connection.execute("SELECT siglip.set_threshold(%s, %s, 0.25)", [names[0], name])
            connection.execute("SELECT siglip.change_label(%s, %s, new_label => %s)", [names[0], name, name + "'"])
        assert list(labels_of(connection, names[0])) == [name + "'" for name in names]
        assert labels_of(connection, names[0])["{label}'"] == ["This is a photo of {label}'."]
    assert embed(database, model_id) == 16


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ("create_label_set(NULL)", InvalidInputError, "The name of a label set is empty"),
        ("create_label_set(E' \\n')", InvalidInputError, "The name of a label set is empty"),
        ("create_label_set('a', '{x,NULL}')", InvalidInputError, "A label is empty"),
        ("create_label_set('a', '{x,\" \"}')", InvalidInputError, "A label is empty"),
        ("create_label_set('a', '{x,x}')", InvalidInputError, "The label 'x' is there twice"),
        ("create_label_set('a', '{{x,y},{y,z}}')", InvalidInputError, "The label 'y' is there twice"),
        ("create_label_set('a', template => 'photo')", InvalidInputError, r"template 'photo' doesn't contain \{label"),
        ("create_label_set('a', template => NULL)", InvalidInputError, "template NULL doesn't contain"),
        ("create_label_set('a', prompts => '[]')", InvalidInputError, "prompts is a JSON array, not an object"),
        ("create_label_set('a', prompts => 'null')", InvalidInputError, "prompts is a JSON null"),
        ("create_label_set('a', prompts => '{\"x\": 3}')", InvalidInputError, "label 'x' are a JSON number"),
        (
            "create_label_set('a', prompts => '{\"x\": [3]}')",
            InvalidInputError,
            r"A prompt of the label 'x' is no text",
        ),
        ("create_label_set('a', prompts => '{\"x\": [null]}')", InvalidInputError, "is no text"),
        (
            "create_label_set('a', prompts => '{\"x\": [\" \"]}')",
            InvalidInputError,
            "A prompt of the label 'x' is empty",
        ),
        ('create_label_set(\'a\', prompts => \'{"x": ["b"], "x": ["c"]}\')', InvalidInputError, "'x' is there twice"),
        ("create_label_set('a', prompts => '{\"\": [\"b\"]}')", InvalidInputError, "A label is empty"),
        ("create_label_set('scenes')", AlreadyExistsError, "There is a label set 'scenes' already"),
        ("create_label_set('scenes', replace => NULL)", AlreadyExistsError, "There is a label set 'scenes' already"),
        ("add_label('nothing', 'x')", NotFoundError, "There is no label set 'nothing'"),
        ("add_label(NULL, 'x')", NotFoundError, "There is no label set NULL"),
        ("add_label('scenes', NULL)", InvalidInputError, "A label is empty"),
        ("add_label('scenes', 'sunset')", AlreadyExistsError, "'scenes' has a label 'sunset' already"),
        ("add_label('scenes', 'x', '{a,NULL}')", InvalidInputError, "A prompt of the label 'x' is empty"),
        ("add_label('scenes', 'x', threshold => 1.5)", InvalidInputError, "threshold is 1.5"),
        ("add_label('scenes', 'x', threshold => 'NaN')", InvalidInputError, "threshold is NaN"),
        ("change_label('scenes', 'x')", NotFoundError, "'scenes' has no label 'x'"),
        ("change_label('scenes', NULL)", NotFoundError, "'scenes' has no label NULL"),
        ("change_label('scenes', 'sunset', 'forest')", AlreadyExistsError, "has a label 'forest' already"),
        ("change_label('scenes', 'sunset', ' ')", InvalidInputError, "A label is empty"),
        ("change_label('scenes', 'sunset', prompts => '{\"\"}')", InvalidInputError, "prompt of the label 'sunset'"),
        ("set_threshold('scenes', 'sunset', -1)", InvalidInputError, "threshold is -1"),
        ("set_threshold('scenes', 'x', 0.5)", NotFoundError, "'scenes' has no label 'x'"),
        ("remove_label('scenes', 'x')", NotFoundError, "'scenes' has no label 'x'"),
        ("remove_label('nothing', 'x')", NotFoundError, "There is no label set 'nothing'"),
        ("drop_label_set('nothing')", NotFoundError, "There is no label set 'nothing'"),
        ("rename_label_set('nothing', 'x')", NotFoundError, "There is no label set 'nothing'"),
        ("rename_label_set('scenes', '')", InvalidInputError, "The name of a label set is empty"),
        ("rename_label_set('scenes', 'other')", AlreadyExistsError, "There is a label set 'other' already"),
        ("set_template('scenes', 'photo')", InvalidInputError, r"doesn't contain \{label\}"),
        ("set_template('nothing', '{label}')", NotFoundError, "There is no label set 'nothing'"),
        ("keep_labels('nothing')", NotFoundError, "There is no label set 'nothing'"),
        ("mark_images('scenes', 'x')", NotFoundError, "'scenes' has no label 'x'"),
    ],
)
def test_what_can_t_be_done_is_said(
    database: Database, scenes: str, call: str, error: type[Exception], message: str
) -> None:
    with database.connection() as connection:
        connection.execute("SELECT siglip.create_label_set('other')")
    with pytest.raises(error, match=message), database.connection() as connection:
        connection.execute(f"SELECT siglip.{call}".encode())
    with database.connection() as connection:
        assert list(labels_of(connection)) == ["sunset", "night sky", "forest"]
        assert len(embedded(connection)) == 3


def test_a_label_is_added_at_the_end(database: Database, model_id: int, scenes: str) -> None:
    with database.connection() as connection:
        connection.execute("SELECT siglip.remove_label('scenes', 'night sky')")
        label_id = ask(connection, "SELECT siglip.add_label('scenes', 'beach', '{sand,sea}', 0.7)")
        assert list(labels_of(connection)) == ["sunset", "forest", "beach"]
        assert labels_of(connection)["beach"] == ["sand", "sea"]
        threshold = ask(connection, "SELECT threshold FROM siglip.labels WHERE label_id = %s", label_id)
        assert threshold == pytest.approx(0.7)
        connection.execute("SELECT siglip.create_label_set('empty')")
        connection.execute("SELECT siglip.add_label('empty', 'first')")
    assert embed(database, model_id) == 2


def test_other_prompts_take_the_vector_with_them(database: Database, model_id: int, scenes: str) -> None:
    with database.connection() as connection:
        connection.execute("SELECT siglip.set_threshold('scenes', 'forest', 0.3)")
        connection.execute("SELECT siglip.change_label('scenes', 'forest', prompts => '{\"many trees\"}')")
        assert embedded(connection) == ["night sky", "sunset"]
        assert ask(connection, "SELECT threshold FROM siglip.labels WHERE label = 'forest'") == pytest.approx(0.3)
        connection.execute(
            "SELECT siglip.change_label('scenes', 'sunset', prompts => '{\"This is a photo of sunset.\"}')"
        )
        assert embedded(connection) == ["night sky", "sunset"]  # the same as before
    assert embed(database, model_id) == 1
    with database.connection() as connection:
        connection.execute("SELECT siglip.change_label('scenes', 'forest', prompts => '{}')")
        assert labels_of(connection)["forest"] == ["This is a photo of forest."]


def test_a_prompt_that_the_template_made_follows_the_name(database: Database, scenes: str) -> None:
    with database.connection() as connection:
        connection.execute("SELECT siglip.change_label('scenes', 'sunset', prompts => '{\"a red sky\"}')")
        connection.execute("SELECT siglip.change_label('scenes', 'sunset', new_label => 'dusk')")
        connection.execute("SELECT siglip.change_label('scenes', 'forest', new_label => 'wood')")
        assert labels_of(connection) == {
            "dusk": ["a red sky"],
            "night sky": ["This is a photo of night sky."],
            "wood": ["This is a photo of wood."],
        }


@pytest.mark.parametrize(
    ("label", "place", "expected"),
    [
        ("a", 0, "acde"),
        ("a", 1, "cade"),
        ("a", 3, "cdea"),
        ("a", 99, "cdea"),
        ("e", 0, "eacd"),
        ("e", 2, "aced"),
        ("d", 1, "adce"),
        ("d", -5, "dace"),
    ],
)
def test_a_label_moves_to_its_place(database: Database, label: str, place: int, expected: str) -> None:
    with database.connection() as connection:
        connection.execute("SELECT siglip.create_label_set('scenes', '{a,b,c,d,e}')")
        connection.execute("SELECT siglip.remove_label('scenes', 'b')")  # which leaves a gap
        connection.execute("SELECT siglip.change_label('scenes', %s, place => %s)", [label, place])
        assert "".join(labels_of(connection)) == expected
        rows = connection.execute("SELECT position FROM siglip.labels ORDER BY 1").fetchall()
        assert rows == [(0,), (1,), (2,), (3,)]


def test_a_new_template_makes_only_its_own_prompts_new(database: Database, scenes: str) -> None:
    with database.connection() as connection:
        connection.execute("SELECT siglip.change_label('scenes', 'sunset', prompts => '{\"a red sky\"}')")
        assert ask(connection, "SELECT siglip.set_template('scenes', 'a painting of {label}')") == 2
        assert labels_of(connection) == {
            "sunset": ["a red sky"],
            "night sky": ["a painting of night sky"],
            "forest": ["a painting of forest"],
        }
        assert embedded(connection) == []
        assert ask(connection, "SELECT siglip.set_template('scenes', 'a painting of {label}')") == 2


def test_a_set_is_renamed_kept_and_dropped(database: Database, scenes: str) -> None:
    with database.connection() as connection:
        connection.execute("SELECT siglip.keep_labels('scenes')")
        connection.execute("SELECT siglip.rename_label_set('scenes', 'places')")
        connection.execute("SELECT siglip.rename_label_set('places', 'places')")
        assert ask(connection, "SELECT name FROM siglip.label_sets WHERE is_kept") == "places"
        connection.execute("SELECT siglip.keep_labels('places', false)")
        assert ask(connection, "SELECT count(*) FROM siglip.label_sets WHERE is_kept") == 0
        assert len(embedded(connection)) == 3
        connection.execute("SELECT siglip.drop_label_set('places')")
        assert ask(connection, "SELECT count(*) FROM siglip.labels") == 0
        assert embedded(connection) == []


def test_a_replaced_set_keeps_what_is_known_of_its_labels(database: Database, model_id: int, scenes: str) -> None:
    (image_id,) = index_images(database, model_id, unit_vectors(1))
    with database.connection() as connection:
        connection.execute("SELECT siglip.keep_labels('scenes')")
        for label in ("sunset", "forest", "night sky"):
            connection.execute("SELECT siglip.mark_images('scenes', %s, %s)", [label, [image_id]])
            connection.execute("SELECT siglip.set_threshold('scenes', %s, 0.25)", [label])
        connection.execute(
            "INSERT INTO siglip.label_calibrations (label_id, model_id, version, scale, bias)"
            " SELECT label_id, %s, 1, 2, 0 FROM siglip.labels",
            [model_id],
        )
        connection.execute(
            "SELECT siglip.create_label_set('scenes', '{beach,forest}', replace => true,"
            ' prompts => \'{"sunset": ["a red sky"]}\')'
        )
        assert list(labels_of(connection)) == ["beach", "forest", "sunset"]
        assert embedded(connection) == ["forest"]  # whose prompts are those of before
        known = (
            "SELECT label FROM siglip.labels JOIN siglip.image_labels USING (label_id)"
            " JOIN siglip.label_calibrations USING (label_id) WHERE labels.threshold = 0.25 ORDER BY 1"
        )
        assert connection.execute(known).fetchall() == [("forest",), ("sunset",)]
        assert ask(connection, "SELECT is_kept FROM siglip.label_sets") is True
        connection.execute("SELECT siglip.create_label_set('scenes', '{beach}', replace => true, keep => false)")
        assert ask(connection, "SELECT is_kept FROM siglip.label_sets") is False


def test_python_replaces_by_the_same_function(database: Database, model_id: int, scenes: str) -> None:
    with database.connection() as connection:
        connection.execute("SELECT siglip.set_threshold('scenes', 'forest', 0.25)")
    labeling.create_label_set(
        database, make_fake, "scenes", {"it's": ["a", "b"], "forest": "trees"}, keep=True, replace=True
    )
    with database.connection() as connection:
        assert labels_of(connection) == {"it's": ["a", "b"], "forest": ["trees"]}
        assert embedded(connection) == ["forest", "it's"]
        assert ask(connection, "SELECT threshold FROM siglip.labels WHERE label = 'forest'") == pytest.approx(0.25)
        assert ask(connection, "SELECT is_kept FROM siglip.label_sets") is True
    assert embed(database, model_id) == 0


def test_two_changes_of_a_set_come_one_after_the_other(database: Database, scenes: str) -> None:
    names = [f"label {n}" for n in range(12)]
    barrier = threading.Barrier(4)

    def change(caller: int) -> None:
        barrier.wait(30)
        for name in names[caller::4]:
            with database.connection() as connection:
                connection.execute("SELECT siglip.add_label('scenes', %s)", [name])
                connection.execute("SELECT siglip.change_label('scenes', %s, place => 0)", [name])
                connection.execute("SELECT siglip.set_template('scenes', %s)", [f"{{label}} by {caller}"])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(change, range(4)))
    with database.connection() as connection:
        rows = connection.execute("SELECT position FROM siglip.labels ORDER BY 1").fetchall()
        assert rows == [(n,) for n in range(15)]
        assert len({prompts[0].partition(" by ")[2] for prompts in labels_of(connection).values()}) == 1


def test_of_two_that_add_one_label_one_is_told(database: Database, scenes: str) -> None:
    with ThreadPoolExecutor(1) as threads:
        with database.connection() as first:
            first.execute("SELECT siglip.add_label('scenes', 'beach')")
            second = threads.submit(_add_beach, database)
            time.sleep(0.2)
            assert not second.done()  # it waits for the first
        with pytest.raises(AlreadyExistsError, match="'scenes' has a label 'beach' already"):
            second.result(30)


def _add_beach(database: Database) -> None:
    with database.connection() as connection:
        connection.execute("SELECT siglip.add_label('scenes', 'beach')")


def test_a_vector_of_prompts_that_have_changed_is_not_stored(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        connection.execute("SELECT siglip.create_label_set('scenes', '{sunset,forest}')")

    class Slow(FakeEmbedder):
        def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
            if not self.calls:
                with database.connection() as connection:
                    connection.execute("SELECT siglip.change_label('scenes', 'forest', prompts => '{trees}')")
            return super().embed_texts(texts)

    assert labeling.embed_labels_for_model(database, Slow(), model_id) == 1
    with database.connection() as connection:
        assert embedded(connection) == ["sunset"]
    assert embed(database, model_id) == 1
    with database.connection() as connection:
        vector = ask(
            connection,
            "SELECT v.embedding::real[] FROM siglip.label_embeddings AS v JOIN siglip.labels USING (label_id)"
            " WHERE label = 'forest'",
        )
    assert vector == pytest.approx(text_vector("trees"), abs=1e-3)


def test_why_a_label_has_no_vector_is_kept(database: Database, model_id: int, caplog: pytest.LogCaptureFixture) -> None:
    with database.connection() as connection:
        connection.execute("SELECT siglip.create_label_set('scenes', '{cat,!!!}')")
        status = "SELECT model, has_vector, refusal FROM siglip.label_status WHERE label = '!!!'"
        assert connection.execute(status).fetchall() == [("fake", False, None)]
    embedder = Reader()
    assert labeling.embed_labels_for_model(database, embedder, model_id) == 1
    with database.connection() as connection:
        assert connection.execute(status).fetchall() == [("fake", False, "Nothing is left of '!!!'.")]
    assert caplog.text.count("Nothing is left of '!!!'") == 1
    assert labeling.embed_labels_for_model(database, embedder, model_id) == 0
    assert caplog.text.count("Nothing is left of '!!!'") == 1
    with database.connection() as connection:
        connection.execute("SELECT siglip.change_label('scenes', '!!!', prompts => '{surprise}')")
        assert connection.execute(status).fetchall() == [("fake", False, None)]
    assert labeling.embed_labels_for_model(database, embedder, model_id) == 1
    with database.connection() as connection:
        assert connection.execute(status).fetchall() == [("fake", True, None)]


def test_one_label_that_can_t_be_embedded_leaves_the_others_alone(database: Database, model_id: int) -> None:
    class Opposite(FakeEmbedder):
        def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
            vectors = super().embed_texts([text.removeprefix("not ") for text in texts])
            vectors[[text.startswith("not ") for text in texts]] *= -1
            return vectors

    with database.connection() as connection:
        connection.execute(
            "SELECT siglip.create_label_set('scenes', '{cat}', prompts => '{\"all\": [\"x\", \"not x\"]}')"
        )
    assert labeling.embed_labels_for_model(database, Opposite(), model_id) == 1
    with database.connection() as connection:
        assert embedded(connection) == ["cat"]
        refusal = ask(connection, "SELECT refusal FROM siglip.label_status WHERE label = 'all'")
    assert refusal == "A label's prompts cancel each other out. Leave some of them out."


def test_a_set_without_any_vector_says_what_is_wrong_with_it(database: Database, model_id: int) -> None:
    image_ids = index_images(database, model_id, unit_vectors(1))
    with database.connection() as connection:
        connection.execute("SELECT siglip.create_label_set('scenes', '{!!!}')")
    with pytest.raises(NotFoundError, match="within seconds"):
        labeling.label_scores_of_image_id(database, image_ids[0], "scenes")
    labeling.embed_labels_for_model(database, Reader(), model_id)
    for call in (
        "images_with_label('scenes', '!!!')",
        "all_of('scenes', '{!!!}')",
        "explain_score(1, 'scenes', '!!!')",
    ):
        with pytest.raises(NotFoundError, match="fake can't embed it"), database.connection() as connection:
            connection.execute(f"SELECT * FROM siglip.{call}".encode())
    with pytest.raises(
        NotFoundError, match=r"the label '!!!' can't be used\. Nothing is left of '!!!'\. Give it other"
    ):
        labeling.label_scores_of_image_id(database, image_ids[0], "scenes")


def test_the_status_has_a_row_for_each_kept_model(database: Database, model_id: int, scenes: str) -> None:
    with database.connection() as connection:
        other = add_model(connection, dataclasses.replace(INFO, name="other"), is_active=False)
        assert ask(connection, "SELECT count(*) FROM siglip.label_status") == 3
        connection.execute("UPDATE siglip.models SET is_kept = true WHERE model_id = %s", [other])
        rows = connection.execute(
            "SELECT label, model, has_vector, is_active FROM siglip.label_status WHERE label = 'forest' ORDER BY model"
        ).fetchall()
    assert rows == [("forest", "fake", True, True), ("forest", "other", False, False)]


def test_without_a_model_the_status_still_lists_the_labels(database: Database) -> None:
    with database.connection() as connection:
        connection.execute("SELECT siglip.create_label_set('scenes', '{cat}')")
        rows = connection.execute("SELECT label, model, has_vector FROM siglip.label_status").fetchall()
    assert rows == [("cat", None, False)]


def test_labels_by_example_are_not_embedded_by_their_prompts(database: Database, model_id: int, scenes: str) -> None:
    with database.connection() as connection:
        connection.execute(
            "INSERT INTO siglip.labels (label_set_id, position, label, prompts, is_by_example)"
            " SELECT label_set_id, 9, 'like these', '{}', true FROM siglip.label_sets"
        )
    assert embed(database, model_id) == 0
    with database.connection() as connection:
        connection.execute("SELECT siglip.set_template('scenes', 'a {label}')")
        assert labels_of(connection)["like these"] == []
        connection.execute("SELECT siglip.change_label('scenes', 'like these', new_label => 'alike')")
        assert labels_of(connection)["alike"] == []
        connection.execute("SELECT siglip.change_label('scenes', 'alike', prompts => '{}')")
        assert labels_of(connection)["alike"] == ["a alike"]
    assert embed(database, model_id) == 4


@pytest.fixture
def role(database_url: str, database: Database, scenes: str) -> Iterator[tuple[str, Database]]:
    """A role that may search, and nothing else."""
    name = f"siglip_labeler_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x1'").format(sql.Identifier(name)))
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA siglip TO {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA siglip TO {}").format(sql.Identifier(name)))
        parts = urlsplit(database_url)
        url = urlunsplit(parts._replace(netloc=f"{name}:x1@{parts.hostname}:{parts.port}"))
        with Database(url) as limited:
            yield name, limited
        connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.mark.parametrize(
    "call",
    [
        "create_label_set('new', '{x}')",
        "add_label('scenes', 'x')",
        "change_label('scenes', 'forest', prompts => '{x}')",
        "set_threshold('scenes', 'forest', 0.5)",
        "remove_label('scenes', 'forest')",
        "drop_label_set('scenes')",
        "rename_label_set('scenes', 'x')",
        "set_template('scenes', '{label}')",
        "keep_labels('scenes')",
    ],
)
def test_a_role_that_only_searches_changes_nothing(role: tuple[str, Database], call: str) -> None:
    _, limited = role
    with pytest.raises(DatabaseError, match="permission denied"), limited.connection() as connection:
        connection.execute(f"SELECT siglip.{call}".encode())
    with limited.connection() as connection:
        assert len(connection.execute("SELECT FROM siglip.label_status WHERE has_vector").fetchall()) == 3


def test_a_role_needs_rights_on_the_tables_of_labels_alone(
    database: Database, model_id: int, role: tuple[str, Database]
) -> None:
    name, limited = role
    tables = "label_sets, labels, label_embeddings, label_refusals, label_calibrations"
    grant = f"GRANT INSERT, UPDATE, DELETE ON siglip.{tables.replace(', ', ', siglip.')} TO {name}"
    with database.connection() as connection:
        connection.execute(grant.encode())
    with limited.connection() as connection:
        connection.execute("SELECT siglip.create_label_set('new', '{x}')")
        connection.execute("SELECT siglip.add_label('new', 'y')")
        connection.execute("SELECT siglip.change_label('scenes', 'forest', 'wood', '{x}', 0)")
        connection.execute("SELECT siglip.set_threshold('scenes', 'wood', 0.5)")
        connection.execute("SELECT siglip.remove_label('scenes', 'sunset')")
        connection.execute("SELECT siglip.set_template('scenes', '{label}')")
        connection.execute("SELECT siglip.keep_labels('scenes')")
        connection.execute("SELECT siglip.rename_label_set('scenes', 'places')")
        connection.execute("SELECT siglip.create_label_set('places', '{x}', replace => true)")
        connection.execute("SELECT siglip.drop_label_set('places')")
        assert list(labels_of(connection, "new")) == ["x", "y"]
