"""Rate limits: each key or address has a bucket of tokens, which fills steadily and holds ten seconds' worth."""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

WINDOW_S = 10.0
MAX_BUCKETS = 10_000  # about 2 MB; one that is forgotten was full again, or gives its owner a second chance


class Taken(NamedTuple):
    """What a bucket said.

    Attributes:
        is_allowed: Whether there was a token.
        remaining: Tokens that are left.
        wait_s: Whole seconds until there is one again where none is left; else until the bucket is full.
    """

    is_allowed: bool
    remaining: int
    wait_s: int


class Rates:
    """The buckets. Thread-safe.

    Args:
        rate: Tokens a second; above 0.
        clock: Seconds that only grow.
        max_buckets: Most that are kept; those not asked for longest go first.
    """

    def __init__(
        self, rate: float, *, clock: Callable[[], float] = time.monotonic, max_buckets: int = MAX_BUCKETS
    ) -> None:
        self.rate = rate
        self.size = max(1.0, rate * WINDOW_S)
        self._clock = clock
        self._max_buckets = max_buckets
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted
        self._lock = threading.Lock()

    def take(self, owner: str) -> Taken:
        """Take a token from the bucket of a key or an address."""
        with self._lock:
            now = self._clock()
            tokens, since = self._buckets.get(owner, (self.size, now))
            tokens = min(self.size, tokens + (now - since) * self.rate)
            is_allowed = tokens >= 1
            if is_allowed:
                tokens -= 1
            self._buckets[owner] = (tokens, now)
            self._buckets.move_to_end(owner)
            while len(self._buckets) > self._max_buckets:
                self._buckets.popitem(last=False)
        missing = self.size - tokens if tokens >= 1 else 1 - tokens
        return Taken(is_allowed, int(tokens), math.ceil(missing / self.rate))

    def give_back(self, owner: str) -> None:
        """Put the token back that was taken last."""
        with self._lock:
            tokens, since = self._buckets.get(owner, (self.size, self._clock()))
            self._buckets[owner] = (min(self.size, tokens + 1), since)

    def describe(self, taken: Taken) -> dict[str, str]:
        """The headers of an answer (draft-ietf-httpapi-ratelimit-headers-10)."""
        window_s = math.ceil(self.size / self.rate)
        headers = {
            "RateLimit-Policy": f'"default";q={int(self.size)};w={window_s}',
            "RateLimit": f'"default";r={taken.remaining};t={taken.wait_s}',
        }
        return headers if taken.is_allowed else {**headers, "Retry-After": str(taken.wait_s)}


def name_address(host: str | None) -> str:
    """Whose bucket an address has: of IPv6 the network of 64 bits, which one customer has all of."""
    try:
        address = ipaddress.ip_address((host or "").partition("%")[0])
    except ValueError:
        return f"address {host}"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return f"address {address.ipv4_mapped}"
        return f"address {ipaddress.ip_network((address, 64), strict=False)}"
    return f"address {address}"
