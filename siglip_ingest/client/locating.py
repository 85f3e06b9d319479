"""Where in an image a text matched."""

from __future__ import annotations

from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

from siglip_ingest import locating
from siglip_ingest.client.searching import SearchingClient
from siglip_ingest.db import checks
from siglip_ingest.image_files import read_image_file
from siglip_ingest.locating import Location

if TYPE_CHECKING:
    from PIL import Image


class LocatingClient(SearchingClient):
    """The part of `SiglipClient` that looks into images."""

    def locate(self, image: int | str | Path | bytes | Image.Image, text: str) -> Location:
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
        self._check_model()
        checks.check_query(text)
        if isinstance(image, Integral):  # numpy's too
            image = checks.check_image_id(image)
        if isinstance(image, int):
            image = read_image_file(self.database, image, self.settings)
        opened = self._open_image(self._check_image(image))
        return locating.locate(self.database, self._get_embedder, opened, text)
