"""Converts stored archives to the query-ready dataset. Only convert_report loads this package."""
