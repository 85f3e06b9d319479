"""Looking at what is stored, and changing metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from siglip_ingest.client.base import BaseClient
from siglip_ingest.db import browsing, checks
from siglip_ingest.db.browsing import CollectionSize, StoredImage
from siglip_ingest.errors import InvalidInputError, NotFoundError
from siglip_ingest.image_files import read_image_file


class BrowsingClient(BaseClient):
    """The part of `SiglipClient` that shows what is there."""

    def list_collections(self) -> list[CollectionSize]:
        """The collections and how many images each has, by name."""
        return browsing.list_collections(self.database)

    def list_images(
        self,
        *,
        limit: int = 100,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        image_ids: Iterable[int] | None = None,
        state: str | None = None,
        after_id: int | None = None,
    ) -> list[StoredImage]:
        """List images, the last added first.

        Args:
            limit: Most images to return, 1 to 10,000.
            collection: Only this collection.
            filter: Only images whose metadata contain these keys and values.
            image_ids: Only these images.
            state: Only those that are `queued`, `claimed`, `done` or `failed` under the active model.
            after_id: Begin behind this image: the next page, whatever arrives meanwhile.

        Raises:
            InvalidInputError: If an argument can't be used.
        """
        listing = browsing.Listing(
            collection=collection,
            filter=filter,
            image_ids=None if image_ids is None else list(image_ids),
            state=state,
        )
        ids = browsing.list_image_ids(
            self.database,
            listing,
            limit=checks.check_limit(limit),
            after_id=None if after_id is None else checks.check_image_id(after_id),
        )
        return browsing.describe_images(self.database, ids)

    def get_image(self, image_id: int) -> StoredImage:
        """What the database knows of an image.

        Raises:
            NotFoundError: If there is no such image.
        """
        found = browsing.describe_images(self.database, [checks.check_image_id(image_id)])
        if not found:
            raise NotFoundError(f"There is no image {image_id}.")
        return found[0]

    def read_image(self, image_id: int) -> bytes:
        """The bytes of an indexed image's file, read again where it was indexed from.

        Raises:
            NotFoundError: If there is no such image.
            ImageError: If its file has gone, or may not be read.
        """
        return read_image_file(self.database, checks.check_image_id(image_id), self.settings)

    def change_metadata(self, image_ids: Iterable[int], changes: Mapping[str, Any]) -> int:
        """Set keys of images' metadata, and take out those whose value is None; other keys stay as they are.

        Args:
            image_ids: Keys in `siglip.images`; those that don't exist are passed over.
            changes: Keys and their new values, JSON; None takes a key out.

        Returns:
            How many images changed.

        Raises:
            InvalidInputError: If the changes aren't a mapping, or can't be stored.
        """
        ids = checks.check_image_ids(image_ids)
        if ids is None:
            raise InvalidInputError("image_ids are a sequence of whole numbers, not None.")
        return browsing.change_metadata(self.database, ids, changes)
