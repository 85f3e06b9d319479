"""A small seeded world of images with captions, and the checkpoint trained on it.

The world (`world`, `captions`) knows which captions are true of which images, so search and labels can be tried,
tested and measured with no download.
"""

from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoint"

__all__ = ["CHECKPOINT"]
