"""Where in an image a text matched: asked of the model, and drawn over the image."""

from siglip_ingest.locating.locate import locate
from siglip_ingest.locating.location import Location

__all__ = ["Location", "locate"]
