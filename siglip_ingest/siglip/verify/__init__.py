"""Checks that a checkpoint gives its published numbers, and those that it gave before.

`verify_checkpoint` is the whole of it, for `siglip-ingest verify`; `check_at_start` the part that a worker affords
before it serves. Both put known texts and images that are drawn here through the loaded model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siglip_ingest.errors import InvalidInputError, VerificationError
from siglip_ingest.siglip.verify.comparison import Comparison, describe_mismatches
from siglip_ingest.siglip.verify.figures import Figures, compare_figures, take_figures
from siglip_ingest.siglip.verify.inputs import DRAWN_IMAGES, TEXTS
from siglip_ingest.siglip.verify.published import (
    OpenPhotograph,
    Published,
    compare_published,
    compare_quickly,
    find_published,
)

if TYPE_CHECKING:
    from siglip_ingest.siglip.embedder import TorchEmbedder

__all__ = ["check_at_start", "require_same", "verify_checkpoint"]


def verify_checkpoint(
    embedder: TorchEmbedder,
    folder: Path,
    *,
    published: Published | None,
    earlier: Figures | None,
    open_photograph: OpenPhotograph,
) -> tuple[list[Comparison], dict[str, Any]]:
    """Put all known inputs through a checkpoint and compare what comes out.

    Args:
        embedder: The loaded checkpoint.
        folder: Its files.
        published: What to compare with; None where nothing is published.
        earlier: Its own figures of an earlier time; None at the first.
        open_photograph: Opens a published image; a `NotFoundError` says why it can't.

    Returns:
        The comparisons in the order of the data (files, tokens, pixels, vectors, logits), and the figures to keep for
        the next time.

    Raises:
        CheckpointError: If a file can't be read, or the model gives vectors that aren't finite or not of length 1.
        InvalidInputError: If `earlier` can't be read.
    """
    from siglip_ingest.siglip.checkpoint.weights import WeightReader

    rows: list[Comparison] = []
    if published is not None:
        parameters = WeightReader(folder).count_parameters()
        rows += compare_published(published, embedder, parameters=parameters, open_photograph=open_photograph)
    figures = take_figures(embedder, texts=TEXTS, images=DRAWN_IMAGES, folder=folder)
    if earlier is not None:
        rows += compare_figures(figures, earlier)
    return rows, figures


def check_at_start(embedder: TorchEmbedder) -> dict[str, Any]:
    """Put two texts and a drawn image through a checkpoint, and compare what is published and costs next to nothing.

    Returns:
        The figures, ready for JSON; `require_same` compares them with those of another start.

    Raises:
        VerificationError: If the checkpoint isn't what is published under its name.
        CheckpointError: If it gives vectors that aren't finite or not of length 1.
    """
    info = embedder.info
    published = find_published(info.name, info.revision, Path(info.name))
    if published is not None:
        _require_match(
            list(compare_quickly(published, embedder)),
            f"The checkpoint {info.name} is not what is published as {published['name']}",
            "Fetch it again, all of its files.",
        )
    return take_figures(embedder)


def require_same(name: str, found: Figures, earlier: Figures) -> None:
    """Compare the figures of two starts of a checkpoint, as `check_at_start` gave them.

    Raises:
        VerificationError: If they differ by more than dtypes and devices explain. The message names what differs.
    """
    try:
        rows = compare_figures(found, earlier)
    except InvalidInputError as error:
        raise VerificationError(
            f"The figures that the database keeps of {name} can't be read ({error.__cause__!r}). Replace them: "
            f"siglip-ingest verify {name} --update --database"
        ) from error
    _require_match(
        rows,
        f"The checkpoint {name} doesn't give what it gave when the database's vectors began",
        "Put the old files back, and the old versions of Pillow, torch and tokenizers. If the change is meant, embed "
        f"the images anew under another name, or accept it: siglip-ingest verify {name} --update --database",
    )


def _require_match(rows: Sequence[Comparison], what: str, advice: str) -> None:
    if differs := describe_mismatches(rows):
        raise VerificationError(f"{what}: {differs}. {advice}")
