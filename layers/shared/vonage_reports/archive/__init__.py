"""The proof that a ZIP archive is whole and intact."""
