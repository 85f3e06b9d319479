"""All of the product in SQL: attached tables, composed queries, labels that are kept and calibrated, model changes."""

from __future__ import annotations

from alembic import op

from siglip_migrations.scripts import run_down_scripts, run_scripts

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run sql/0009/*.sql."""
    run_scripts(op.get_bind(), revision)


def downgrade() -> None:
    """Run sql/0009/down/*.sql, the last first."""
    run_down_scripts(op.get_bind(), revision)
