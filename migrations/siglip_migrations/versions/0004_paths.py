"""Workers that are seen to live, texts that reach them through advisory locks, and functions that name their model."""

from __future__ import annotations

from alembic import op

from siglip_migrations.scripts import run_down_script, run_scripts

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run sql/0004/*.sql."""
    run_scripts(op.get_bind(), revision)


def downgrade() -> None:
    """Run sql/0004_down.sql, and sql/0002/*.sql, whose functions revision 0004 replaced."""
    run_down_script(op.get_bind(), revision)
    run_scripts(op.get_bind(), "0002")
