"""Bytes and strings to the arrays that the model takes. Knows no torch."""
