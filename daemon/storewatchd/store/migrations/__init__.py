"""Numbered SQL, applied in order and never changed once released."""
