"""Settings from the environment."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from siglip_ingest.errors import ConfigurationError
from siglip_ingest.settings import Settings


def read(**variables: str) -> Settings:
    return Settings.from_environment({f"SIGLIP_{name}": text for name, text in variables.items()})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        pytest.param("MAX_NUM_PATCHES", " 256 ", 256, id="a whole number"),
        pytest.param("MAX_NUM_PATCHES", " ", None, id="blank"),
        pytest.param("LEASE_S", "0.5", 0.5, id="a number"),
        pytest.param("HOME", "/data", Path("/data"), id="a folder"),
        pytest.param("DATABASE_URL", "postgresql://me:secret@db/x", "postgresql://me:secret@db/x", id="a URL"),
        pytest.param("ALLOWED_ROOTS", "/photos", (Path("/photos"),), id="one folder"),
        pytest.param("ALLOWED_ROOTS", "/a:/b c:", (Path("/a"), Path("/b c")), id="two folders"),
        pytest.param("ALLOWED_ROOTS", ":", (), id="no folder"),
        pytest.param("ALLOWED_HOSTS", "nas:80, 10.0.0.0/8,", frozenset({"nas:80", "10.0.0.0/8"}), id="hosts"),
    ],
)
def test_a_value_travels_through_the_environment(name: str, text: str, value: object) -> None:
    settings = read(**{name: text})
    assert getattr(settings, name.lower()) == value
    assert Settings.from_environment(settings.to_environment()) == settings


def test_what_has_no_value_is_not_in_the_environment_of_a_child() -> None:
    unset = {"SIGLIP_DATABASE_URL", "SIGLIP_MAX_NUM_PATCHES", "SIGLIP_ALLOWED_ROOTS", "SIGLIP_ALLOWED_HOSTS"}
    assert not unset & Settings().to_environment().keys()


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        pytest.param("CHUNK_SIZE", "0", "must be at least 1, not 0.", id="too small"),
        pytest.param("MAX_DECODING_PIXELS", "-5", "must be at least 1, not -5.", id="negative"),
        pytest.param("DECODE_THREADS", "-1", "must be at least 0, not -1.", id="zero is allowed"),
        pytest.param("MAX_NUM_PATCHES", "15", "must be from 16 to 1024, not 15.", id="below a range"),
        pytest.param("MAX_NUM_PATCHES", "1025", "must be from 16 to 1024, not 1025.", id="above a range"),
        pytest.param("MAX_NUM_PATCHES", "1.5", "must be a whole number, not '1.5'.", id="a fraction"),
        pytest.param("LEASE_S", "many", "must be a number, not 'many'.", id="a word"),
        pytest.param("LEASE_S", "0", "must be a finite number above 0, not 0.0.", id="no seconds"),
        pytest.param("FETCH_TIMEOUT_S", "inf", "must be a finite number above 0, not inf.", id="infinite"),
        pytest.param("EMBED_TIMEOUT_S", "nan", "must be a finite number above 0, not nan.", id="not a number"),
        pytest.param("POOLER", "session", "must be one of auto, none, transaction, not 'session'.", id="pooler"),
        pytest.param("DTYPE", "f32", "must be one of auto, int8, float32, bfloat16, float16, not 'f32'.", id="dtype"),
    ],
)
def test_a_wrong_value_gets_one_sentence(name: str, text: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read(**{name: text})
    assert str(raised.value) == f"SIGLIP_{name} {sentence}"


@pytest.mark.parametrize("url", ["http://x:secret@y", "garbage", "amqp://host", "redis+socket:///tmp/x"])
def test_a_broker_that_is_no_redis_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="SIGLIP_BROKER_URL must be the URL of a Redis") as raised:
        read(BROKER_URL=url)
    assert "secret" not in str(raised.value)


def test_no_password_is_shown() -> None:
    url = "://me:secret@host/x"
    settings = Settings(
        database_url="postgresql" + url, direct_database_url="x" + url, standby_urls="y" + url, broker_url="redis" + url
    )
    assert "secret" not in repr(settings)
    assert "chunk_size=256" in repr(settings)


def test_a_relative_allowed_folder_is_the_one_below_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read(ALLOWED_ROOTS="photos").allowed_roots == (tmp_path / "photos",)


def test_an_allowed_folder_that_would_become_two_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="SIGLIP_ALLOWED_ROOTS can't name"):
        Settings(allowed_roots=(Path("/photos:/etc"),))


def test_the_home_is_the_users_unless_the_environment_says_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/me")
    data = {"XDG_DATA_HOME": "/data"}
    assert read().home == Path("/me/.local/share/siglip_ingest")
    assert read(HOME="~/images").home == Path("/me/images")
    assert Settings.from_environment(data).home == Path("/data/siglip_ingest")
    assert Settings.from_environment(data | {"SIGLIP_HOME": "/other"}).home == Path("/other")


def test_only_the_mapping_that_is_given_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGLIP_BATCH_SIZE", "7")
    assert read().batch_size == Settings().batch_size == 0


def test_a_misspelt_name_gets_a_warning_with_the_real_one(caplog: pytest.LogCaptureFixture) -> None:
    names = ("SIGLIP_BACH_SIZE", "SIGLIP_MODLE", "SIGLIP_PHOTOS", "SIGLIP_DATABASE_PORT", "SIGLIP_TEST_DATABASE_URL")
    with caplog.at_level(logging.WARNING):
        Settings.from_environment(dict.fromkeys(names, "8") | {"SIGLIP_MODEL": "demo"})
    assert caplog.messages == [
        "SIGLIP_BACH_SIZE is not a setting and is ignored. Did you mean SIGLIP_BATCH_SIZE?",
        "SIGLIP_MODLE is not a setting and is ignored. Did you mean SIGLIP_MODEL?",
    ]
