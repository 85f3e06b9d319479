"""Connections to PostgreSQL: the pool, errors, named statements, and vectors as parameters. It knows no table."""
