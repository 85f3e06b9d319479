"""Reads images at once, in threads, and makes them small; what takes too long is left out."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from siglip_ingest.errors import ConfigurationError, DatabaseError, ImageError, SiglipError

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")

# Reads the bytes of an image, given its image_id, its uri, and the seconds that it may take; raises SiglipError.
ReadImage = Callable[[int, str, float], bytes]

THREADS = 8
TIMEOUT_S = 5.0


class Missing(NamedTuple):
    """Why an image isn't shown.

    Attributes:
        reason: A few words: `not found`.
        message: A sentence.
    """

    reason: str
    message: str


def make_thumbnails(
    rows: Sequence[Any],
    read_image: ReadImage | None,
    convert: Callable[[Image.Image], T],
    *,
    pixels: int,
) -> list[T | Missing]:
    """Read the images of rows, and make of each what `convert` makes of it, in the order of the rows.

    Args:
        rows: Each has an `image_id` and a `uri`.
        read_image: Reads one; None where nothing can.
        convert: Called in a thread with an upright RGB image, at most `pixels` wide and high.
        pixels: Of the longer side; smaller images stay as they are.

    Returns:
        After at most `TIMEOUT_S`. What is still being read then goes on in a thread that nobody waits for.
    """
    if read_image is None:
        return [Missing("no client", "These results were pickled or copied; images are read by the client.")] * len(
            rows
        )
    # Here, since programs that show nothing need no Pillow.
    from siglip_ingest.siglip.preprocess.opening import DEFAULT_LIMITS
    from siglip_ingest.thumbnails import shrink_image

    read, ends_at = read_image, time.monotonic() + TIMEOUT_S

    def make(row: Any) -> T | Missing:
        try:
            content = read(row.image_id, row.uri, max(0.1, ends_at - time.monotonic()))
            return convert(shrink_image(content, pixels, DEFAULT_LIMITS))
        except ImageError as error:
            return Missing(error.code.replace("_", " "), str(error))
        except ConfigurationError as error:
            return Missing("not installed", str(error))
        except DatabaseError as error:
            return Missing("no database", str(error))
        except SiglipError as error:
            return Missing("not read", str(error))

    late = Missing("took too long", f"Reading the images took more than {TIMEOUT_S:g} s.")
    return _run_all([partial(make, row) for row in rows], late, ends_at)


def _run_all(tasks: Sequence[Callable[[], T]], late: T, ends_at: float) -> list[T]:
    """Run tasks in a few threads until a time; the answers in their order, `late` for those that have none by then.

    Not an executor: Python waits for an executor's threads at its end, and these may hang in a dead network drive.
    """
    waiting: queue.SimpleQueue[tuple[int, Callable[[], T]]] = queue.SimpleQueue()
    answers: queue.SimpleQueue[tuple[int, T]] = queue.SimpleQueue()
    for task in enumerate(tasks):
        waiting.put(task)

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while time.monotonic() < ends_at:
                number, task = waiting.get_nowait()
                answers.put((number, task()))

    for _ in range(min(THREADS, len(tasks))):
        threading.Thread(target=work, name="siglip-thumbnails", daemon=True).start()
    results = [late] * len(tasks)
    with contextlib.suppress(queue.Empty):
        for _ in tasks:
            number, answer = answers.get(timeout=max(0.0, ends_at - time.monotonic()))
            results[number] = answer
    return results
