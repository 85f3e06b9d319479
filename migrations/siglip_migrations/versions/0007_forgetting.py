"""Images deleted with all that was made of them."""

from __future__ import annotations

from alembic import op

from siglip_migrations.scripts import run_down_script, run_scripts

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run sql/0007/*.sql."""
    run_scripts(op.get_bind(), revision)


def downgrade() -> None:
    """Run sql/0007_down.sql."""
    run_down_script(op.get_bind(), revision)
