"""Lists of rows that know how to show themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, Self, SupportsIndex, TypeVar, overload

from siglip_ingest.errors import ConfigurationError
from siglip_ingest.process import how_to_install

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from rich.console import Console, ConsoleOptions, RenderResult

    from siglip_ingest.results.thumbnails import ReadImage

RowT = TypeVar("RowT")

WIDTH_ELSEWHERE = 1000  # columns of a file or a pipe: rich would wrap at 80, so that a path is no longer one word


class Results(list[RowT], Generic[RowT]):
    """The rows of an answer: a list, with ways to show it and to hand it on.

    A slice is of the same kind; what `+` or a comprehension makes is an ordinary list.

    Attributes:
        row_type: The class of the rows, which says what the columns are where there are no rows.
    """

    def __init__(self, rows: Iterable[RowT], row_type: type[RowT]) -> None:
        super().__init__(rows)
        self.row_type = row_type

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> RowT: ...
    @overload
    def __getitem__(self, index: slice, /) -> Self: ...
    def __getitem__(self, index: SupportsIndex | slice, /) -> RowT | Self:
        return self._with(super().__getitem__(index)) if isinstance(index, slice) else super().__getitem__(index)

    def __copy__(self) -> Self:
        return self[:]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (list(self), self.row_type)

    def to_arrow(self) -> pa.Table:
        """These rows as an Arrow table. Metadata are JSON text, scores of several labels are a map.

        Raises:
            ConfigurationError: If pyarrow isn't installed.
        """
        from siglip_ingest.results.frames import make_table

        return make_table(self, self.row_type)

    def to_pandas(self) -> pd.DataFrame:
        """These rows as a data frame. Metadata are dictionaries.

        Raises:
            ConfigurationError: If pandas isn't installed.
        """
        from siglip_ingest.results.frames import make_frame

        return make_frame(self, self.row_type)

    def show(self, console: Console | None = None) -> None:
        """Print these rows in the terminal: as a table, or as images with captions where it can show images.

        Args:
            console: Where to; by default standard output.

        Raises:
            ConfigurationError: If rich isn't installed.
        """
        try:
            from rich.console import Console
        except ImportError as error:
            raise ConfigurationError(
                f"Showing results in a terminal needs rich: {how_to_install('display')}."
            ) from error
        if console is None:
            console = Console()
            if not console.is_terminal and not console.is_jupyter:
                console.width = WIDTH_ELSEWHERE
        console.print(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from siglip_ingest.results.terminal import render_table

        yield render_table(self, self.row_type)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from siglip_ingest.results.grid import render_table

        return render_table(self, self.row_type)

    def _with(self, rows: Iterable[RowT]) -> Self:
        return type(self)(rows, self.row_type)


class ImageResults(Results[RowT]):
    """Images that were found, the best first: a list of rows, such as `ImageMatch`, that is shown as images.

    An image is read when it is shown, in a notebook or by `show`, from where it was indexed, as far as the settings of
    the client allow; an image that can't be read is shown as its reason. What was pickled shows no images: it has no
    client any more.
    """

    def __init__(self, rows: Iterable[RowT], row_type: type[RowT], read_image: ReadImage | None = None) -> None:
        super().__init__(rows, row_type)
        self._read_image = read_image

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from siglip_ingest.results.terminal import render_images

        yield render_images(self, self.row_type, self._read_image, console)

    def _repr_html_(self) -> str:
        """What a notebook shows: a grid of small images with their scores, inside the HTML."""
        from siglip_ingest.results.grid import render_grid

        return render_grid(self, self._read_image)

    def _with(self, rows: Iterable[RowT]) -> Self:
        return type(self)(rows, self.row_type, self._read_image)
