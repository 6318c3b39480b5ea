"""SQL over the delivered dataset."""
