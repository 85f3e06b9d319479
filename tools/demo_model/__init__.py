"""Trains the demo checkpoint: draws images, writes captions, learns a tokenizer. Run by `make demo-model`."""
