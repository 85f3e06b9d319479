"""Settings from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from siglip_ingest.errors import ConfigurationError
from siglip_ingest.settings import Settings


@pytest.mark.parametrize("number", [16, 256, 1024])
def test_the_number_of_patches_travels_through_the_environment(number: int) -> None:
    settings = Settings.from_environment({"SIGLIP_MAX_NUM_PATCHES": str(number)})
    assert settings.max_num_patches == number
    assert Settings.from_environment(settings.to_environment()) == settings


def test_without_a_number_of_patches_the_checkpoint_or_the_database_decides() -> None:
    settings = Settings.from_environment({"SIGLIP_MAX_NUM_PATCHES": " "})
    assert settings.max_num_patches is None
    assert "SIGLIP_MAX_NUM_PATCHES" not in settings.to_environment()


@pytest.mark.parametrize("text", ["15", "1025", "0", "-256"])
def test_a_number_of_patches_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"SIGLIP_MAX_NUM_PATCHES must be from 16 to 1024, not {text}"):
        Settings.from_environment({"SIGLIP_MAX_NUM_PATCHES": text})


def test_a_number_of_patches_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="SIGLIP_MAX_NUM_PATCHES must be a number, not 'many'"):
        Settings.from_environment({"SIGLIP_MAX_NUM_PATCHES": "many"})


@pytest.mark.parametrize(
    ("text", "roots"),
    [
        pytest.param("/photos", (Path("/photos"),), id="one"),
        pytest.param("/photos:/more photos:", (Path("/photos"), Path("/more photos")), id="two"),
        pytest.param(":", (), id="none"),
        pytest.param(" ", None, id="unset"),
    ],
)
def test_allowed_folders_travel_through_the_environment(text: str, roots: tuple[Path, ...] | None) -> None:
    settings = Settings.from_environment({"SIGLIP_ALLOWED_ROOTS": text})
    assert settings.allowed_roots == roots
    assert Settings.from_environment(settings.to_environment()) == settings


def test_a_relative_allowed_folder_is_the_one_below_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.from_environment({"SIGLIP_ALLOWED_ROOTS": "photos"}).allowed_roots == (tmp_path / "photos",)


def test_an_allowed_folder_that_would_become_two_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="SIGLIP_ALLOWED_ROOTS can't name"):
        Settings(allowed_roots=(Path("/photos:/etc"),))


def test_allowed_hosts_travel_through_the_environment() -> None:
    settings = Settings.from_environment({"SIGLIP_ALLOWED_HOSTS": "nas.local:8080, 10.0.0.0/8,"})
    assert settings.allowed_hosts == {"nas.local:8080", "10.0.0.0/8"}
    assert Settings.from_environment(settings.to_environment()) == settings
    assert "SIGLIP_ALLOWED_HOSTS" not in Settings().to_environment()


def test_pixels_being_decoded_are_at_least_one() -> None:
    with pytest.raises(ConfigurationError, match="SIGLIP_MAX_DECODING_PIXELS must be at least 1"):
        Settings(max_decoding_pixels=0)


@pytest.mark.parametrize("url", ["http://x", "garbage", "amqp://host", "redis+socket:///tmp/x"])
def test_a_broker_that_is_no_redis_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="SIGLIP_BROKER_URL must be the URL of a Redis"):
        Settings.from_environment({"SIGLIP_BROKER_URL": url})
