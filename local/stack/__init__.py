"""The AWS emulator on this machine, and the deployment of the template to it."""
