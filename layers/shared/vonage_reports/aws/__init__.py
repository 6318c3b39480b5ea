"""The edges towards AWS: the ledger, the bucket, the workflow, the topic, the secret."""
