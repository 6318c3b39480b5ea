"""A simulator of Vonage's Reports API and of the media endpoint that serves its archives.

It answers over real HTTP on this machine, with synthetic records, so that the whole service can
be run and tested without an account and without a bill. `python -m local.simulator` starts it;
`process.Simulator` starts it from Python.
"""
