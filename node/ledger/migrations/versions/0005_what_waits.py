"""What waits, was given up or has failed is found by indexes of it alone."""

from node.ledger.migrations.steps import build_index

revision = "0005_what_waits"
down_revision = "0004_commitment"


def upgrade() -> None:
    """Build them, and two that queries by study and by commitment lacked."""
    build_index("series_of_study", "series", "study_instance_uid")
    build_index(
        "ix_commitment_transaction_commitment_id", "commitment_transaction", "commitment_id"
    )
    build_index("revision_failed", "revision", "id", where="state = 'failed'")
    build_index("delivery_waiting", "delivery", "destination", "id", where="state = 'pending'")
    build_index(
        "delivery_given_up", "delivery", "destination", "revision_id", where="state = 'failed'"
    )
