"""Changes of label sets: labels that are added and changed get their vectors at once where this process can embed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from siglip_ingest.active_model import EmbedderFactory
from siglip_ingest.db import Database, label_sets
from siglip_ingest.db.checks import check_name, check_storable
from siglip_ingest.db.models import check_same_model, get_active_model
from siglip_ingest.labeling import embed_labels_for_model
from siglip_ingest.siglip.prompts import DEFAULT_TEMPLATE, check_labels, make_prompts
from siglip_ingest.types import Embedder


def add_label(
    database: Database,
    make_embedder: EmbedderFactory | None,
    label_set: str,
    label: str,
    prompts: Sequence[str] = (),
    *,
    threshold: float | None = None,
) -> int:
    """Add a label at the end of a label set, with its vector under the active model.

    Args:
        database: Where it is stored.
        make_embedder: Gives an embedder of a model; None leaves the vector to the workers, which add those of other
            kept models in any case.
        label_set: Name of the set.
        label: The label.
        prompts: Texts whose mean stands for it; none for the one that the set's template makes.
        threshold: Calibrated score from which an image has it, in [0, 1]; None for 0.5.

    Returns:
        Its `label_id`.

    Raises:
        InvalidInputError: If one of them can't be used, or the active model reads nothing of it.
        NotFoundError: If there is no such set.
        AlreadyExistsError: If it has a label of that name.
    """
    check_name(label_set, "A label set")
    own = _check_prompts(label, prompts)
    active = _ActiveModel(database, make_embedder)
    active.check_reads(own or [label])
    label_id = database.transact(lambda c: label_sets.add_label(c, label_set, label, own or None, threshold))
    active.embed_labels()
    return label_id


def change_label(
    database: Database,
    make_embedder: EmbedderFactory | None,
    label_set: str,
    label: str,
    *,
    new_label: str | None = None,
    prompts: Sequence[str] | None = None,
    place: int | None = None,
) -> None:
    """Give a label another name, other prompts or another place in its set; None leaves it as it is.

    Args:
        database: Where it is stored.
        make_embedder: As for `add_label`.
        label_set: Name of the set.
        label: The label.
        new_label: Its new name. A prompt that the template made follows.
        prompts: Its new prompts; an empty list for the one that the template makes.
        place: Its new place, from 0.

    Raises:
        InvalidInputError: If one of them can't be used, or the active model reads nothing of it.
        NotFoundError: If there is no such set or label.
        AlreadyExistsError: If the set has a label of the new name.
    """
    check_name(label_set, "A label set")
    check_name(label, "A label")
    name = label if new_label is None else new_label
    own = _check_prompts(name, prompts or ())
    active = _ActiveModel(database, make_embedder)
    if prompts is not None or new_label is not None:
        active.check_reads(own or [name])
    change = partial(
        label_sets.change_label, new_label=new_label, prompts=None if prompts is None else own, place=place
    )
    database.transact(lambda connection: change(connection, label_set, label))
    active.embed_labels()


def set_template(database: Database, make_embedder: EmbedderFactory | None, label_set: str, template: str) -> int:
    """Change what makes the prompts of a set's labels; those with prompts of their own stay.

    Returns:
        How many labels follow.

    Raises:
        InvalidInputError: If the template doesn't contain `{label}`.
        NotFoundError: If there is no such set.
    """
    check_name(label_set, "A label set")
    make_prompts(["label"], template)
    check_storable(template, "The template")
    active = _ActiveModel(database, make_embedder)
    changed = database.transact(lambda connection: label_sets.set_template(connection, label_set, template))
    active.embed_labels()
    return changed


class _ActiveModel:
    """The active model's embedder, where there is one and this process has it; else its workers do the work."""

    def __init__(self, database: Database, make_embedder: EmbedderFactory | None) -> None:
        self._database = database
        with database.connection() as connection:
            model = get_active_model(connection)
        self._model = model
        self._embedder: Embedder | None = None
        if make_embedder is not None and model is not None and model.info is not None and not model.is_external:
            self._embedder = make_embedder(model.key)
            check_same_model(self._embedder.info, model.info)

    def check_reads(self, texts: Sequence[str]) -> None:
        """Check that it reads something of each text."""
        if self._embedder is not None:
            check_labels(self._embedder, texts)

    def embed_labels(self) -> None:
        """Add the vectors that labels lack under it."""
        if self._embedder is not None and self._model is not None:
            embed_labels_for_model(self._database, self._embedder, self._model.model_id)


def _check_prompts(label: str, prompts: Sequence[str]) -> list[str]:
    """Check a label and prompts of its own, and return these; there may be none."""
    check_name(label, "A label")
    own = make_prompts({label: prompts}, DEFAULT_TEMPLATE)[label] if prompts else []
    for text in own:
        check_storable(text, f"The label {label!r}")
    return own
