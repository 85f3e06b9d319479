"""What models get to read: metadata that fit, names, and sentences without this machine's servers and folders."""

from __future__ import annotations

import pytest

pytest.importorskip("mcp", reason="the extra `mcp` isn't installed")

from siglip_ingest import errors
from siglip_ingest.mcp.messages import explain_error
from siglip_ingest.mcp.results import FoundImage
from siglip_ingest.sources import name_of_uri
from siglip_ingest.types import ImageMatch

PRIVATE = "/home/me/secret at db.example:5432"


def test_metadata_that_are_too_long_are_left_out_and_it_is_said() -> None:
    match = ImageMatch(1, "file:///a.jpg", 0.1, 0.5, {"text": "x" * 3000, "album": "2026"})
    found = FoundImage.from_match(match)
    assert (found.metadata, found.metadata_is_cut) == ({"album": "2026"}, True)


def test_a_model_without_scores_gives_none() -> None:
    assert FoundImage.from_match(ImageMatch(1, "file:///a.jpg", 0.1, float("nan"))).score is None


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("file:///photos/one%20two.jpg", "one two.jpg"),
        ("https://me:word@host/a/b.png?signature=x", "b.png"),
        ("s3://bucket/what?.jpg", "what?.jpg"),
        ("file:///photos/shard.tar#a/b.jpg", "b.jpg"),
        ("sha256:00ff", "sha256:00ff"),
        ("https://host/?id=word", "host"),
    ],
)
def test_an_image_is_called_as_its_file(uri: str, name: str) -> None:
    assert name_of_uri(uri) == name


@pytest.mark.parametrize(
    "error",
    [
        errors.ConfigurationError(PRIVATE),
        errors.CheckpointError(PRIVATE),
        errors.DatabaseError(PRIVATE),
        errors.DatabaseUnavailableError(PRIVATE),
        errors.SchemaVersionError(PRIVATE),
        errors.ServiceError(PRIVATE),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_the_set_up_name_neither_servers_nor_folders(error: errors.SiglipError) -> None:
    sentence = explain_error(error)
    assert "user" in sentence
    assert not {"/home/me/secret", "db.example:5432"} & set(sentence.split())


def test_an_error_of_the_call_names_tools_and_no_sql() -> None:
    error = errors.NotFoundError("There is no image 7. SELECT image_id, uri FROM siglip.images shows what there is.")
    assert explain_error(error) == "There is no image 7. describe_database shows what there is."
