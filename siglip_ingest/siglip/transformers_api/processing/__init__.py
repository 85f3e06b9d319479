"""Processors, image processors and tokenizers of the transformers API."""
