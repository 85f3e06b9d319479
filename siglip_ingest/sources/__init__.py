"""Where the bytes of queued images come from, and what is refused: files and http(s) addresses. No SQL, no pixels.

A worker calls `fetch` with the URI of a row of `siglip.images`, under a `SourcePolicy`: a client that may queue an
address must not thereby read the worker's disk or speak to its neighbours. An image that a program names itself is
opened by `siglip_ingest.siglip.preprocess.opening`.
"""

from siglip_ingest.sources.fetch import fetch
from siglip_ingest.sources.policy import SourcePolicy
from siglip_ingest.sources.uris import hide_secrets, name_of_uri

__all__ = ["SourcePolicy", "fetch", "hide_secrets", "name_of_uri"]
