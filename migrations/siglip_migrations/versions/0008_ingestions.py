"""Ingestions that any process can follow, and what the encoders and sources of this version keep."""

from __future__ import annotations

from alembic import op

from siglip_migrations.scripts import run_down_script, run_scripts

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run sql/0008/*.sql."""
    run_scripts(op.get_bind(), revision)


def downgrade() -> None:
    """Run sql/0008_down.sql."""
    run_down_script(op.get_bind(), revision)
