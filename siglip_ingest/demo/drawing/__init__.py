"""Draws the demo world with Pillow, in units of the image's height, so that any size looks the same."""
