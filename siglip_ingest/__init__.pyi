# The public names: each once, here. Type checkers read this file, and __init__.py loads the names that it lists.
from .client import SiglipClient as SiglipClient
from .client import (
    create_label_set as create_label_set,
)
from .client import (
    default_client as default_client,
)
from .client import (
    enqueue_images as enqueue_images,
)
from .client import (
    label_scores as label_scores,
)
from .client import (
    search_images as search_images,
)
from .client import (
    similar_images as similar_images,
)
from .errors import (
    AlreadyExistsError as AlreadyExistsError,
)
from .errors import (
    CheckpointError as CheckpointError,
)
from .errors import (
    ConfigurationError as ConfigurationError,
)
from .errors import (
    DatabaseError as DatabaseError,
)
from .errors import (
    DatabaseUnavailableError as DatabaseUnavailableError,
)
from .errors import (
    DownloadError as DownloadError,
)
from .errors import (
    ImageError as ImageError,
)
from .errors import (
    InvalidInputError as InvalidInputError,
)
from .errors import (
    NotFoundError as NotFoundError,
)
from .errors import (
    SchemaVersionError as SchemaVersionError,
)
from .errors import (
    ServiceError as ServiceError,
)
from .errors import (
    SiglipError as SiglipError,
)
from .errors import (
    WorkerUnavailableError as WorkerUnavailableError,
)
from .ingest import (
    ImageSource as ImageSource,
)
from .ingest import (
    Ingestion as Ingestion,
)
from .settings import Settings as Settings
from .types import (
    ImageFailure as ImageFailure,
)
from .types import (
    ImageMatch as ImageMatch,
)
from .types import (
    IngestCounts as IngestCounts,
)
from .types import (
    LabelScore as LabelScore,
)
