"""Types of the public API's arguments and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

DEFAULT_COLLECTION = "default"


@dataclass(frozen=True, slots=True)
class ImageMatch:
    """One row of a search result.

    Attributes:
        image_id: Key in `siglip.images`.
        uri: Where the image was indexed from, for instance `file:///photos/one.jpg`.
        similarity: Cosine of query and image, in [-1, 1].
        score: sigmoid(exp(logit_scale) * similarity + logit_bias), in [0, 1]. For text queries it is the model's
            probability that text and image belong together; for image queries only its order means something. NaN
            where vectors were imported without `logit_scale` and `logit_bias`.
        metadata: What was given to `enqueue_images`.
    """

    image_id: int
    uri: str
    similarity: float
    score: float
    metadata: dict[str, Any] = field(default_factory=dict)


class LabelScore(NamedTuple):
    """One label and its score in [0, 1]. The scores of a label set are independent: they don't sum to 1."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class IngestCounts:
    """How far an ingestion is; as a string "56 queued, 2 in progress, 544 done, 3 failed".

    Attributes:
        queued: Images that no worker has taken yet, those included that are tried again later.
        claimed: Images in progress: a worker has them.
        done: Images that are embedded.
        failed: Images that ended with an error; `Ingestion.failures` says why.
    """

    queued: int = 0
    claimed: int = 0
    done: int = 0
    failed: int = 0

    def __str__(self) -> str:
        return f"{self.queued:,} queued, {self.claimed:,} in progress, {self.done:,} done, {self.failed:,} failed"

    @property
    def total(self) -> int:
        """All items of the ingestion."""
        return self.queued + self.claimed + self.done + self.failed

    @property
    def is_finished(self) -> bool:
        """True once every item is done or failed."""
        return self.queued == 0 and self.claimed == 0


@dataclass(frozen=True, slots=True)
class ImageFailure:
    """An image that ended as failed, and why."""

    image_id: int
    uri: str
    error_code: str
    error_message: str


@dataclass(frozen=True, slots=True)
class RecallMeasurement:
    """How many of the images that an exact search finds a search finds, too.

    Attributes:
        kind: What was searched by: `images` (stored vectors) or `texts` (of `siglip.texts`, which people asked).
        queries: Searches that were compared.
        recall: Mean share that was found, in [0, 1].
        low: Begin of the 95 % interval of the recall.
        high: Its end.
        search_ms: Mean milliseconds of a search.
        exact_ms: Mean milliseconds of an exact answer, where one pass over the vectors gives twenty.
        has_dropped: Whether the interval lies below that of the measurements before, which is also logged as a warning.
    """

    kind: str
    queries: int
    recall: float
    low: float
    high: float
    search_ms: float
    exact_ms: float
    has_dropped: bool


@dataclass(frozen=True, slots=True)
class TuningStep:
    """One `ef_search` that was tried: how many candidates a search keeps while it walks the graph.

    Attributes:
        ef_search: Candidates.
        recall: Mean share found, in [0, 1], by the kind of query that fares worse.
        low: Begin of the 95 % interval of that recall.
        milliseconds: Mean of a search.
        is_chosen: Whether it is what searches use from now on.
    """

    ef_search: int
    recall: float
    low: float
    milliseconds: float
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class VectorImport:
    """What an import of vectors did.

    Attributes:
        model_id: Key in `siglip.models` of the model that they belong to.
        imported: Rows that were stored.
        skipped: Rows whose image had a vector already, and which were left as they are.
        replaced: Rows whose image had a vector already, which was replaced.
    """

    model_id: int
    imported: int
    skipped: int
    replaced: int

    def __str__(self) -> str:
        replaced = f", {self.replaced:,} replaced" if self.replaced else ""
        return f"{self.imported:,} imported, {self.skipped:,} had vectors already{replaced}"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the database knows of one checkpoint revision: a row of `siglip.models`.

    Attributes:
        name: What `SIGLIP_MODEL` names: `demo`, a folder's absolute path, or a hub name such as
            `google/siglip2-base-patch16-224`.
        revision: The hub's commit hash, or `sha256:...` of the weights for a local folder.
        dimension: Length of an embedding.
        logit_scale: As in the checkpoint, a logarithm: the factor is exp(logit_scale). NaN, like `logit_bias`, where
            vectors were imported without them: similarities then have no scores.
        logit_bias: As in the checkpoint.
        image_settings: preprocessor_config.json's keys that matter: resample, image_mean, image_std, rescale_factor,
            and size or, for NaFlex, patch_size and max_num_patches.
        text_settings: Text length, lower-casing, pad and eos ids.
    """

    name: str
    revision: str
    dimension: int
    logit_scale: float
    logit_bias: float
    image_settings: Mapping[str, Any] = field(default_factory=dict)
    text_settings: Mapping[str, Any] = field(default_factory=dict)


class Embedder(Protocol):
    """Turns images and texts into unit vectors of one model, in this process or on a worker."""

    @property
    def info(self) -> ModelInfo:
        """The model whose vectors these are."""
        ...

    def embed_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Embed decoded RGB images, upright, of any size; returns (N, D) float32 unit vectors in the same order."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as typed; returns (N, D) float32 unit vectors in the same order."""
        ...


@runtime_checkable
class TextReader(Protocol):
    """An embedder that has its model's tokenizer at hand, as those in this process have."""

    def describe_refusals(self, texts: Sequence[str]) -> list[str | None]:
        """Say for each text why it is refused; None where the model reads something of it."""
        ...

    def describe_truncation(self, texts: Sequence[str]) -> str | None:
        """Say which texts are too long for the model, and what of them it doesn't read; None where it reads all."""
        ...

    def is_settled(self, prefix: str) -> bool:
        """Whether the model reads nothing of what may follow: text after `prefix` would not change its vector."""
        ...
