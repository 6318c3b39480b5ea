"""The command behind `make run`."""
