"""Keys of the web API, and sessions of browsers that were opened with one."""

from __future__ import annotations

from alembic import op

from siglip_migrations.scripts import run_down_scripts, run_scripts

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run sql/0010/*.sql."""
    run_scripts(op.get_bind(), revision)


def downgrade() -> None:
    """Run sql/0010/down/*.sql, the last first."""
    run_down_scripts(op.get_bind(), revision)
