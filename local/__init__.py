"""The whole stack on one machine: the emulator, the Vonage simulator, the command of `make run`."""
