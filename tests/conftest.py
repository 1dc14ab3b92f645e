"""Fixtures that tests of several packages share."""

import signal

from hypothesis import settings

from fix_postgres import node, postgres, reachable

__all__ = ["node", "postgres", "reachable"]

# A shell that starts the tests in its background ignores SIGINT for them, and for every program
# that they start: none of these could be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)

# pytest's own time-out bounds a test; that the machine is busy is no failure.
settings.register_profile("storewatch", deadline=None)
settings.load_profile("storewatch")
