"""Checkpoints: names, download, files, weights, loading and saving, revisions, preprocessing."""
