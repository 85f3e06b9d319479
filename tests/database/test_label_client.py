"""Label sets in Python: changed, marked, kept, and how far they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import siglip_ingest
from siglip_ingest import SiglipClient, labeling
from siglip_ingest.db import Database
from siglip_ingest.errors import AlreadyExistsError, ConfigurationError, InvalidInputError, NotFoundError
from tests.database.helpers import INFO, FakeEmbedder, add_model, index_images, make_fake, unit_vectors
from tests.database.test_label_sets import embedded, labels_of
from tests.database.test_labeling import Reader


@pytest.fixture
def client(database_url: str, database: Database, model_id: int) -> Iterator[SiglipClient]:
    labeling.create_label_set(database, make_fake, "scenes", ["sunset", "forest"])
    with SiglipClient(database_url=database_url, embedder=Reader()) as client:
        yield client


def test_a_new_label_has_its_vector_at_once(client: SiglipClient, database: Database) -> None:
    label_id = client.add_label("scenes", "beach", ["sand", "sea"], threshold=0.7)
    with database.connection() as connection:
        assert labels_of(connection)["beach"] == ["sand", "sea"]
        assert embedded(connection) == ["beach", "forest", "sunset"]
        row = connection.execute("SELECT threshold FROM siglip.labels WHERE label_id = %s", [label_id]).fetchone()
    assert row == (pytest.approx(0.7),)
    client.change_label("scenes", "beach", new_label="shore", prompts=["a shore"], place=np.int64(0))  # type: ignore[arg-type]
    client.change_label("scenes", "forest", prompts=[])
    assert client.set_template("scenes", "a {label}") == 2
    with database.connection() as connection:
        assert labels_of(connection) == {"shore": ["a shore"], "sunset": ["a sunset"], "forest": ["a forest"]}
        assert embedded(connection) == ["forest", "shore", "sunset"]


def test_sets_are_renamed_kept_and_dropped(client: SiglipClient) -> None:
    client.set_threshold("scenes", "sunset", 0.25)
    client.remove_label("scenes", "forest")
    client.keep_labels("scenes")
    client.rename_label_set("scenes", "places")
    (status,) = client.label_status()
    assert (status.label_set, status.label, status.threshold, status.is_kept) == ("places", "sunset", 0.25, True)
    client.keep_labels("places", False)
    client.set_threshold("places", "sunset", None)
    (status,) = client.label_status("places")
    assert (status.threshold, status.is_kept, status.state, status.share) == (None, False, None, None)
    client.drop_label_set("places")
    assert client.label_status() == []


def test_images_are_marked_and_listed(client: SiglipClient, database: Database, model_id: int) -> None:
    a, b, c = index_images(database, model_id, unit_vectors(3), metadata=[{"n": n} for n in range(3)])
    assert client.mark_images("scenes", "sunset", positives=np.array([a, b]), negatives=(c,), marked_by="Ada") == 3
    found = client.labeled_images("scenes", "sunset")
    assert [(row.image_id, row.is_accepted, row.score, row.marked_by) for row in found] == [
        (a, True, None, "Ada"),
        (b, True, None, "Ada"),
    ]
    assert found[0].metadata == {"n": 0}
    (refused,) = client.labeled_images("scenes", "sunset", is_accepted=False)
    assert refused.image_id == c
    assert client.mark_images("scenes", "sunset", unmark=[a]) == 1
    assert [row.image_id for row in client.labeled_images("scenes", "sunset", only_marked=True)] == [b]
    assert client.mark_images("scenes", "forest", positives=[b]) == 1
    (row,) = client.labeled_images("scenes", "forest", limit=1)
    assert row.marked_by  # the role


def test_kept_labels_are_listed_with_how_far_they_are(client: SiglipClient, database: Database, model_id: int) -> None:
    index_images(database, model_id, unit_vectors(30))
    client.create_label_set("kept", ["cat"], keep=True)
    client.set_threshold("kept", "cat", 0.2)
    (status,) = client.label_status("kept")
    assert (status.state, status.share) == ("waits for a worker", 0)
    for _ in range(3):
        with database.connection() as connection:
            connection.execute("SELECT siglip.refresh_labels()")
    (status,) = client.label_status("kept")
    assert (status.state, status.share) == ("current", 1)
    rows = client.labeled_images("kept", "cat")
    assert rows
    assert [row.score for row in rows] == sorted((row.score or 0 for row in rows), reverse=True)
    assert client.labeled_images("kept", "cat", only_marked=True) == []


def test_the_status_names_the_models(client: SiglipClient, database: Database) -> None:
    info = dataclasses.replace(INFO, name="other")
    with database.connection() as connection:
        other = add_model(connection, info, is_active=False)
        connection.execute("UPDATE siglip.models SET is_kept = true WHERE model_id = %s", [other])
        connection.execute("SELECT siglip.add_label('scenes', '!!!')")
    labeling.embed_labels_for_model(database, Reader(info), other)
    first, *_, last = client.label_status("scenes")
    assert (first.embedded, first.missing, first.refusals) == (["fake", "other"], [], {})
    assert (last.embedded, last.missing, last.refusals) == ([], ["fake"], {"other": "Nothing is left of '!!!'."})


@pytest.mark.parametrize(
    ("method", "arguments", "error", "message"),
    [
        ("add_label", ("nothing", "x"), NotFoundError, "There is no label set 'nothing'"),
        ("add_label", ("scenes", "sunset"), AlreadyExistsError, "has a label 'sunset' already.*change_label"),
        ("add_label", ("scenes", " "), InvalidInputError, "A label needs a name"),
        ("add_label", ("scenes", "a\0b"), InvalidInputError, r"U\+0000"),
        ("add_label", ("scenes", "x", ["\ud800"]), InvalidInputError, "surrogate"),
        ("add_label", ("scenes", "x", [""]), InvalidInputError, "A prompt of the label 'x' is empty"),
        ("add_label", ("scenes", "!!!"), InvalidInputError, "Nothing is left of '!!!'"),
        ("add_label", ("scenes", "x", ["..."]), InvalidInputError, "Nothing is left of '...'"),
        ("change_label", ("scenes", "x"), NotFoundError, "has no label 'x'"),
        ("remove_label", ("scenes", None), InvalidInputError, "name is text, not NoneType"),
        ("rename_label_set", ("scenes", "scenes\0"), InvalidInputError, r"U\+0000"),
        ("set_threshold", ("scenes", "sunset", True), InvalidInputError, "threshold must be a number"),
        ("set_threshold", ("scenes", "sunset", float("nan")), InvalidInputError, "threshold must be a number"),
        ("set_template", ("scenes", "photo"), InvalidInputError, "doesn't contain {label}"),
        ("drop_label_set", ("nothing",), NotFoundError, "There is no label set 'nothing'"),
        ("label_status", ("nothing",), NotFoundError, "There is no label set 'nothing'"),
        ("labeled_images", ("scenes", "x"), NotFoundError, "has no label 'x'"),
    ],
)
def test_what_can_t_be_done_is_said(
    client: SiglipClient,
    database: Database,
    method: str,
    arguments: tuple[Any, ...],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        getattr(client, method)(*arguments)
    with database.connection() as connection:
        assert list(labels_of(connection)) == ["sunset", "forest"]


def test_wrong_options_are_refused(client: SiglipClient) -> None:
    with pytest.raises(InvalidInputError, match="place must be a whole number from 0, not -1"):
        client.change_label("scenes", "sunset", place=-1)
    with pytest.raises(InvalidInputError, match="Nothing is left of '!'"):
        client.change_label("scenes", "sunset", new_label="!")
    with pytest.raises(InvalidInputError, match="image_id must be a whole number"):
        client.mark_images("scenes", "sunset", positives=["a"])  # type: ignore[list-item]
    with pytest.raises(InvalidInputError, match="sequence of whole numbers"):
        client.mark_images("scenes", "sunset", positives="12")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="Who marks it needs a name"):
        client.mark_images("scenes", "sunset", marked_by="")
    with pytest.raises(NotFoundError, match="There is no image 999999"):
        client.mark_images("scenes", "sunset", negatives=[999999])
    with pytest.raises(InvalidInputError, match="limit must be"):
        client.labeled_images("scenes", "sunset", limit=0)


def test_an_embedder_of_another_model_adds_no_label(
    database_url: str, database: Database, client: SiglipClient
) -> None:
    other = FakeEmbedder(dataclasses.replace(INFO, revision="sha256:2"))
    with SiglipClient(database_url=database_url, embedder=other) as wrong:
        with pytest.raises(ConfigurationError, match="sha256:2"):
            wrong.add_label("scenes", "beach")
        with pytest.raises(ConfigurationError, match="sha256:2"):
            wrong.set_template("scenes", "a {label}")
    with database.connection() as connection:
        assert labels_of(connection)["sunset"] == ["This is a photo of sunset."]


def test_without_an_embedder_the_vector_is_left_to_a_worker(
    client: SiglipClient, database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("siglip_ingest.embedders.choose.has_torch", lambda: False)
    with SiglipClient(database_url=database_url) as other:
        other.add_label("scenes", "beach")
        (*_, status) = other.label_status("scenes")
    assert (status.label, status.embedded, status.missing) == ("beach", [], ["fake"])


def test_the_functions_of_the_default_client_are_there() -> None:
    assert siglip_ingest.add_label.__doc__ == SiglipClient.add_label.__doc__
    assert siglip_ingest.mark_images.__doc__ == SiglipClient.mark_images.__doc__
