"""What trains the demo checkpoint: drawn images, captions, a tokenizer and the lessons. Run by `make demo-model`."""
