# The public names: each once, here. Type checkers read this file, and __init__.py loads the names that it lists.
from .client.client import SiglipClient as SiglipClient
from .client.default import (
    add_label as add_label,
    calibrate as calibrate,
    calibrations as calibrations,
    create_index as create_index,
    create_label_set as create_label_set,
    default_client as default_client,
    delete_images as delete_images,
    diverse_images as diverse_images,
    duplicate_groups as duplicate_groups,
    enqueue_images as enqueue_images,
    explain_score as explain_score,
    export_vectors as export_vectors,
    images_with_labels as images_with_labels,
    import_vectors as import_vectors,
    index_recall as index_recall,
    label_from_images as label_from_images,
    label_scores as label_scores,
    mark_images as mark_images,
    near_duplicates as near_duplicates,
    prune_images as prune_images,
    relevant_images as relevant_images,
    representatives as representatives,
    search_images as search_images,
    similar_images as similar_images,
    suggest_examples as suggest_examples,
    sync_folder as sync_folder,
    tune_search as tune_search,
    use_calibration as use_calibration,
)
from .composing import (
    image as image,
    text as text,
    vector as vector,
)
from .db.browsing import (
    CollectionSize as CollectionSize,
    StoredImage as StoredImage,
)
from .db.calibrating import (
    Calibration as Calibration,
    CalibrationVersion as CalibrationVersion,
    MarkedImage as MarkedImage,
    ScoreExplanation as ScoreExplanation,
    Suggestion as Suggestion,
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
    CollectionCoverage as CollectionCoverage,
    DuplicateGroup as DuplicateGroup,
    DuplicatePair as DuplicatePair,
    ImageFailure as ImageFailure,
    ImageMatch as ImageMatch,
    IngestCounts as IngestCounts,
    LabeledImage as LabeledImage,
    LabelMatch as LabelMatch,
    LabelScore as LabelScore,
    LabelStatus as LabelStatus,
    ModelComparison as ModelComparison,
    ModelCoverage as ModelCoverage,
    RecallMeasurement as RecallMeasurement,
    Representative as Representative,
    TuningStep as TuningStep,
    VectorImport as VectorImport,
)
