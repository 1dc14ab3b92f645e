"""Fixtures that tests of several packages share."""

from hypothesis import settings

from fix_postgres import node, postgres, reachable

__all__ = ["node", "postgres", "reachable"]

# pytest's own time-out bounds a test; that the machine is busy is no failure.
settings.register_profile("storewatch", deadline=None)
settings.load_profile("storewatch")
