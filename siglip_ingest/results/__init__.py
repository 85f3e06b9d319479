"""What searches return: lists that a notebook shows as a grid of images, a terminal as a table, pandas as a frame.

`Results` are a list of rows; `ImageResults` are one of images, and read them when, and only when, they are shown. Each
way to show them is a module: `grid` is HTML, `terminal` is rich, `frames` is arrow and pandas.
"""

from siglip_ingest.results.results import ImageResults, Results

__all__ = ["ImageResults", "Results"]
