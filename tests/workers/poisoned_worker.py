"""A worker that an image called poison.png kills, as a fault in a decoder's C code would; on hang.png it hangs.

SIGLIP_TEST_STALL_S says after how many seconds it notices.
"""

from __future__ import annotations

import os
import time

from siglip_ingest.db.items import ItemRow
from siglip_workers.__main__ import main
from siglip_workers.ingest import feeder
from siglip_workers.ingest.preparing import Preparer

fetch = Preparer._fetch


def _fetch(self: Preparer, item: ItemRow) -> bytes:
    if item.uri.endswith("poison.png"):
        os._exit(9)
    if item.uri.endswith("hang.png"):
        time.sleep(600)
    return fetch(self, item)


if __name__ == "__main__":
    Preparer._fetch = _fetch  # type: ignore[method-assign]
    feeder.STALL_S = float(os.environ.get("SIGLIP_TEST_STALL_S", "900"))
    main()
