"""PostgreSQL: a `Database` for connections, and functions on a connection in modules named after what they are about.

Functions take a connection and leave the transaction to their caller. Statements stand in sql/, one a file.
"""

from __future__ import annotations

from siglip_ingest.db.pool import Connection, Database

__all__ = ["Connection", "Database"]
