"""Embedders of queries: torch in this process (local), or a worker (remote); choose.py decides."""
