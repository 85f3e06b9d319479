"""Settings from the environment."""

from __future__ import annotations

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
