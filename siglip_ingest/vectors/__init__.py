"""Vectors in and out: files of N x D vectors with one record a row, read, checked, stored and written."""
