"""A worker that takes a second for a query image, and writes a line each time somebody asks. For tests."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from siglip_workers.__main__ import main
from siglip_workers.device import Device

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger("siglip_workers.slow")
_embed = Device.embed_query_pixels


def embed_slowly(self: Device, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Embed query images, a second later."""
    logger.info("asked")
    time.sleep(1)
    return _embed(self, pixels)


Device.embed_query_pixels = embed_slowly  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
