"""Labels that decide as people would: calibration by marked images, labels from images alone, and explanations."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from siglip_ingest.client.base import BaseClient
from siglip_ingest.db import calibrating
from siglip_ingest.db.calibrating import Calibration, CalibrationVersion, ScoreExplanation, Suggestion


class CalibratingClient(BaseClient):
    """The part of `SiglipClient` that fits labels to marked images."""

    def calibrate(
        self,
        label_set: str,
        label: str,
        positives: Iterable[int] = (),
        negatives: Iterable[int] = (),
        *,
        min_precision: float | None = None,
        confidence: float = 0.9,
    ) -> Calibration:
        """Mark images as having a label or not, and fit the label's scores to all marks.

        Args:
            label_set: Name of the label set.
            label: Name of the label.
            positives: Ids of images that have it.
            negatives: Ids of images that haven't.
            min_precision: A wish, 0.95 for instance: the lowest threshold with which, as the marks show, so many of
                the accepted images have the label. `note` tells where the marks don't suffice.
            confidence: How sure that is to be: at most one in ten such thresholds misses the wish with 0.9.

        Raises:
            NotFoundError: If there is no such label or image, or none that is marked is embedded.
            InvalidInputError: If an image is in both lists, or a number is out of its range.
        """
        self._check_model()
        return self.database.transact(
            partial(
                calibrating.calibrate_label,
                label_set=label_set,
                label=label,
                positives=list(positives),
                negatives=list(negatives),
                min_precision=min_precision,
                confidence=confidence,
            )
        )

    def label_from_images(
        self, label_set: str, label: str, positives: Iterable[int] = (), negatives: Iterable[int] = ()
    ) -> Calibration:
        """Make a label out of images that have it, without words; or teach it more.

        Args:
            label_set: Name of the label set, which is made where there is none.
            label: Name of the label.
            positives: Ids of images that have it.
            negatives: Ids of images that haven't: those that it would be mistaken for teach most.

        Raises:
            NotFoundError: If there is no such image, or none of the positives is embedded.
            DatabaseError: If the label is there and has prompts.
        """
        self._check_model()
        return self.database.transact(
            partial(
                calibrating.make_label_from_images,
                label_set=label_set,
                label=label,
                positives=list(positives),
                negatives=list(negatives),
            )
        )

    def suggest_examples(
        self, label_set: str, label: str, *, limit: int = 10, only_accepted: bool = False
    ) -> list[Suggestion]:
        """Name unmarked images whose marks would teach a label most.

        Args:
            label_set: Name of the label set.
            label: Name of the label.
            limit: Most images to return, 1 to 100.
            only_accepted: Only a random sample of the images that have the label as things stand, which is what a
                wished precision needs.
        """
        self._check_model()
        with self.database.connection() as connection:
            return calibrating.suggest_examples(connection, label_set, label, limit, only_accepted=only_accepted)

    def explain_score(self, image_id: int, label_set: str, label: str) -> ScoreExplanation:
        """Say why an indexed image has a label or not.

        Raises:
            NotFoundError: If there is no such image or label, or either isn't embedded yet.
        """
        self._check_model()
        with self.database.connection() as connection:
            return calibrating.explain_score(connection, image_id, label_set, label)

    def calibrations(self, label_set: str, label: str) -> list[CalibrationVersion]:
        """The calibrations of a label under the active model, the newest first."""
        self._check_model()
        with self.database.connection() as connection:
            return calibrating.list_calibrations(connection, label_set, label)

    def use_calibration(self, label_set: str, label: str, version: int) -> None:
        """Make an earlier or later calibration of a label the current one; 0 is the model's own scores.

        Raises:
            NotFoundError: If there is no such label or version.
        """
        self._check_model()
        self.database.transact(partial(calibrating.use_calibration, label_set=label_set, label=label, version=version))
