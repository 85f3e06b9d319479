"""A worker that a picture called poison.png kills, as a fault in a decoder's C code would."""

from __future__ import annotations

import os

from siglip_workers.pipeline import Pipeline

from siglip_ingest.db.items import ItemRow
from siglip_workers import runtime
from siglip_workers.__main__ import main
from siglip_workers.outcome import PreparedImage


class PoisonedPipeline(Pipeline):
    def _prepare(self, item: ItemRow) -> PreparedImage:
        if item.uri.endswith("poison.png"):
            os._exit(9)
        return super()._prepare(item)


if __name__ == "__main__":
    runtime.Pipeline = PoisonedPipeline  # type: ignore[misc]
    main()
