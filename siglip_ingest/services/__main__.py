"""The supervisor's process, `python -m siglip_ingest.services HOME FD`, which clients start.

It detaches itself from the client, and writes "ready" to the pipe FD when clients can connect.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from siglip_ingest.errors import ServiceError
from siglip_ingest.services.data_folder import DataFolder, hold_lock
from siglip_ingest.services.supervisor.supervisor import Supervisor

READY = "ready"
_PREDECESSOR_TIMEOUT_S = 90.0


def main(arguments: list[str]) -> int:
    """Run the supervisor of a SIGLIP_HOME."""
    folder, pipe = DataFolder(Path(arguments[0])), int(arguments[1])
    os.set_inheritable(pipe, False)  # or its end would not be seen before our children's
    if os.fork() > 0:  # the client waits for this process only; the supervisor isn't its child
        os._exit(0)
    os.chdir(folder.path)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    def report(text: str) -> None:
        os.write(pipe, text.encode())
        os.close(pipe)

    try:
        with hold_lock(folder.supervisor_lock, timeout_s=_PREDECESSOR_TIMEOUT_S, waiting_for="stopping the services"):
            Supervisor(folder).run(lambda: report(READY))
    except ServiceError as error:
        logging.getLogger(__name__).error("%s", error)  # noqa: TRY400  # the sentence says it all
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
