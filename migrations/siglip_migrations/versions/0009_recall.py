"""Recall that is measured, kept and tuned, and a second kind of index."""

from __future__ import annotations

from alembic import op

from siglip_migrations.scripts import run_down_script, run_scripts

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run sql/0009/*.sql."""
    run_scripts(op.get_bind(), revision)


def downgrade() -> None:
    """Run sql/0009_down.sql."""
    run_down_script(op.get_bind(), revision)
