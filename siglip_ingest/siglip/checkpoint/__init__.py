"""A checkpoint's files: names, download, layout, weights, revision, and its tokenizer and image settings."""
