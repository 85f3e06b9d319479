"""PostgreSQL: a `Database` for connections, and a module for each topic, its statements in the .sql file beside it.

Functions take a connection and leave the transaction to their caller. `checks` refuses what PostgreSQL would refuse.
"""

from __future__ import annotations

from siglip_ingest.db.connection.connect import Connection
from siglip_ingest.db.connection.database import Database

__all__ = ["Connection", "Database"]
