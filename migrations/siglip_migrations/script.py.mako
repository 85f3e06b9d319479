"""${message}."""

from __future__ import annotations

from alembic import op
from siglip_migrations.scripts import run_down_script, run_scripts

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run sql/${up_revision}/*.sql."""
    run_scripts(op.get_bind(), revision)


def downgrade() -> None:
    """Run sql/${up_revision}_down.sql."""
    run_down_script(op.get_bind(), revision)
