"""Tables: models, images, embeddings, the ledger, texts, labels."""

from __future__ import annotations

from alembic import op

from siglip_migrations.scripts import run_down_script, run_scripts

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run sql/0001/*.sql."""
    run_scripts(op.get_bind(), revision)


def downgrade() -> None:
    """Run sql/0001_down.sql."""
    run_down_script(op.get_bind(), revision)
