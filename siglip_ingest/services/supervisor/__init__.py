"""The process that owns the embedded PostgreSQL, Redis and worker, and stops them."""
