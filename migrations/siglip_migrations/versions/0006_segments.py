"""Contents as rows of their own, and the vectors of a model in segments."""

from __future__ import annotations

from alembic import op

from siglip_migrations.scripts import run_down_script, run_scripts

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run sql/0006/*.sql."""
    run_scripts(op.get_bind(), revision)


def downgrade() -> None:
    """Run sql/0006_down.sql, and the files of sql/0004/ whose functions revision 0006 dropped."""
    run_down_script(op.get_bind(), revision)
    names = ["040_embed_text.sql", "050_nearest_images.sql", "060_search_images.sql", "070_label_scores.sql"]
    run_scripts(op.get_bind(), "0004", names)
