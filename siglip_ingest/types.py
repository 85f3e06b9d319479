"""Types of the public API's arguments and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from datetime import datetime

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
        similarity: Cosine of query and image, in [-1, 1]; for a query of several parts the one that a single text would
            need for the score.
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
class LabelMatch:
    """An image that has the labels that were asked for.

    Attributes:
        image_id: Key in `siglip.images`.
        uri: Where the image was indexed from.
        score: In [0, 1]: the least of its scores for labels that it must have, and of the best of those of which it
            must have one.
        metadata: What was given to `enqueue_images`.
        scores: Its score for each label that was named, in [0, 1].
    """

    image_id: int
    uri: str
    score: float
    metadata: dict[str, Any]
    scores: dict[str, float]


@dataclass(frozen=True, slots=True)
class LabelStatus:
    """A label of a label set, and how far it is.

    Attributes:
        label_set: Name of its set.
        label: Its name.
        prompts: The texts whose mean stands for it.
        threshold: Calibrated score from which an image has it, in [0, 1]; None means 0.5.
        is_by_example: Whether its vector comes from marked images, and not from prompts.
        is_kept: Whether `siglip.image_labels` has a row for each image that has it.
        embedded: The active model and those kept beside it, under which it has a vector.
        missing: Those whose workers have yet to embed it.
        refusals: Those that can't embed it, and why.
        state: Whether its kept rows are current, and what they wait for if not; None where it isn't kept.
        share: Of the images that were looked at since it was changed, in [0, 1]; None where it isn't kept.
    """

    label_set: str
    label: str
    prompts: list[str]
    threshold: float | None
    is_by_example: bool
    is_kept: bool
    embedded: list[str]
    missing: list[str]
    refusals: dict[str, str]
    state: str | None
    share: float | None


@dataclass(frozen=True, slots=True)
class LabeledImage:
    """An image that has a label, or of which a person says that it hasn't.

    Attributes:
        image_id: Key in `siglip.images`.
        uri: Where the image was indexed from.
        is_accepted: Whether it has the label; False only by a person's mark.
        score: The model's calibrated score when it was looked at, in [0, 1]; None where only a person has looked.
        marked_by: Who marked it; None where the model decided.
        updated_at: When the row was written.
        metadata: What was given to `enqueue_images`.
    """

    image_id: int
    uri: str
    is_accepted: bool
    score: float | None
    marked_by: str | None
    updated_at: datetime
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DuplicatePair:
    """Two images that are nearly the same.

    Attributes:
        image_id: Key in `siglip.images` of the one, the smaller.
        other_image_id: Key of the other.
        similarity: Cosine of their vectors, in [-1, 1].
        is_same_content: Whether their files are the same, byte by byte.
    """

    image_id: int
    other_image_id: int
    similarity: float
    is_same_content: bool


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Images that pairs of near-duplicates connect.

    Attributes:
        image_ids: Keys in `siglip.images`, at least two; those with more pixels first.
        least_similarity: Similarity of the pair that is the least alike of those that connect them.
    """

    image_ids: tuple[int, ...]
    least_similarity: float

    @property
    def representative_id(self) -> int:
        """The image that stands for the group: that with the most pixels, of those the one indexed first."""
        return self.image_ids[0]


@dataclass(frozen=True, slots=True)
class Representative:
    """An image that stands for others.

    Attributes:
        image_id: Key in `siglip.images`.
        uri: Where the image was indexed from.
        images: For how many images it stands, itself included: no other representative is nearer to them.
        similarity: Their mean similarity to it.
        metadata: What was given to `enqueue_images`.
    """

    image_id: int
    uri: str
    images: int
    similarity: float
    metadata: dict[str, Any]


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
class ModelCoverage:
    """How much of all images a model has.

    Attributes:
        model_id: Key in `siglip.models`.
        model: Name of the checkpoint.
        state: `active`, `kept` (new images are embedded under it too), `unused`, or `dropped`.
        images: All images.
        embedded: Those that it has a vector of.
        queued: Those that wait for its workers or are with one.
        failed: Those that ended with an error.
        not_queued: Those that nobody queued for it: `add_model` does.
        share: `embedded` / `images`; None where there are no images.
        per_s: Images that its workers embedded in a second, over the last minute; None where they did none.
        remaining_s: Seconds that what is queued takes at that rate; None where that isn't known.
        labels_missing: Labels without a vector under it.
        texts: Queries in its cache.
        workers: Workers that serve it.
    """

    model_id: int
    model: str
    state: str
    images: int
    embedded: int
    queued: int
    failed: int
    not_queued: int
    share: float | None
    per_s: float | None
    remaining_s: float | None
    labels_missing: int
    texts: int
    workers: int


@dataclass(frozen=True, slots=True)
class CollectionCoverage:
    """How much of a collection a model has; the attributes are those of `ModelCoverage`, of the collection's images."""

    model_id: int
    model: str
    collection: str
    images: int
    embedded: int
    queued: int
    failed: int
    not_queued: int
    share: float


class ModelComparison(NamedTuple):
    """One measure of two models.

    Attributes:
        measure: What was measured, such as `overlap@10 of queries`.
        value_a: Its value under the first model; None where there is nothing to compare.
        value_b: Its value under the second; the same where it is a measure of both.
        n: Cases: queries, images, labels or decisions.
        note: What it says, or why there is nothing; a sentence.
    """

    measure: str
    value_a: float | None
    value_b: float | None
    n: int
    note: str | None


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
class TextChecker(Protocol):
    """An embedder that can say which texts its model reads nothing of."""

    def describe_refusals(self, texts: Sequence[str]) -> list[str | None]:
        """Say for each text why it is refused; None where the model reads something of it."""
        ...


@runtime_checkable
class TextReader(TextChecker, Protocol):
    """An embedder that has its model's tokenizer at hand, as those in this process have."""

    def describe_truncation(self, texts: Sequence[str]) -> str | None:
        """Say which texts are too long for the model, and what of them it doesn't read; None where it reads all."""
        ...

    def is_settled(self, prefix: str) -> bool:
        """Whether the model reads nothing of what may follow: text after `prefix` would not change its vector."""
        ...


class LocatedText(NamedTuple):
    """Which parts of an image made it fit a text.

    Attributes:
        contributions: (rows, columns) float32, a grid over the whole upright image: what each cell adds to the
            similarity, or takes from it, beside the same image blurred beyond recognition.
        similarity: Of the image and the text, in [-1, 1].
    """

    contributions: NDArray[np.float32]
    similarity: float


@runtime_checkable
class Locator(Protocol):
    """An embedder that can say where in an image a text matched."""

    def locate_text(self, image: Image.Image, text: str) -> LocatedText:
        """Ask which parts of a decoded RGB image, upright, of any size, made it fit a text as typed."""
        ...
