"""Proves again what was delivered, from the bucket alone."""
