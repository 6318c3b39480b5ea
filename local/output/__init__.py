"""The output of a run: terminal, tables, files under `out/`."""
