"""The tools that find images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from mcp_types import CallToolResult, ContentBlock, TextContent
from pydantic import Field, StrictInt

from siglip_ingest import composing
from siglip_ingest.client import SiglipClient
from siglip_ingest.db.browsing import has_collection, list_collection_names
from siglip_ingest.db.items import count_all
from siglip_ingest.db.models import get_active_model
from siglip_ingest.errors import InvalidInputError, NotFoundError
from siglip_ingest.mcp import results
from siglip_ingest.mcp.messages import collect_warnings
from siglip_ingest.mcp.results import Answer, FoundImage, FoundImages, LabelledImage, LabelledImages
from siglip_ingest.mcp.thumbnails import MAX_THUMBNAILS, show_thumbnails
from siglip_ingest.search import is_address
from siglip_ingest.types import ImageMatch, IngestCounts

MAX_MATCHES = 50
_NAMED_COLLECTIONS = 20

ImageId = Annotated[int, Field(ge=1, description="Id of an indexed image, as searches return it.")]
Limit = Annotated[int, Field(ge=1, le=MAX_MATCHES, description="Most images to return.")]
Collection = Annotated[str | None, Field(description="Only images of this collection; describe_database lists them.")]
Filter = Annotated[
    dict[str, Any] | None,
    Field(description='Only images whose metadata contain these keys and values, such as {"album": "2026"}.'),
]
Thumbnails = Annotated[
    bool, Field(description=f"Whether to return small images to look at too, of the first {MAX_THUMBNAILS} matches.")
]
MinScore = Annotated[float | None, Field(ge=0, le=1, description="Only images whose score is at least this.")]
Parts = Annotated[list[StrictInt | str], Field(max_length=20)]
Labels = Annotated[list[str], Field(max_length=50)]


class SearchTools:
    """`search_images`, `similar_images` and `images_with_labels` of a client's database."""

    def __init__(self, client: SiglipClient) -> None:
        self._client = client

    def search_images(
        self,
        text: Annotated[
            str | None, Field(description="What the images show, in a few words: 'a dog on a beach'.")
        ] = None,
        image_id: Annotated[int | None, Field(ge=1, description="Images like this indexed one.")] = None,
        wanted: Annotated[Parts, Field(description="More that the images show: texts, or ids of images.")] = [],  # noqa: B006
        unwanted: Annotated[Parts, Field(description="What they must not show: texts, or ids of images.")] = [],  # noqa: B006
        collection: Collection = None,
        filter: Filter = None,  # noqa: A002
        min_score: MinScore = None,
        limit: Limit = 10,
        thumbnails: Thumbnails = False,
    ) -> Annotated[CallToolResult, FoundImages]:
        """Find the images that fit a description best, best first.

        Give text, image_id, or several parts at once: "a beach" without people is text="a beach", unwanted=["people"].
        There are always matches as long as there are images, even if none fits: judge by the scores, or look at the
        thumbnails. Texts say what is visible; file names and metadata aren't searched (filter does that).
        """
        with collect_warnings() as notes:
            parts = [part for part in (text, image_id) if part is not None] + list(wanted)
            narrow = {"collection": collection, "filter": filter, "min_score": min_score, "limit": limit}
            matches, meaning = self._search(parts, unwanted, narrow)
            self._check_found(len(matches), collection, notes)
        found = FoundImages(images=list(map(FoundImage.from_match, matches)), score_means=meaning, notes=notes)
        return self._answer(found, [match.image_id for match in matches], show=thumbnails)

    def similar_images(
        self,
        image_id: ImageId,
        collection: Collection = None,
        filter: Filter = None,  # noqa: A002
        limit: Limit = 10,
        thumbnails: Thumbnails = False,
    ) -> Annotated[CallToolResult, FoundImages]:
        """Find the images most like an indexed one, best first, without that one."""
        with collect_warnings() as notes:
            matches = self._client.similar_images(image_id, collection=collection, filter=filter, limit=limit)
            self._check_found(len(matches), collection, notes)
        images = list(map(FoundImage.from_match, matches))
        found = FoundImages(images=images, score_means=results.IMAGE_SCORES, notes=notes)
        return self._answer(found, [match.image_id for match in matches], show=thumbnails)

    def images_with_labels(
        self,
        label_set: Annotated[str, Field(description="Name of a label set; describe_database lists them.")],
        all_of: Annotated[Labels, Field(description="Labels that an image has, every one.")] = [],  # noqa: B006
        any_of: Annotated[Labels, Field(description="Labels of which it has at least one.")] = [],  # noqa: B006
        none_of: Annotated[Labels, Field(description="Labels of which it has none.")] = [],  # noqa: B006
        min_score: Annotated[
            float | None,
            Field(ge=0, le=1, description="From which score an image has a label; by default each label's own rule."),
        ] = None,
        collection: Collection = None,
        filter: Filter = None,  # noqa: A002
        limit: Limit = 10,
        thumbnails: Thumbnails = False,
    ) -> Annotated[CallToolResult, LabelledImages]:
        """Find the images that have labels of a stored label set, best first. For other words use search_images."""
        with collect_warnings() as notes:
            matches = self._client.images_with_labels(
                label_set,
                all_of=all_of,
                any_of=any_of,
                none_of=none_of,
                min_score=min_score,
                limit=limit,
                collection=collection,
                filter=filter,
            )
            self._check_found(len(matches), collection, notes)
        images = list(map(LabelledImage.from_match, matches))
        found = LabelledImages(images=images, score_means=results.LABEL_SCORES, notes=notes)
        return self._answer(found, [match.image_id for match in matches], show=thumbnails)

    def _search(
        self, wanted: Sequence[str | int], unwanted: Sequence[str | int], narrow: dict[str, Any]
    ) -> tuple[list[ImageMatch], str]:
        """The matches, and what their scores mean."""
        if not wanted:
            raise InvalidInputError(
                "Nothing says what the images show. Give text, image_id or wanted; unwanted alone finds nothing."
            )
        only = wanted[0] if len(wanted) == 1 and not unwanted else None
        if isinstance(only, int):
            return self._client.similar_images(only, **narrow), results.IMAGE_SCORES
        terms = [*map(_make_term, wanted), *(-_make_term(part) for part in unwanted)]
        matches = self._client.search_images(terms, **narrow)
        return matches, results.TEXT_SCORES if only is not None else results.COMPOSED_SCORES

    def _check_found(self, found: int, collection: str | None, notes: list[str]) -> None:
        """Where nothing was found, say why.

        Raises:
            NotFoundError: If there is no such collection.
        """
        if found:
            return
        with self._client.database.connection() as connection:
            model = get_active_model(connection)
            counts = IngestCounts() if model is None else count_all(connection, model.model_id)
            if waiting := counts.queued + counts.claimed:
                notes.append(f"Images that wait to be embedded, and aren't found yet: {waiting:,}.")
            if collection is not None and has_collection(connection, collection):
                notes.append("No image of this collection fits. Ask for less: leave filter or min_score out.")
                return
            names = list_collection_names(connection, _NAMED_COLLECTIONS)
        if not names:
            notes.append("There are no images yet.")
        elif collection is not None:
            listed = ", ".join(map(repr, names)) + (", ..." if len(names) == _NAMED_COLLECTIONS else "")
            raise NotFoundError(f"There is no collection {collection!r}. There are {listed}.")
        else:
            notes.append("No image fits. Ask for less: leave filter or min_score out, or name fewer labels.")

    def _answer(self, found: Answer, image_ids: Sequence[int], *, show: bool) -> CallToolResult:
        return make_answer(found, show_thumbnails(self._client, image_ids) if show else ())


def make_answer(found: Answer, more: Sequence[ContentBlock] = ()) -> CallToolResult:
    """An answer as structured content, and as text for clients that don't read that; `more` comes after it."""
    text = TextContent(type="text", text=found.model_dump_json())
    return CallToolResult(content=[text, *more], structured_content=found.model_dump(mode="json"))


def _make_term(part: str | int) -> composing.QueryTerm:
    if isinstance(part, int):
        return composing.image(part)
    if is_address(part):
        raise InvalidInputError(
            f"{part!r} is an address, and a search takes words or ids of indexed images. Index the image first, or say "
            "what it shows."
        )
    return composing.text(part)
