"""Fixtures that tests of several packages share."""

from fix_postgres import node, postgres, reachable

__all__ = ["node", "postgres", "reachable"]
