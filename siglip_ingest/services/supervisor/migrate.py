"""Creates the database and brings its schema up to date: `python -m siglip_ingest.services.supervisor.migrate`.

A process of its own, started before PostgreSQL is up, so that its imports cost no time. It reads the URL from standard
input once it is; on a command line everybody could read the password.
"""

from __future__ import annotations

import sys
from urllib.parse import urlsplit, urlunsplit


def main() -> int:
    """Migrate the database whose URL comes on standard input; the exit code is 0 if its schema is up to date."""
    import alembic.command  # noqa: F401  # siglip_migrations would import it only when PostgreSQL is up
    import psycopg
    from psycopg import sql

    import siglip_migrations

    url = sys.stdin.readline().strip()
    if not url:
        return 0  # PostgreSQL did not start
    parts = urlsplit(url)
    name = parts.path.removeprefix("/")
    try:
        with psycopg.connect(urlunsplit(parts._replace(path="/postgres")), autocommit=True) as connection:
            if connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
                # The role is called siglip: by PostgreSQL's own setting its tables would land in our schema.
                connection.execute(sql.SQL("ALTER DATABASE {} SET search_path = public").format(sql.Identifier(name)))
        siglip_migrations.upgrade(url)
    except Exception as error:  # noqa: BLE001  # the process's edge: whatever it is, the supervisor reports this line
        sys.stderr.write(f"{type(error).__name__}: {' '.join(str(error).split())}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
