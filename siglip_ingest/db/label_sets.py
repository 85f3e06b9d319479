"""Label sets as they are made, changed and marked: what `siglip.create_label_set` and its like do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from siglip_ingest.db.connection.connect import Connection
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.types import LabeledImage, LabelStatus

SQL = load_statements("label_sets")


def create_label_set(
    connection: Connection,
    name: str,
    template: str,
    prompts: Mapping[str, Sequence[str]],
    *,
    keep: bool | None,
    replace: bool,
) -> list[int]:
    """Make a label set; two callers that replace one wait for each other, and the second one's counts.

    Args:
        connection: In a transaction.
        name: What it is called.
        template: What made the prompts of labels that had none of their own.
        prompts: The labels, in order, each with its prompts.
        keep: Whether its labels are kept as rows; None for as before, and not where it is new.
        replace: Replace the label set of that name, if there is one; labels of the same names stay with what is known
            of them.

    Returns:
        The `label_id` of each label, in order.

    Raises:
        AlreadyExistsError: If the name is taken and `replace` is False.
    """
    written = json.dumps({label: list(texts) for label, texts in prompts.items()}, ensure_ascii=False)
    parameters: dict[str, object] = {"name": name, "template": template, "keep": keep, "prompts": written}
    ((label_set_id,),) = connection.execute(SQL.create_label_set, {**parameters, "replace": replace})
    return [label_id for (label_id,) in connection.execute(SQL.list_label_ids, {"label_set_id": label_set_id})]


def find_template(connection: Connection, label_set: str) -> str | None:
    """What makes the prompts of a set's labels; None where there is no such set."""
    row = connection.execute(SQL.get_template, {"label_set": label_set}).fetchone()
    return None if row is None else str(row[0])


def add_label(
    connection: Connection, label_set: str, label: str, prompts: Sequence[str] | None, threshold: float | None
) -> int:
    """Add a label at the end of a set; returns its `label_id`.

    Raises:
        NotFoundError: If there is no such set.
        AlreadyExistsError: If it has a label of that name.
    """
    parameters = {"label_set": label_set, "label": label, "prompts": prompts, "threshold": threshold}
    ((label_id,),) = connection.execute(SQL.add_label, parameters)
    return int(label_id)


def change_label(
    connection: Connection,
    label_set: str,
    label: str,
    *,
    new_label: str | None,
    prompts: Sequence[str] | None,
    place: int | None,
) -> None:
    """Give a label another name, other prompts or another place; None leaves it as it is."""
    parameters = {"label_set": label_set, "label": label, "new_label": new_label, "prompts": prompts, "place": place}
    connection.execute(SQL.change_label, parameters)


def set_template(connection: Connection, label_set: str, template: str) -> int:
    """Change what makes the prompts of a set's labels; returns how many labels follow."""
    ((changed,),) = connection.execute(SQL.set_template, {"label_set": label_set, "template": template})
    return int(changed)


def set_threshold(connection: Connection, label_set: str, label: str, threshold: float | None) -> None:
    """Set the calibrated score, in [0, 1], from which images have a label; None for 0.5."""
    connection.execute(SQL.set_threshold, {"label_set": label_set, "label": label, "threshold": threshold})


def remove_label(connection: Connection, label_set: str, label: str) -> None:
    """Take a label out of its set, with its vectors, marks and calibrations."""
    connection.execute(SQL.remove_label, {"label_set": label_set, "label": label})


def rename_label_set(connection: Connection, label_set: str, new_name: str) -> None:
    """Give a label set another name."""
    connection.execute(SQL.rename_label_set, {"label_set": label_set, "new_name": new_name})


def keep_labels(connection: Connection, label_set: str, *, keep: bool) -> None:
    """Say whether `siglip.image_labels` has a row for each image that has a label of the set."""
    connection.execute(SQL.keep_labels, {"label_set": label_set, "keep": keep})


def drop_label_set(connection: Connection, label_set: str) -> None:
    """Delete a label set with its labels, their vectors, marks and calibrations.

    Raises:
        NotFoundError: If there is none of that name.
    """
    connection.execute(SQL.drop_label_set, {"label_set": label_set})


def mark_images(
    connection: Connection,
    label_set: str,
    label: str,
    *,
    positives: Sequence[int],
    negatives: Sequence[int],
    unmark: Sequence[int],
    marked_by: str | None,
) -> int:
    """Say which images have a label and which don't; returns how many marks changed."""
    parameters: dict[str, object] = {"label_set": label_set, "label": label, "marked_by": marked_by}
    parameters |= {"positives": list(positives), "negatives": list(negatives), "unmark": list(unmark)}
    ((changed,),) = connection.execute(SQL.mark_images, parameters)
    return int(changed)


def list_label_status(connection: Connection, label_set: str | None) -> list[LabelStatus]:
    """The labels of a set, or of all, in order, and how far each is."""
    return [LabelStatus(*row) for row in connection.execute(SQL.list_label_status, {"label_set": label_set})]


def list_labeled_images(
    connection: Connection, label_set: str, label: str, *, is_accepted: bool, only_marked: bool, limit: int | None
) -> list[LabeledImage]:
    """The images that have a label by `siglip.image_labels`, or that a person says have it not.

    Raises:
        NotFoundError: If there is no such set or label.
    """
    parameters: dict[str, object] = {"label_set": label_set, "label": label}
    connection.execute(SQL.check_label, parameters)
    parameters |= {"is_accepted": is_accepted, "only_marked": only_marked, "limit": limit}
    return [LabeledImage(*row) for row in connection.execute(SQL.list_labeled_images, parameters)]


def count_marks(connection: Connection, name: str) -> int:
    """How many marks of people the labels of a set have; 0 where there is no such set."""
    ((count,),) = connection.execute(SQL.count_marks, {"name": name})
    return int(count)
