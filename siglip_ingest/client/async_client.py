"""`AsyncSiglipClient`: the methods of `SiglipClient` for programs that use asyncio.

`make async` writes this file from the synchronous methods, whose parameters and docstrings these are. There is nothing
to edit here: what a method does stands in the module of its part, and how it gets into a thread in `async_base.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siglip_ingest import composing, syncing
from siglip_ingest.client.async_base import AsyncBaseClient
from siglip_ingest.client.embedding import EmbeddedQueries
from siglip_ingest.client.models import LABELS_TIMEOUT_S
from siglip_ingest.db import ingestions
from siglip_ingest.db.attached import AttachedTable
from siglip_ingest.db.browsing import CollectionSize, StoredImage
from siglip_ingest.db.calibrating import Calibration, CalibrationVersion, ScoreExplanation, Suggestion
from siglip_ingest.ingest import AsyncIngestion
from siglip_ingest.locating import Location
from siglip_ingest.results import ImageResults, Results
from siglip_ingest.siglip.prompts import DEFAULT_TEMPLATE
from siglip_ingest.types import (
    DEFAULT_COLLECTION,
    CollectionCoverage,
    DuplicateGroup,
    DuplicatePair,
    ImageMatch,
    IngestCounts,
    LabeledImage,
    LabelMatch,
    LabelScore,
    LabelStatus,
    ModelComparison,
    ModelCoverage,
    RecallMeasurement,
    Representative,
    TuningStep,
    VectorImport,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from siglip_ingest.ingest.expand import Source


class AsyncSiglipClient(AsyncBaseClient):
    """Indexes and searches images in one database, from an event loop. Closes as an asynchronous context manager.

    The methods are those of `SiglipClient`, which does the work, in threads; what it would iterate over, or follow, is
    iterated over and followed with `async for` and `await`. A call that is cancelled while it waits for a thread is
    never made; one that was made goes on to its end, and what it returns is dropped: images that it queued stay queued.
    Callbacks and iterables that are given are called and read in a thread.
    """

    async def search_images(
        self,
        query: str | Path | bytes | Image.Image | NDArray[np.number[Any]] | composing.Query,
        *,
        limit: int = 10,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,
        min_score: float | None = None,
        image_ids: Iterable[int] | None = None,
        offset: int = 0,
        after: ImageMatch | tuple[float, int] | None = None,
    ) -> ImageResults[ImageMatch]:
        """Find the images that fit a text, resemble an image or are nearest to a vector, best first.

        Args:
            query: What the images show, in words, or the http(s) address of an image (str); or an image: a Path, the
                bytes of an image file, or a PIL image; or a vector of the active model: (D,) numbers, an array or a
                list, of any length, that isn't zero. A str is never a file. Or a list of several parts:
                `["beach", -text("people"), image(42) * 0.7]`.
            limit: Most matches to return, 1 to 10,000.
            collection: Search only this collection.
            filter: Only images whose metadata contain these keys and values.
            min_score: Only matches whose score, in [0, 1], is at least this.
            image_ids: Search only these images.
            offset: Leave out so many of the best.
            after: Begin behind this match, or its (similarity, image_id): the next page, whatever arrives meanwhile.

        Raises:
            InvalidInputError: If the query is empty, is a vector of another model's length, or `limit` is out of range.
            ImageError: If the query is an image that can't be read.
        """
        return await self._run(
            self.synchronous.search_images,
            query,
            limit=limit,
            collection=collection,
            filter=filter,
            min_score=min_score,
            image_ids=image_ids,
            offset=offset,
            after=after,
        )

    async def similar_images(
        self,
        image_id: int,
        *,
        limit: int = 10,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,
        min_score: float | None = None,
        image_ids: Iterable[int] | None = None,
        offset: int = 0,
        after: ImageMatch | tuple[float, int] | None = None,
    ) -> ImageResults[ImageMatch]:
        """Find the images most like an indexed one, best first, without that one.

        Args:
            image_id: Key in `siglip.images`, as `ImageMatch.image_id` gives it.
            limit: Most matches to return, 1 to 10,000.
            collection: Search only this collection.
            filter: Only images whose metadata contain these keys and values.
            min_score: Only matches whose score, in [0, 1], is at least this.
            image_ids: Search only these images.
            offset: Leave out so many of the best.
            after: Begin behind this match, or its (similarity, image_id): the next page, whatever arrives meanwhile.

        Raises:
            InvalidInputError: If an argument is out of its range.
            NotFoundError: If there is no such image, or it isn't embedded yet.
        """
        return await self._run(
            self.synchronous.similar_images,
            image_id,
            limit=limit,
            collection=collection,
            filter=filter,
            min_score=min_score,
            image_ids=image_ids,
            offset=offset,
            after=after,
        )

    async def index_recall(
        self,
        sample: int = 200,
        *,
        limit: int = 10,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> list[RecallMeasurement]:
        """Measure how many of the images that an exact search finds a search finds, too.

        What was measured is kept in `siglip.recall_history`; a drop is logged as a warning.

        Args:
            sample: Images to search by, drawn at random, and as many texts of those that were searched for.
            limit: Best images that each search is to find, 1 to 1,000.
            collection: Measure searches of this collection.
            filter: Measure searches for images whose metadata contain these keys and values.

        Returns:
            One for `images`, and one for `texts` where some were searched for.

        Raises:
            InvalidInputError: If an argument is out of its range.
            NotFoundError: If there is nothing to measure with.
        """
        return await self._run(self.synchronous.index_recall, sample, limit=limit, collection=collection, filter=filter)

    async def tune_search(self, target_recall: float = 0.98, *, sample: int = 200) -> list[TuningStep]:
        """Find the smallest `ef_search` with which searches reach a recall, and keep it for all of them.

        Args:
            target_recall: Share of the ten best images that searches are to find, 0.5 to 1. Where it can't be reached,
                the largest `ef_search` is kept, which is logged as a warning.
            sample: As for `index_recall`.

        Returns:
            What was tried, in growing order; the last is chosen. Empty where there is no index yet.
        """
        return await self._run(self.synchronous.tune_search, target_recall, sample=sample)

    async def create_index(self, kind: str) -> str:
        """Choose the kind of the indexes of the active model's vectors; a worker, or `maintain`, builds them.

        Searches go on meanwhile, segment by segment with the index that is there.

        Args:
            kind: `halfvec`, the default, or `bit_rerank`, which takes about a fifth of the memory and finds less, for
                tables that don't fit it.

        Returns:
            What is left to build, a sentence.

        Raises:
            InvalidInputError: If there is no such kind.
        """
        return await self._run(self.synchronous.create_index, kind)

    async def embed_texts(self, texts: Sequence[str]) -> EmbeddedQueries:
        """Embed texts under the active model; nothing is kept of them in the database.

        Args:
            texts: What images show, in words, each as it would be searched for.

        Raises:
            InvalidInputError: If one is empty, or the model can't read it.
            NotFoundError: If no model is active yet.
            WorkerUnavailableError: If a worker was to embed them, and none did.
        """
        return await self._run(self.synchronous.embed_texts, texts)

    async def embed_images(self, images: Sequence[str | Path | bytes | Image.Image]) -> EmbeddedQueries:
        """Embed images under the active model; nothing is kept of them in the database.

        Args:
            images: Each as for `search_images`: an http(s) address, a Path, the bytes of a file, or a PIL image.

        Raises:
            ImageError: If one can't be read.
            NotFoundError: If no model is active yet.
            WorkerUnavailableError: If a worker was to embed them, and none did.
        """
        return await self._run(self.synchronous.embed_images, images)

    async def check_readiness(self) -> dict[str, str | None]:
        """Say what is ready for searches: `database`, `schema`, `model`, `embedding`; starts and loads nothing.

        Returns:
            None for what is ready, else a sentence that says why not.
        """
        return await self._run(self.synchronous.check_readiness)

    async def count_batches(self) -> dict[str, Counter[int]]:
        """How many batches had so many rows, by kind (`texts`, `images`) and rows, of what this process embedded."""
        return await self._run(self.synchronous.count_batches)

    async def list_collections(self) -> list[CollectionSize]:
        """The collections and how many images each has, by name."""
        return await self._run(self.synchronous.list_collections)

    async def list_images(
        self,
        *,
        limit: int = 100,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,
        image_ids: Iterable[int] | None = None,
        state: str | None = None,
        after_id: int | None = None,
    ) -> list[StoredImage]:
        """List images, the last added first.

        Args:
            limit: Most images to return, 1 to 10,000.
            collection: Only this collection.
            filter: Only images whose metadata contain these keys and values.
            image_ids: Only these images.
            state: Only those that are `queued`, `claimed`, `done` or `failed` under the active model.
            after_id: Begin behind this image: the next page, whatever arrives meanwhile.

        Raises:
            InvalidInputError: If an argument can't be used.
        """
        return await self._run(
            self.synchronous.list_images,
            limit=limit,
            collection=collection,
            filter=filter,
            image_ids=image_ids,
            state=state,
            after_id=after_id,
        )

    async def get_image(self, image_id: int) -> StoredImage:
        """What the database knows of an image.

        Raises:
            NotFoundError: If there is no such image.
        """
        return await self._run(self.synchronous.get_image, image_id)

    async def read_image(self, image_id: int) -> bytes:
        """The bytes of an indexed image's file, read again where it was indexed from.

        Raises:
            NotFoundError: If there is no such image.
            ImageError: If its file has gone, or may not be read.
        """
        return await self._run(self.synchronous.read_image, image_id)

    async def change_metadata(self, image_ids: Iterable[int], changes: Mapping[str, Any]) -> int:
        """Set keys of images' metadata, and take out those whose value is None; other keys stay as they are.

        Args:
            image_ids: Keys in `siglip.images`; those that don't exist are passed over.
            changes: Keys and their new values, JSON; None takes a key out.

        Returns:
            How many images changed.

        Raises:
            InvalidInputError: If the changes aren't a mapping, or can't be stored.
        """
        return await self._run(self.synchronous.change_metadata, image_ids, changes)

    async def attach_table(
        self,
        table: str,
        uri_column: str,
        *,
        id_column: str | Sequence[str] | None = None,
        collection: str | None = None,
        metadata_columns: Sequence[str] = (),
    ) -> int:
        """Have a collection follow a column of a table: inserts, updates and deletes, from now on, by triggers.

        Rows that are there are queued. Workers follow changes within about a second; docs/attach.md says what each
        change does, and which rights it takes.

        Args:
            table: Its name as in SQL: `public.product`, `"My Table"`. The role must own it.
            uri_column: Column with addresses (`text`) or contents (`bytea`) of images, or an array of one of them.
            id_column: Column that tells rows apart, or several; by default the primary key.
            collection: The set of images that follows the table, best one of its own; by default called as the table.
            metadata_columns: Columns that become metadata of the images.

        Returns:
            How many rows have something in the image's column.

        Raises:
            InvalidInputError: If the columns can't be used.
            DatabaseError: If there is no such table or column, the role may not, or it is attached already.
        """
        return await self._run(
            self.synchronous.attach_table,
            table,
            uri_column,
            id_column=id_column,
            collection=collection,
            metadata_columns=metadata_columns,
        )

    async def detach_table(self, table: str, *, delete_images: bool = False) -> int:
        """Stop following a table.

        Args:
            table: Its name as in SQL.
            delete_images: Whether a worker deletes its images, where no other attached row has them.

        Returns:
            How many images will be deleted.

        Raises:
            NotFoundError: If the table isn't attached.
        """
        return await self._run(self.synchronous.detach_table, table, delete_images=delete_images)

    async def refresh_table(self, table: str) -> int:
        """Have all rows of an attached table looked at again, after changes that fire no triggers.

        Returns:
            How many rows have something in the image's column.

        Raises:
            NotFoundError: If the table isn't attached.
        """
        return await self._run(self.synchronous.refresh_table, table)

    async def attached_tables(self) -> list[AttachedTable]:
        """The tables that are attached, and how far their images are."""
        return await self._run(self.synchronous.attached_tables)

    async def import_vectors(
        self,
        vectors: str | Path,
        items: str | Path | None = None,
        *,
        model: str,
        dimension: int | None = None,
        logit_scale: float | None = None,
        logit_bias: float | None = None,
        collection: str = DEFAULT_COLLECTION,
        normalize: bool = False,
        replace: bool = False,
        progress: bool | None = None,
    ) -> VectorImport:
        """Store images with vectors that were made elsewhere, by any model.

        All of the input is checked before anything is stored. What is stored is safe, some thousand rows at a time:
        started again, an import goes on where it was, since images that have a vector under the model are skipped.

        Args:
            vectors: A `.npy` file, N x D float16 or float32; or Parquet with a column `embedding`, a fixed-size list.
            items: A JSON line a vector, in the same order: `uri`, and optionally `collection`, `key`, `metadata`,
                `content_hash` (SHA-256 of the file, in hexadecimal), `width`, `height`, `format`. Not for a Parquet
                file that has these as columns.
            model: Name of the model that made them: one of the database, a checkpoint that can be loaded here, or any
                other name, which then stands for an external model: there are no texts under it, and searches go by
                vector or by an indexed image. It becomes the active model if there is none.
            dimension: What D must be.
            logit_scale: Of a new external model, a logarithm, as in a checkpoint; without it there are no scores.
            logit_bias: Of a new external model; goes with `logit_scale`.
            collection: Of the items that name none.
            normalize: Divide each vector by its norm; else it must be 1.
            replace: Replace the vectors of images that have one, and merge metadata into theirs.
            progress: Whether to draw a progress bar on stderr; by default where that is a terminal.

        Raises:
            InvalidInputError: If anything in the files can't be imported; names the line or the row. Then nothing is
                stored.
            ConfigurationError: If it is Parquet and pyarrow isn't installed.
        """
        return await self._run(
            self.synchronous.import_vectors,
            vectors,
            items,
            model=model,
            dimension=dimension,
            logit_scale=logit_scale,
            logit_bias=logit_bias,
            collection=collection,
            normalize=normalize,
            replace=replace,
            progress=progress,
        )

    async def export_vectors(
        self,
        vectors: str | Path,
        items: str | Path | None = None,
        *,
        model: str | None = None,
        collection: str | None = None,
        float32: bool = False,
        progress: bool | None = None,
    ) -> int:
        """Write the images that have a vector, as `import_vectors` reads them, in constant memory.

        Args:
            vectors: A file whose suffix is `.npy`, for an N x D array, or `.parquet`, which holds the items too.
            items: A file for the items, one JSON line a vector; not for Parquet.
            model: Name of the model; by default the active one.
            collection: Only the images of this collection.
            float32: Write float32; else float16, as they are stored.
            progress: Whether to draw a progress bar on stderr; by default where that is a terminal.

        Returns:
            How many vectors were written.

        Raises:
            NotFoundError: If there is no such model, or it has no vectors yet.
            InvalidInputError: If a file can't be written.
        """
        return await self._run(
            self.synchronous.export_vectors,
            vectors,
            items,
            model=model,
            collection=collection,
            float32=float32,
            progress=progress,
        )

    async def calibrate(
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
        return await self._run(
            self.synchronous.calibrate,
            label_set,
            label,
            positives,
            negatives,
            min_precision=min_precision,
            confidence=confidence,
        )

    async def label_from_images(
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
        return await self._run(self.synchronous.label_from_images, label_set, label, positives, negatives)

    async def suggest_examples(
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
        return await self._run(
            self.synchronous.suggest_examples, label_set, label, limit=limit, only_accepted=only_accepted
        )

    async def explain_score(self, image_id: int, label_set: str, label: str) -> ScoreExplanation:
        """Say why an indexed image has a label or not.

        Raises:
            NotFoundError: If there is no such image or label, or either isn't embedded yet.
        """
        return await self._run(self.synchronous.explain_score, image_id, label_set, label)

    async def calibrations(self, label_set: str, label: str) -> list[CalibrationVersion]:
        """The calibrations of a label under the active model, the newest first."""
        return await self._run(self.synchronous.calibrations, label_set, label)

    async def use_calibration(self, label_set: str, label: str, version: int) -> None:
        """Make an earlier or later calibration of a label the current one; 0 is the model's own scores.

        Raises:
            NotFoundError: If there is no such label or version.
        """
        await self._run(self.synchronous.use_calibration, label_set, label, version)

    async def locate(self, image: int | str | Path | bytes | Image.Image, text: str) -> Location:
        """Find the parts of an image that made it fit a text: a heat map.

        Takes some passes forward and backward through the vision tower: about twenty times as long as embedding the
        image does.

        Args:
            image: The id of an indexed image, a Path, the http(s) address of an image (str), the bytes of an image
                file, or a PIL image.
            text: What to look for, in words.

        Raises:
            InvalidInputError: If the text is empty or the model reads nothing of it, `image` is a text that isn't an
                address, or the active model's vectors are imported.
            NotFoundError: If there is no such image.
            ImageError: If the image can't be read.
            ConfigurationError: If neither this process nor a worker can compute it.
            WorkerUnavailableError: If no worker answers in time.
        """
        return await self._run(self.synchronous.locate, image, text)

    async def create_label_set(
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
        await self._run(self.synchronous.create_label_set, name, labels, template=template, keep=keep, replace=replace)

    async def add_label(
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
        return await self._run(self.synchronous.add_label, label_set, label, prompts, threshold=threshold)

    async def change_label(
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
        await self._run(
            self.synchronous.change_label, label_set, label, new_label=new_label, prompts=prompts, place=place
        )

    async def set_template(self, label_set: str, template: str) -> int:
        """Change what makes the prompts of a set's labels; returns how many follow. Prompts of their own stay."""
        return await self._run(self.synchronous.set_template, label_set, template)

    async def set_threshold(self, label_set: str, label: str, threshold: float | None) -> None:
        """Set the calibrated score, in [0, 1], from which images have a label; None for 0.5."""
        await self._run(self.synchronous.set_threshold, label_set, label, threshold)

    async def remove_label(self, label_set: str, label: str) -> None:
        """Take a label out of its set, with its vectors, marks and calibrations."""
        await self._run(self.synchronous.remove_label, label_set, label)

    async def rename_label_set(self, label_set: str, new_name: str) -> None:
        """Give a label set another name.

        Raises:
            AlreadyExistsError: If there is a label set of that name.
        """
        await self._run(self.synchronous.rename_label_set, label_set, new_name)

    async def drop_label_set(self, label_set: str) -> None:
        """Delete a label set with its labels, their vectors, marks and calibrations."""
        await self._run(self.synchronous.drop_label_set, label_set)

    async def keep_labels(self, label_set: str, keep: bool = True) -> None:
        """Say whether `siglip.image_labels` has a row for each image that has a label of this set.

        Workers write them; `label_status` says how far they are.
        """
        await self._run(self.synchronous.keep_labels, label_set, keep)

    async def mark_images(
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
        return await self._run(
            self.synchronous.mark_images,
            label_set,
            label,
            positives=positives,
            negatives=negatives,
            unmark=unmark,
            marked_by=marked_by,
        )

    async def labeled_images(
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
        return await self._run(
            self.synchronous.labeled_images,
            label_set,
            label,
            is_accepted=is_accepted,
            only_marked=only_marked,
            limit=limit,
        )

    async def label_status(self, label_set: str | None = None) -> list[LabelStatus]:
        """The labels of a set, or of all sets: their prompts, which models have their vectors, how far kept rows are.

        Raises:
            NotFoundError: If there is no set of that name.
        """
        return await self._run(self.synchronous.label_status, label_set)

    async def label_scores(self, image: int | str | Path | bytes | Image.Image, label_set: str) -> Results[LabelScore]:
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
        return await self._run(self.synchronous.label_scores, image, label_set)

    async def relevant_images(
        self,
        query: str | Path | bytes | Image.Image | NDArray[np.number[Any]] | Sequence[float],
        *,
        min_score: float = 0.5,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> ImageResults[ImageMatch]:
        """Find all images whose score for a query reaches `min_score`, however many, best first.

        Args:
            query: As for `search_images`.
            min_score: The least score, in [0, 1].
            collection: Search only this collection.
            filter: Only images whose metadata contain these keys and values.

        Raises:
            InvalidInputError: If an argument can't be used.
            ImageError: If the query is an image that can't be read.
        """
        return await self._run(
            self.synchronous.relevant_images, query, min_score=min_score, collection=collection, filter=filter
        )

    async def diverse_images(
        self,
        query: int | str | Path | bytes | Image.Image | NDArray[np.number[Any]] | Sequence[float],
        *,
        limit: int = 10,
        max_similarity: float = 0.9,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,
        min_score: float | None = None,
    ) -> ImageResults[ImageMatch]:
        """Find the best images for a query, best first, of those that are nearly the same only the best.

        Args:
            query: As for `search_images`; or the id of an indexed image, which isn't among the matches itself.
            limit: Most matches to return, 1 to 10,000.
            max_similarity: An image whose similarity to a better match is above this is left out, in [0, 1].
            collection: Search only this collection.
            filter: Only images whose metadata contain these keys and values.
            min_score: Only matches whose score, in [0, 1], is at least this.

        Raises:
            InvalidInputError: If an argument can't be used.
            ImageError: If the query is an image that can't be read.
            NotFoundError: If there is no such image, or it isn't embedded.
        """
        return await self._run(
            self.synchronous.diverse_images,
            query,
            limit=limit,
            max_similarity=max_similarity,
            collection=collection,
            filter=filter,
            min_score=min_score,
        )

    async def images_with_labels(
        self,
        label_set: str | None,
        *,
        all_of: Sequence[str] = (),
        any_of: Sequence[str] = (),
        none_of: Sequence[str] = (),
        min_score: float | None = None,
        limit: int | None = None,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> ImageResults[LabelMatch]:
        """Find the images that have all of some labels, any of others and none of further ones, best first.

        Args:
            label_set: Name of a label set; None where the labels name theirs: `scenes/sunset`.
            all_of: Labels that an image has, every one.
            any_of: Labels of which it has at least one.
            none_of: Labels of which it has none.
            min_score: An image has a label whose score, in [0, 1], is at least this; None for each label's own rule.
            limit: Most matches to return, 1 to 10,000; None for all.
            collection: Search only this collection.
            filter: Only images whose metadata contain these keys and values.

        Raises:
            InvalidInputError: If an argument can't be used, or no label is named that the images have.
            NotFoundError: If there is no such label set or label, or it has no vector under the active model.
        """
        return await self._run(
            self.synchronous.images_with_labels,
            label_set,
            all_of=all_of,
            any_of=any_of,
            none_of=none_of,
            min_score=min_score,
            limit=limit,
            collection=collection,
            filter=filter,
        )

    def near_duplicates(
        self, min_similarity: float = 0.95, *, collection: str | None = None, filter: Mapping[str, Any] | None = None
    ) -> AsyncIterator[DuplicatePair]:
        """Find pairs of images that are nearly the same, or the same, each once.

        The pairs come as they are found, range by range of the images in the order in which they were indexed; a large
        collection takes about a millisecond an image.

        Args:
            min_similarity: Least similarity of a pair, 0.5 to 1.
            collection: Look only at images of this collection.
            filter: Only at images whose metadata contain these keys and values.

        Raises:
            InvalidInputError: If an argument can't be used.
        """
        return self._iterate(self.synchronous.near_duplicates, min_similarity, collection=collection, filter=filter)

    async def duplicate_groups(
        self, min_similarity: float = 0.95, *, collection: str | None = None, filter: Mapping[str, Any] | None = None
    ) -> list[DuplicateGroup]:
        """Find groups of images that pairs of `near_duplicates` connect, the largest group first.

        Args: as for `near_duplicates`. Of a chain of pairs, the ends may be less alike than `min_similarity`.

        Raises:
            InvalidInputError: If an argument can't be used.
        """
        return await self._run(self.synchronous.duplicate_groups, min_similarity, collection=collection, filter=filter)

    async def representatives(
        self,
        count: int = 20,
        *,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,
        sample_size: int = 2000,
        seed: int = 0,
    ) -> ImageResults[Representative]:
        """Choose images that stand for all, the one that stands for the most first.

        Args:
            count: How many, 1 to 200; fewer come back where there are fewer different images.
            collection: Of this collection.
            filter: Of the images whose metadata contain these keys and values.
            sample_size: Images that are looked at, 1 to 20,000; drawn at random where there are more.
            seed: Of the draws: with the same seed the same images come back.

        Raises:
            InvalidInputError: If an argument can't be used.
        """
        return await self._run(
            self.synchronous.representatives,
            count,
            collection=collection,
            filter=filter,
            sample_size=sample_size,
            seed=seed,
        )

    async def embed_query(
        self, query: str | Path | bytes | Image.Image | NDArray[np.number[Any]] | Sequence[float]
    ) -> tuple[int, NDArray[np.float32]]:
        """Embed a query under the active model.

        Args:
            query: As for `search_images`, but of one part.

        Returns:
            The `model_id`, and the (D,) float32 unit vector: what `search_images` takes as a query, too.

        Raises:
            InvalidInputError: If the query is empty, or a vector of another model's length.
            ImageError: If the query is an image that can't be read.
        """
        return await self._run(self.synchronous.embed_query, query)

    async def enqueue_images(
        self,
        sources: Source | Iterable[Source],
        *,
        collection: str = DEFAULT_COLLECTION,
        metadata: Mapping[str, Any] | None = None,
        all_files: bool = False,
        exif: bool = False,
        progress: bool | None = None,
    ) -> AsyncIngestion:
        """Queue images for indexing. They are safe in the database when this returns; workers embed them.

        Sources are read as they come: a generator of millions takes constant memory, and workers begin with the first.

        An image that is already in the collection under the same URI is embedded again only if its file has changed or
        it had failed; new metadata are merged into the old ones.

        Args:
            sources: One source or a sequence of them: a path, a folder (searched for images, subfolders too), a tar, an
                http(s) URL, the address of an object or a prefix in a store (`s3://bucket/photos/`), the bytes of an
                image file, a PIL image, or an `ImageSource` with a key and metadata of its own.
            collection: Name of the set of images that they join.
            metadata: Kept with each image, and what searches can filter by; must be JSON.
            all_files: In folders, tars and prefixes, find images by their first bytes where their names say nothing.
            exif: Have workers add `taken_at`, `camera`, `latitude`, `longitude` and `altitude` to the metadata, as far
                as an image's EXIF data have them.
            progress: Whether to draw a progress bar on stderr once it takes long; by default where that is a terminal.

        Raises:
            InvalidInputError: If a file doesn't exist or a folder holds no images. Of up to 5,000 images then nothing
                is queued; of more, those before stay queued, and the message says so.
            ConfigurationError: If a store needs a package that isn't installed.
        """
        return self._follow(
            await self._run(
                self.synchronous.enqueue_images,
                sources,
                collection=collection,
                metadata=metadata,
                all_files=all_files,
                exif=exif,
                progress=progress,
            )
        )

    async def follow_ingestion(self, ingestion_id: int) -> AsyncIngestion:
        """Follow images that this or another process has queued, by `Ingestion.ingestion_id`.

        Raises:
            NotFoundError: If there is no such ingestion; they are kept for 30 days.
        """
        return self._follow(await self._run(self.synchronous.follow_ingestion, ingestion_id))

    async def join_ingestions(self, ingestion_id: int, other_id: int) -> int:
        """Follow images that were queued in two calls as one ingestion: the other one's join the first.

        Returns:
            The key of the ingestion that has the other one's images: still `other_id` where the active model was
            changed between the calls, or where they joined different collections.
        """
        return await self._run(self.synchronous.join_ingestions, ingestion_id, other_id)

    async def list_ingestions(self, limit: int = 10) -> list[tuple[ingestions.IngestionRow, IngestCounts]]:
        """The newest ingestions, the newest first, and how far each is."""
        return await self._run(self.synchronous.list_ingestions, limit)

    async def retry_failed(self, *, collection: str | None = None) -> AsyncIngestion:
        """Queue the images that failed under the active model once more, in one collection or in all.

        Returns:
            All images of the collection, those included that are done.
        """
        return self._follow(await self._run(self.synchronous.retry_failed, collection=collection))

    async def retry_ingestion(self, ingestion_id: int) -> AsyncIngestion:
        """Queue the images of an ingestion that failed once more, and follow it.

        Raises:
            NotFoundError: If there is no such ingestion; they are kept for 30 days.
        """
        return self._follow(await self._run(self.synchronous.retry_ingestion, ingestion_id))

    async def delete_images(
        self,
        image_ids: Iterable[int] | None = None,
        *,
        uris: Sequence[str] | None = None,
        keys: Sequence[str | int] | None = None,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,
        dry_run: bool = False,
    ) -> int:
        """Delete the images that all given conditions fit, with their bytes, vectors, scores and ledger.

        A content that another image has too stays. docs/deleting.md says what PostgreSQL keeps for a while.

        Args:
            image_ids: Keys in `siglip.images`.
            uris: Where they are: `file:///...`, `https://...`, `sha256:...`.
            keys: Your own keys.
            collection: The images of this collection.
            filter: Images whose metadata contain these keys and values.
            dry_run: Only count them.

        Returns:
            How many images were, or would be, deleted.

        Raises:
            InvalidInputError: If no condition is given, or one is of the wrong kind.
        """
        return await self._run(
            self.synchronous.delete_images,
            image_ids,
            uris=uris,
            keys=keys,
            collection=collection,
            filter=filter,
            dry_run=dry_run,
        )

    async def plan_sync(
        self, folder: str | Path, *, collection: str = DEFAULT_COLLECTION, allow_empty: bool = False
    ) -> syncing.SyncPlan:
        """Compare a folder with a collection: what is new, changed, moved and gone. Changes nothing.

        Args:
            folder: Searched for images, subfolders too.
            collection: The set of images that follows the folder.
            allow_empty: Accept that a folder is empty of which the collection has images; else a mount may be missing,
                and they stay.

        Raises:
            InvalidInputError: If there is no such folder, or it has no images at all where it had some.
        """
        return await self._run(self.synchronous.plan_sync, folder, collection=collection, allow_empty=allow_empty)

    async def sync_folder(
        self,
        folder: str | Path,
        *,
        collection: str = DEFAULT_COLLECTION,
        metadata: Mapping[str, Any] | None = None,
        allow_empty: bool = False,
    ) -> tuple[syncing.SyncPlan, AsyncIngestion | None]:
        """Make a collection as a folder is: new and changed files are queued, moved ones keep vectors, gone ones go.

        Images of the collection that come from elsewhere stay; the plan names them.

        Args:
            folder: Searched for images, subfolders too.
            collection: The set of images that follows the folder.
            metadata: Kept with each image that is new or changed.
            allow_empty: Accept that a folder is empty of which the collection has images; else a mount may be missing,
                and they stay.

        Returns:
            What was done, and the images that were queued; None where there are none.

        Raises:
            InvalidInputError: If there is no such folder, or it has no images at all where it had some.
        """
        plan, ingestion = await self._run(
            self.synchronous.sync_folder, folder, collection=collection, metadata=metadata, allow_empty=allow_empty
        )
        return plan, None if ingestion is None else self._follow(ingestion)

    async def prune_images(self, *, collection: str | None = None, dry_run: bool = False) -> syncing.PrunePlan:
        """Delete the images whose file is gone.

        Where nothing of a folder is there, its images stay: a mount may be missing.

        Args:
            collection: Only the images of this collection.
            dry_run: Only look.

        Returns:
            What was, or would be, deleted; and what wasn't found and stays.
        """
        return await self._run(self.synchronous.prune_images, collection=collection, dry_run=dry_run)

    async def add_model(self, name: str) -> AsyncIngestion:
        """Have all images embedded under another checkpoint too, and new ones under both.

        Searches go on with the active model. Once the ingestion has ended, or `model_coverage` says so,
        `switch_model(name)` makes the new one active. Called again, it queues what is missing.

        Args:
            name: Of the checkpoint: `demo`, a folder, or a hub name.

        Returns:
            All images under the new model; `wait` follows them.

        Raises:
            CheckpointError: If `name` can't be the name of a checkpoint.
        """
        return self._follow(await self._run(self.synchronous.add_model, name))

    async def model_coverage(self) -> list[ModelCoverage]:
        """How much of all images each model has, and how fast its workers are; oldest first."""
        return await self._run(self.synchronous.model_coverage)

    async def collection_coverage(self) -> list[CollectionCoverage]:
        """How much of each collection each model has."""
        return await self._run(self.synchronous.collection_coverage)

    async def compare_models(
        self,
        model_a: str | int,
        model_b: str | int,
        *,
        k: int = 10,
        max_queries: int = 100,
        max_labels: int = 20,
        max_images: int = 1000,
        timeout_s: float | None = None,
    ) -> list[ModelComparison]:
        """Compare two models by what people asked, and by the images that they marked.

        Args:
            model_a: Name or `model_id` of the first model: the queries are those that were asked of it.
            model_b: Of the second. Queries that it has no vector of are embedded by its workers, where some run.
            k: Results that are looked at.
            max_queries: Queries, those that were used last.
            max_labels: Labels, those with the most marks.
            max_images: Images whose labels are compared, drawn at random.
            timeout_s: Seconds that a worker has to embed one query; by default 10.

        Raises:
            NotFoundError: If one of them isn't in the database, or no worker has loaded it.
            InvalidInputError: If both are the same, or a number is out of range.
        """
        return await self._run(
            self.synchronous.compare_models,
            model_a,
            model_b,
            k=k,
            max_queries=max_queries,
            max_labels=max_labels,
            max_images=max_images,
            timeout_s=timeout_s,
        )

    async def search_with_model(
        self, model: str | int, query: str, *, limit: int = 10, collection: str | None = None
    ) -> ImageResults[ImageMatch]:
        """Find the images that fit a text under any model that has vectors, to compare it with the active one.

        Args:
            model: Its name or `model_id`.
            query: What the images show, in words.
            limit: Most matches to return, 1 to 10,000.
            collection: Search only this collection.

        Raises:
            NotFoundError: If there is no such model.
            WorkerUnavailableError: If the text has no vector under it yet, and none of its workers answers.
        """
        return await self._run(self.synchronous.search_with_model, model, query, limit=limit, collection=collection)

    async def drop_model(
        self, model: str | int, *, wait: bool = True, on_step: Callable[[str], None] = lambda _: None
    ) -> None:
        """Take a model away that isn't active, with its vectors; searches and workers go on meanwhile.

        Args:
            model: Its name or `model_id`.
            wait: Whether to free its space before this returns; else the workers do it.
            on_step: Called with a sentence after each step of that.

        Raises:
            NotFoundError: If there is no such model.
            DatabaseError: If it is the active one.
        """
        await self._run(self.synchronous.drop_model, model, wait=wait, on_step=on_step)

    async def embed_under_model(self) -> AsyncIngestion:
        """Queue every image for the settings' model, beside the active one, which searches go on using.

        New images are embedded under both from then on. Once the ingestion has ended,
        `switch_model(ingestion.model_id)` makes it the active one: a model change without an outage. `siglip-ingest
        worker` without SIGLIP_MODEL serves both; the embedded worker is started here.
        """
        return self._follow(await self._run(self.synchronous.embed_under_model))

    async def find_external_model(self, name: str) -> int | None:
        """The key of the external model of that name, which `switch_model` takes as it is; None where there is none."""
        return await self._run(self.synchronous.find_external_model, name)

    async def follow_model(self, model_id: int) -> AsyncIngestion:
        """Queue what has come since `embed_under_model`, and follow all images of the model once more."""
        return self._follow(await self._run(self.synchronous.follow_model, model_id))

    async def give_up_model(self, model_id: int) -> None:
        """Take back an `embed_under_model` that failed; the embedded worker serves the active model again.

        A model that got some vectors stays in the database, and `embed_under_model` goes on with it.
        """
        await self._run(self.synchronous.give_up_model, model_id)

    async def switch_model(
        self,
        model: str | int,
        *,
        force: bool = False,
        keep_old: bool = True,
        wait_for_labels_s: float = LABELS_TIMEOUT_S,
    ) -> None:
        """Make a model the one that searches, labels and new images use, once the labels have its vectors too.

        What was indexed meanwhile and has no vector under it yet is queued in the same transaction. Each search is of
        the one model or of the other.

        Args:
            model: Its name, or its key as `add_model` and `embed_under_model` gave it.
            force: Whether to switch though images or labels of the active model have no vector under it yet: they
                aren't found until its workers have embedded them.
            keep_old: Whether new images are embedded under the old one too, so that `switch_model` goes back at once.
            wait_for_labels_s: Seconds that its workers have to embed the labels, where this process can't.

        Raises:
            NotFoundError: If there is no such model.
            DatabaseError: If it lacks something, and `force` is False; the message says what.
        """
        await self._run(
            self.synchronous.switch_model, model, force=force, keep_old=keep_old, wait_for_labels_s=wait_for_labels_s
        )
