"""How the demo world looks: Pillow's shapes in units of the picture's height, so that any size looks the same."""
