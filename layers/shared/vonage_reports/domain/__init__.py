"""What the project knows, with the standard library alone: no AWS, no HTTP, no clock."""
