"""The life of one report."""
