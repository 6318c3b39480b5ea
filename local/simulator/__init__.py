"""A simulator of Vonage's Reports API and of the media endpoint that serves its archives.

It serves synthetic records over real HTTP on this machine, so the whole service runs without a
Vonage account and without a bill. Start it with `python -m local.simulator` from a shell, or with
`process.Simulator` from Python.
"""
