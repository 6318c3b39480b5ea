"""The files and tables that a run leaves."""
