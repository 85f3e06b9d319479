"""Who turns a query into a vector: torch in this process (local), or a worker (remote). choose.py decides."""
