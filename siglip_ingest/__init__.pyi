# The public names: each once, here. Type checkers read this file, and __init__.py loads the names that it lists.
from .client.client import SiglipClient as SiglipClient
from .client.default import (
    create_index as create_index,
    create_label_set as create_label_set,
    default_client as default_client,
    delete_images as delete_images,
    enqueue_images as enqueue_images,
    export_vectors as export_vectors,
    import_vectors as import_vectors,
    index_recall as index_recall,
    label_scores as label_scores,
    prune_images as prune_images,
    search_images as search_images,
    similar_images as similar_images,
    sync_folder as sync_folder,
    tune_search as tune_search,
)
from .errors import (
    AlreadyExistsError as AlreadyExistsError,
    CheckpointError as CheckpointError,
    ConfigurationError as ConfigurationError,
    DatabaseError as DatabaseError,
    DatabaseUnavailableError as DatabaseUnavailableError,
    DownloadError as DownloadError,
    ImageError as ImageError,
    InvalidInputError as InvalidInputError,
    NotFoundError as NotFoundError,
    SchemaVersionError as SchemaVersionError,
    ServiceError as ServiceError,
    SiglipError as SiglipError,
    WorkerUnavailableError as WorkerUnavailableError,
)
from .ingest import (
    ImageSource as ImageSource,
    Ingestion as Ingestion,
)
from .manifests import read_manifest as read_manifest
from .settings import Settings as Settings
from .syncing import (
    PrunePlan as PrunePlan,
    SyncPlan as SyncPlan,
)
from .types import (
    ImageFailure as ImageFailure,
    ImageMatch as ImageMatch,
    IngestCounts as IngestCounts,
    LabelScore as LabelScore,
    RecallMeasurement as RecallMeasurement,
    TuningStep as TuningStep,
    VectorImport as VectorImport,
)
