"""Where image bytes come from, and what is refused: files and http(s) addresses. No SQL, no pixels.

A worker calls `fetch` with the URI of a row of `siglip.images`, under a `SourcePolicy`: whoever may queue an address
need not be somebody who may read the worker's disk or speak to its neighbours. A query's image comes through
`open_image`, from whoever runs the program.
"""

from siglip_ingest.sources.fetch import fetch, open_image
from siglip_ingest.sources.folders import PICTURE_SUFFIXES, FolderImages, find_images, find_pictures
from siglip_ingest.sources.policy import UNRESTRICTED, SourcePolicy
from siglip_ingest.sources.uris import hide_secrets, is_web_address

__all__ = [
    "PICTURE_SUFFIXES",
    "UNRESTRICTED",
    "FolderImages",
    "SourcePolicy",
    "fetch",
    "find_images",
    "find_pictures",
    "hide_secrets",
    "is_web_address",
    "open_image",
]
