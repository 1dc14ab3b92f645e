"""PostgreSQL: everything that ever happened. Nothing but queries for history waits for it."""

from storewatchd.store.store import Store

__all__ = ["Store"]
