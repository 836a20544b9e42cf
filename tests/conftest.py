"""Settings of all tests."""

from hypothesis import settings

# The same examples at every run, and no clock: a test fails when something broke, not when the machine is busy.
settings.register_profile("ccafl", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("ccafl")
