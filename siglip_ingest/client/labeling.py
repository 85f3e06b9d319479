"""Label sets: made, extended and changed, images marked with their labels, and scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING

from siglip_ingest import label_changes, labeling
from siglip_ingest.active_model import EmbedderFactory
from siglip_ingest.client.searching import SearchingClient
from siglip_ingest.db import checks, label_sets
from siglip_ingest.errors import InvalidInputError, NotFoundError
from siglip_ingest.results import ImageResults, Results
from siglip_ingest.siglip.prompts import DEFAULT_TEMPLATE
from siglip_ingest.types import LabeledImage, LabelScore, LabelStatus

if TYPE_CHECKING:
    from PIL import Image


class LabelingClient(SearchingClient):
    """The part of `SiglipClient` that knows label sets."""

    def create_label_set(
        self,
        name: str,
        labels: Sequence[str] | Mapping[str, Sequence[str]],
        *,
        template: str = DEFAULT_TEMPLATE,
        keep: bool | None = None,
        replace: bool = False,
    ) -> None:
        """Store a label set, so that every image has a score for each of them in `siglip.label_scores`.

        Args:
            name: What the label set is called.
            labels: The labels; or a mapping from each label to prompts of its own, used as they are.
            template: Makes the prompt of a label that has none of its own; contains `{label}`.
            keep: Whether `siglip.image_labels` has a row for each image that has one of them. By default not, and as
                before where the set is replaced.
            replace: Replace the label set of that name, if there is one. Labels of the same names keep their
                thresholds, marks and calibrations.

        Raises:
            AlreadyExistsError: If there is a label set of that name and `replace` is False.
        """
        self._describe_model()
        labeling.create_label_set(
            self.database, self._get_embedder, name, labels, template=template, keep=keep, replace=replace
        )

    def add_label(
        self, label_set: str, label: str, prompts: Sequence[str] = (), *, threshold: float | None = None
    ) -> int:
        """Add a label at the end of a label set.

        It has its vector at once where this process embeds texts; else a worker adds it within seconds.

        Args:
            label_set: Name of the set.
            label: The label.
            prompts: Texts whose mean stands for it; none for the one that the set's template makes.
            threshold: Calibrated score from which an image has it, in [0, 1]; None for 0.5.

        Returns:
            Its `label_id`.

        Raises:
            NotFoundError: If there is no such set.
            AlreadyExistsError: If it has a label of that name.
        """
        self._check_model()
        threshold = _check_threshold(threshold)
        return label_changes.add_label(
            self.database, self._make_embedder, label_set, label, prompts, threshold=threshold
        )

    def change_label(
        self,
        label_set: str,
        label: str,
        *,
        new_label: str | None = None,
        prompts: Sequence[str] | None = None,
        place: int | None = None,
    ) -> None:
        """Give a label another name, other prompts or another place; its threshold, marks and calibrations stay.

        Args:
            label_set: Name of the set.
            label: The label.
            new_label: Its new name. A prompt that the template made follows.
            prompts: Its new prompts; an empty list for the one that the template makes.
            place: Its new place in the set, from 0.

        Raises:
            NotFoundError: If there is no such set or label.
            AlreadyExistsError: If the set has a label of the new name.
        """
        self._check_model()
        if place is not None and (not checks.is_whole_number(place) or not 0 <= int(place) < 2**31):
            raise InvalidInputError(f"place must be a whole number from 0, not {place!r}.")
        place = None if place is None else int(place)
        label_changes.change_label(
            self.database, self._make_embedder, label_set, label, new_label=new_label, prompts=prompts, place=place
        )

    def set_template(self, label_set: str, template: str) -> int:
        """Change what makes the prompts of a set's labels; returns how many follow. Prompts of their own stay."""
        self._check_model()
        return label_changes.set_template(self.database, self._make_embedder, label_set, template)

    def set_threshold(self, label_set: str, label: str, threshold: float | None) -> None:
        """Set the calibrated score, in [0, 1], from which images have a label; None for 0.5."""
        threshold = _check_threshold(threshold)
        self._check_names(label_set, label)
        self.database.transact(lambda c: label_sets.set_threshold(c, label_set, label, threshold))

    def remove_label(self, label_set: str, label: str) -> None:
        """Take a label out of its set, with its vectors, marks and calibrations."""
        self._check_names(label_set, label)
        self.database.transact(lambda c: label_sets.remove_label(c, label_set, label))

    def rename_label_set(self, label_set: str, new_name: str) -> None:
        """Give a label set another name.

        Raises:
            AlreadyExistsError: If there is a label set of that name.
        """
        self._check_names(label_set)
        checks.check_name(new_name, "A label set")
        self.database.transact(lambda c: label_sets.rename_label_set(c, label_set, new_name))

    def drop_label_set(self, label_set: str) -> None:
        """Delete a label set with its labels, their vectors, marks and calibrations."""
        labeling.delete_label_set(self.database, label_set)

    def keep_labels(self, label_set: str, keep: bool = True) -> None:
        """Say whether `siglip.image_labels` has a row for each image that has a label of this set.

        Workers write them; `label_status` says how far they are.
        """
        self._check_names(label_set)
        self.database.transact(lambda c: label_sets.keep_labels(c, label_set, keep=bool(keep)))

    def mark_images(
        self,
        label_set: str,
        label: str,
        *,
        positives: Iterable[int] = (),
        negatives: Iterable[int] = (),
        unmark: Iterable[int] = (),
        marked_by: str | None = None,
    ) -> int:
        """Say which images have a label and which don't, or take that back. A mark wins over the model.

        Args:
            label_set: Name of the set.
            label: The label.
            positives: Ids of images that have it.
            negatives: Ids of images that don't.
            unmark: Ids of images of which the model decides again.
            marked_by: Who says so; None for the database role.

        Returns:
            How many marks changed.

        Raises:
            InvalidInputError: If an image is in two of the three.
            NotFoundError: If there is no such set, label or image.
        """
        self._check_names(label_set, label)
        if marked_by is not None:
            checks.check_name(marked_by, "Who marks it")
        marks = {
            "positives": checks.check_image_ids(positives) or [],
            "negatives": checks.check_image_ids(negatives) or [],
            "unmark": checks.check_image_ids(unmark) or [],
        }
        return self.database.transact(
            lambda c: label_sets.mark_images(c, label_set, label, **marks, marked_by=marked_by)
        )

    def labeled_images(
        self,
        label_set: str,
        label: str,
        *,
        is_accepted: bool = True,
        only_marked: bool = False,
        limit: int | None = None,
    ) -> ImageResults[LabeledImage]:
        """The images that have a label by `siglip.image_labels`: kept by the model, or marked by people; best first.

        Args:
            label_set: Name of the set; where it isn't kept, only marks count.
            label: The label.
            is_accepted: False for those that people say have it not.
            only_marked: Whether to leave out what the model decided.
            limit: Most images to return; None for all.

        Raises:
            NotFoundError: If there is no such set or label.
        """
        self._check_names(label_set, label)
        most = None if limit is None else checks.check_limit(limit, 2**31 - 1)
        with self.database.connection() as connection:
            rows = label_sets.list_labeled_images(
                connection, label_set, label, is_accepted=is_accepted, only_marked=only_marked, limit=most
            )
        return self._image_results(rows, LabeledImage)

    def label_status(self, label_set: str | None = None) -> list[LabelStatus]:
        """The labels of a set, or of all sets: their prompts, which models have their vectors, how far kept rows are.

        Raises:
            NotFoundError: If there is no set of that name.
        """
        if label_set is not None:
            self._check_names(label_set)
        with self.database.connection() as connection:
            if label_set is not None and label_sets.find_template(connection, label_set) is None:
                raise NotFoundError(
                    f"There is no label set {label_set!r}. `siglip-ingest label list` shows what there is."
                )
            return label_sets.list_label_status(connection, label_set)

    def label_scores(self, image: int | str | Path | bytes | Image.Image, label_set: str) -> Results[LabelScore]:
        """Score one image against each label of a set, best first. The scores are independent and don't sum to 1.

        Args:
            image: The id of an indexed image, a Path, the http(s) address of an image (str), the bytes of an image
                file, or a PIL image.
            label_set: Name of a label set.

        Raises:
            InvalidInputError: If `image` is a text that isn't an address: the path of a file is a Path.
            ImageError: If the image can't be read.
            NotFoundError: If there is no such image or label set, or it has no vectors under the active model.
        """
        self._check_model()
        if isinstance(image, Integral):  # numpy's too
            image = checks.check_image_id(image)
        if isinstance(image, int):
            return Results(labeling.label_scores_of_image_id(self.database, image, label_set), LabelScore)
        opened = self._open_image(self._check_image(image))
        scores = labeling.label_scores_of_image(self.database, self._get_embedder, opened, label_set)
        return Results(scores, LabelScore)

    @property
    def _make_embedder(self) -> EmbedderFactory | None:
        """The embedder of new labels; None where they are left to the workers."""
        return self._get_embedder if self.settings.is_embedded or self._embedder.can_embed else None

    def _check_names(self, label_set: str, *labels: str) -> None:
        self._check_model()
        checks.check_name(label_set, "A label set")
        for label in labels:
            checks.check_name(label, "A label")


def _check_threshold(threshold: object) -> float | None:
    if threshold is None:
        return None
    if isinstance(threshold, bool) or not isinstance(threshold, Real) or not 0 <= float(threshold) <= 1:
        raise InvalidInputError(f"threshold must be a number from 0 to 1, or None for 0.5; not {threshold!r}.")
    return float(threshold)
