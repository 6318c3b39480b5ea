"""What all tests share."""

from hypothesis import settings

# Machines are shared, and a test has no clock: how long an example takes proves nothing.
settings.register_profile("without-a-clock", deadline=None)
settings.load_profile("without-a-clock")
