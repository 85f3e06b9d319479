"""What all parts of the client share: the settings, the database, the query embedder and the embedded services."""

from __future__ import annotations

import dataclasses
import threading
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from siglip_ingest import active_model, process
from siglip_ingest.db import Database
from siglip_ingest.db.models import ModelKey
from siglip_ingest.db.schema import check_schema
from siglip_ingest.embedders.choose import QueryEmbedder
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.image_files import read_match_file
from siglip_ingest.results import ImageResults
from siglip_ingest.services.worker_client import Workers
from siglip_ingest.settings import Settings
from siglip_ingest.types import Embedder

if TYPE_CHECKING:
    from siglip_ingest.db.models import ModelRow

RowT = TypeVar("RowT")


class BaseClient:
    """Opens what a client needs when it is first needed, and closes it."""

    def __init__(
        self,
        *,
        database_url: str | None = None,
        broker_url: str | None = None,
        model: str | None = None,
        home: str | Path | None = None,
        embedder: Embedder | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Make a client. Reads no environment variables: `from_environment` does.

        Args:
            database_url: PostgreSQL URL; None for the embedded services.
            broker_url: Redis URL of the Celery workers; only needed where this process can't embed queries itself.
            model: Name of a checkpoint: `demo`, a folder, or a hub name. Must be the database's active model, if it has
                one, when the client first uses it; after that the client follows a change of the active model.
            home: Folder of the embedded services' data.
            embedder: Embeds the queries; by default the embedded worker where it runs, else torch in this process where
                it is installed, else a worker behind `broker_url`.
            settings: All settings at once, instead of the four above.
        """
        if settings is None:
            settings = Settings(database_url=database_url, broker_url=broker_url, model=model)
            settings = settings if home is None else dataclasses.replace(settings, home=Path(home))
        elif any(value is not None for value in (database_url, broker_url, model, home)):
            raise InvalidInputError("Give SiglipClient either `settings` or single values, not both.")
        self.settings = settings
        self._embedder = QueryEmbedder(settings, embedder)
        self._workers = self._make_workers({})
        self._database: Database | None = None
        self._is_model_checked = False
        self._lock = threading.RLock()
        process.register_for_forks(self)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Make a client from `SIGLIP_*` variables; see `Settings`."""
        client = cls(settings=Settings.from_environment(environment))
        # What huggingface_hub reads, HF_TOKEN for instance, counts for the embedded worker as it does here.
        hub = {name: value for name, value in environment.items() if name.startswith("HF_")}
        client._workers = client._make_workers(hub)
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and leave the embedded services. The client can be used again afterwards."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None
            self._workers.close()
            self._embedder.close()

    def forget_inherited(self) -> None:
        """In a process that was forked off: leave what the parent has opened to the parent.

        The lease on the embedded services is taken again. A model that was loaded stays loaded; it computes in one
        thread here.
        """
        self._lock = threading.RLock()
        if self._workers.has_services:
            self._database = None
        self._workers.forget_inherited()
        self._embedder.forget_inherited()

    @property
    def database(self) -> Database:
        """The database, with its schema checked; starts the embedded services if no other database is set."""
        with self._lock:
            if self._database is None:
                settings, services = self.settings, self._workers.start_services()
                url = settings.database_url if services is None else services.database_url
                assert url is not None  # noqa: S101  # one of the two has it
                database = Database(url, direct_url=settings.direct_database_url, pooler=settings.pooler)
                try:
                    check_schema(database)
                except BaseException:
                    database.close()
                    raise
                self._database = database
            return self._database

    @property
    def model(self) -> ModelRow:
        """The database's active model; where there is none yet, the one that the settings name becomes it.

        Raises:
            ConfigurationError: At first use, if the settings name another model than the active one.
        """
        settings = self.settings
        requested = (None, None) if self._is_model_checked else (settings.model, settings.max_num_patches)
        row = active_model.check_model(self.database, *requested) or active_model.choose_model(
            self.database, settings.model
        )
        self._is_model_checked = True
        return row

    def _make_workers(self, environment: Mapping[str, str]) -> Workers:
        settings = self.settings
        return Workers(
            settings, is_embedded=settings.is_embedded, broker_url=settings.broker_url, environment=environment
        )

    def _get_embedder(self, model: ModelKey) -> Embedder:
        return self._embedder.get(model, self.database, self._workers.start_services)

    def _image_results(self, rows: Iterable[RowT], row_type: type[RowT]) -> ImageResults[RowT]:
        """Rows that know how to show their images; they keep no client alive, and open none that was closed."""
        get_client, settings = weakref.ref(self), self.settings

        def get_open_database() -> Database | None:
            client = get_client()
            return None if client is None else client._database

        def read(image_id: int, uri: str, timeout_s: float) -> bytes:
            timeout_s = min(timeout_s, settings.fetch_timeout_s)
            return read_match_file(get_open_database, image_id, uri, settings, timeout_s=timeout_s)

        return ImageResults(rows, row_type, read)

    def _check_model(self) -> None:
        """Raise at first use if the settings name another model than the database's active one."""
        if not self._is_model_checked:
            settings = self.settings
            row = active_model.check_model(self.database, settings.model, settings.max_num_patches)
            self._is_model_checked = row is not None
