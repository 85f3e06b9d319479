"""Tables of one's own that collections follow."""

from __future__ import annotations

from collections.abc import Sequence

from siglip_ingest import active_model
from siglip_ingest.client.base import BaseClient
from siglip_ingest.db import attached, checks
from siglip_ingest.db.attached import AttachedTable
from siglip_ingest.errors import InvalidInputError


class AttachingClient(BaseClient):
    """The part of `SiglipClient` that attaches tables."""

    def attach_table(
        self,
        table: str,
        uri_column: str,
        *,
        id_column: str | Sequence[str] | None = None,
        collection: str | None = None,
        metadata_columns: Sequence[str] = (),
    ) -> int:
        """Have a collection follow a column of a table: inserts, updates and deletes, from now on, by triggers.

        Rows that are there are queued. Workers follow changes within about a second; docs/attach.md says what each
        change does, and which rights it takes.

        Args:
            table: Its name as in SQL: `public.product`, `"My Table"`. The role must own it.
            uri_column: Column with addresses (`text`) or contents (`bytea`) of images, or an array of one of them.
            id_column: Column that tells rows apart, or several; by default the primary key.
            collection: The set of images that follows the table, best one of its own; by default called as the table.
            metadata_columns: Columns that become metadata of the images.

        Returns:
            How many rows have something in the image's column.

        Raises:
            InvalidInputError: If the columns can't be used.
            DatabaseError: If there is no such table or column, the role may not, or it is attached already.
        """
        _check_text(table, "The name of a table")
        _check_text(uri_column, "The name of a column")
        id_columns = [id_column] if isinstance(id_column, str) else None if id_column is None else list(id_column)
        if isinstance(metadata_columns, str):
            raise InvalidInputError(f"metadata_columns is a list of names, not the text {metadata_columns!r}.")
        for name in (*(id_columns or ()), *metadata_columns):
            _check_text(name, "The name of a column")
        if collection is not None:
            checks.check_name(collection, "A collection")
        model = active_model.choose_model(self.database, self.settings.model, self.settings.max_num_patches)
        with self.database.connection() as connection:
            count = attached.attach_table(
                connection,
                table,
                uri_column,
                id_columns=id_columns,
                collection=collection,
                metadata_columns=metadata_columns,
            )
        if self.settings.is_embedded:
            self._workers.ensure_worker(self.database, model.model_id)
        return count

    def detach_table(self, table: str, *, delete_images: bool = False) -> int:
        """Stop following a table.

        Args:
            table: Its name as in SQL.
            delete_images: Whether a worker deletes its images, where no other attached row has them.

        Returns:
            How many images will be deleted.

        Raises:
            NotFoundError: If the table isn't attached.
        """
        _check_text(table, "The name of a table")
        with self.database.connection() as connection:
            return attached.detach_table(connection, table, delete_images=delete_images)

    def refresh_table(self, table: str) -> int:
        """Have all rows of an attached table looked at again, after changes that fire no triggers.

        Returns:
            How many rows have something in the image's column.

        Raises:
            NotFoundError: If the table isn't attached.
        """
        _check_text(table, "The name of a table")
        with self.database.connection() as connection:
            return attached.refresh_table(connection, table)

    def attached_tables(self) -> list[AttachedTable]:
        """The tables that are attached, and how far their images are."""
        with self.database.connection() as connection:
            return attached.list_attached(connection)


def _check_text(value: object, what: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise InvalidInputError(f"{what} is text, not {value!r}.")
    checks.check_storable(value, what)
