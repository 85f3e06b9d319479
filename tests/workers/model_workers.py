"""`siglip-ingest worker`, as a module that tests can start."""

from __future__ import annotations

import sys

from siglip_ingest.cli import main

if __name__ == "__main__":
    sys.argv = ["siglip-ingest", "worker", *sys.argv[1:]]
    main()
