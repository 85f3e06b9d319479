"""`python -m siglip_workers`: one worker, with the settings from the environment."""

from __future__ import annotations

import os
import signal
import sys

from siglip_workers.celery import app

CELERY_ARGUMENTS = ("--without-gossip", "--without-mingle", "--without-heartbeat")


def main() -> None:
    """Run a worker until SIGTERM."""
    arguments = sys.argv[1:]
    # Until Celery has handlers of its own, while the model loads, a signal ends the process without a traceback.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: os._exit(128 + received))
    # Python's -m puts the working folder on the path; Celery's command line would do so once more.
    app.worker_main(["--quiet", "worker", f"--hostname=siglip-{os.getpid()}@%h", *CELERY_ARGUMENTS, *arguments])


if __name__ == "__main__":
    main()
