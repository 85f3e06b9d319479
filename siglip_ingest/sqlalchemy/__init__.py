"""SQLAlchemy 2: the tables and views of the schema `siglip` as mapped classes, and its functions to select from.

docs/sqlalchemy.md shows how they are used, with Alembic too. Importing `siglip_ingest` doesn't import this package.
"""

from siglip_ingest.sqlalchemy.arguments import function, named
from siglip_ingest.sqlalchemy.attached import AttachedImage, AttachedTable
from siglip_ingest.sqlalchemy.base import Base, is_ours
from siglip_ingest.sqlalchemy.functions import (
    count_labels,
    image_matches,
    images_with_label,
    label_histogram,
    search_images,
    similar_images,
)
from siglip_ingest.sqlalchemy.ledgers import Ingestion, IngestionImages, RecallRecord, Worker
from siglip_ingest.sqlalchemy.tables import (
    Content,
    Image,
    ImageEmbedding,
    ImageLabel,
    IngestItem,
    Label,
    LabelCalibration,
    LabelEmbedding,
    LabelSet,
    Model,
    Text,
)
from siglip_ingest.sqlalchemy.values import count_images, delete_images, embed_text, enqueue_images, score
from siglip_ingest.sqlalchemy.vectors import HalfVec
from siglip_ingest.sqlalchemy.views import (
    CollectionCoverage,
    IndexStatus,
    LabelCoverage,
    LabeledImage,
    LabelRule,
    LabelScore,
    ModelCoverage,
    Server,
)

__all__ = [
    "AttachedImage",
    "AttachedTable",
    "Base",
    "CollectionCoverage",
    "Content",
    "HalfVec",
    "Image",
    "ImageEmbedding",
    "ImageLabel",
    "IndexStatus",
    "IngestItem",
    "Ingestion",
    "IngestionImages",
    "Label",
    "LabelCalibration",
    "LabelCoverage",
    "LabelEmbedding",
    "LabelRule",
    "LabelScore",
    "LabelSet",
    "LabeledImage",
    "Model",
    "ModelCoverage",
    "RecallRecord",
    "Server",
    "Text",
    "Worker",
    "count_images",
    "count_labels",
    "delete_images",
    "embed_text",
    "enqueue_images",
    "function",
    "image_matches",
    "images_with_label",
    "is_ours",
    "label_histogram",
    "named",
    "score",
    "search_images",
    "similar_images",
]
