"""Queued images: claims chunks from the ledger, embeds them in one stream, and writes the outcome."""
