"""The rules of the project, in the standard library only: no AWS, no HTTP, no clock."""
