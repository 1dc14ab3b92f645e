"""Whether this machine will come back from its next start as it is now."""
