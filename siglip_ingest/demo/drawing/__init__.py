"""How the demo world looks: Pillow's shapes in units of the image's height, so that any size looks the same."""
