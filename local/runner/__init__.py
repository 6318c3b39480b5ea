"""The steps of `make run`, from its options to its exit code."""
