"""The state of a ledger, for the operator."""
