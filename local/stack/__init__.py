"""The AWS emulator on this machine, and the deployment of template.yaml to it."""
