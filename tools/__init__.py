"""Programs for developers of this repository. Nothing here is in the wheel."""
