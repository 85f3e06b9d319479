"""The worker's log."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from siglip_workers.signals import set_up_logging

NAMES = ("httpx", "httpcore", "siglip_workers", "siglip_ingest")


@pytest.fixture
def _same_levels_afterwards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    levels = {name: logging.getLogger(name).level for name in NAMES}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.usefixtures("_same_levels_afterwards")
@pytest.mark.parametrize("level", ["DEBUG", logging.INFO])
def test_addresses_that_are_fetched_never_reach_the_log(level: int | str) -> None:
    set_up_logging(level)
    for name in ("httpx", "httpcore"):  # they would log them whole
        assert not logging.getLogger(f"{name}.sub").isEnabledFor(logging.INFO)
