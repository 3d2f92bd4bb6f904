"""The steps of the ledger's history."""
