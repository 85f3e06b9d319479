"""A checkpoint's own figures, which workers compare with before they serve."""

from __future__ import annotations

from alembic import op

from siglip_migrations.scripts import run_down_script, run_scripts

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run sql/0003/*.sql."""
    run_scripts(op.get_bind(), revision)


def downgrade() -> None:
    """Run sql/0003_down.sql."""
    run_down_script(op.get_bind(), revision)
