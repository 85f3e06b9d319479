"""Each stage against transformers, on the same weights."""
