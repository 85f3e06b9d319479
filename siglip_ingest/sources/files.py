"""Reads local files that a policy allows."""

from __future__ import annotations

from pathlib import Path

from siglip_ingest.errors import ImageError
from siglip_ingest.siglip.preprocess import files
from siglip_ingest.sources.policy import SourcePolicy


def read_file(path: Path, *, max_image_bytes: int, policy: SourcePolicy) -> bytes:
    """Read a regular file that a policy allows.

    Raises:
        ImageError: With code `not_allowed`, or as `siglip.preprocess.files.read_file` does. What lies outside of the
            allowed folders is `not_allowed` whether it exists or not.
    """

    def require_allowed(real_path: str) -> None:
        if policy.allows_file(real_path):
            return
        if not policy.allowed_roots:
            message = (
                f"{path} isn't read, as no local file is: SIGLIP_ALLOWED_ROOTS names the folders that may be read."
            )
        else:
            message = f"{path} isn't read: it doesn't lie in a folder that SIGLIP_ALLOWED_ROOTS names."
        raise ImageError(message, code="not_allowed")

    return files.read_file(path, max_image_bytes=max_image_bytes, check_path=require_allowed)
