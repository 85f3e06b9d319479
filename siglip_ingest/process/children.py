"""Child processes that end with their parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """Make a `preexec_fn` of `subprocess.Popen` that has the kernel send a signal to the child when this process ends.

    However this process ends; on Linux only, elsewhere None. The thread that starts the child must live on.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def request_signal() -> None:
        # The kernel forgets this request when a process changes its user, so it has to come after that; Popen calls
        # this last. The parent may have died before the request: then this child ends too.
        prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return request_signal
