"""The single writer of what this node holds true."""

from storewatchd.monitor.batch import Books, object_key
from storewatchd.monitor.monitor import Monitor

__all__ = ["Books", "Monitor", "object_key"]
