"""The whole stack on one machine: AWS emulator, Vonage simulator, and the command `make run`."""
