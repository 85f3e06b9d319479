"""Handles Ctrl-C and SIGTERM in training: the current step is finished and saved first."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any, Self

from siglip_ingest.errors import SiglipError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptedTrainingError(SiglipError):
    """A run was asked to stop, and has saved what it had.

    Args:
        step: How far it came.
        steps: Its steps in all.
    """

    def __init__(self, step: int, steps: int) -> None:
        super().__init__(f"Interrupted at step {step} of {steps}. Go on with --resume.")


class Interruption:
    """Takes the first SIGINT or SIGTERM as a wish to stop soon; the second one ends the process as it always does.

    Signals are handled while it is entered, which only the main thread can do.

    Attributes:
        received: The signal that came, or None.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._earlier: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Begin to take signals."""
        if self.received is None:
            self._earlier = {number: signal.signal(number, self._take) for number in SIGNALS}
        return self

    def __exit__(self, *_exception: object) -> None:
        """Leave signals to whom they belonged before."""
        self._give_back()

    def has_come(self) -> bool:
        """Tell whether a signal came."""
        return self.received is not None

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        self._earlier = {}
