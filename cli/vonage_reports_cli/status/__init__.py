"""The status of a ledger, for the operator."""
