"""Digests of bytes. hashlib would load OpenSSL for them, and that takes 4 MB of memory."""

try:
    from _blake2 import blake2b
except ImportError:  # a Python without an implementation of its own
    from hashlib import blake2b


def digest_of(content: bytes, *, size: int = 8) -> str:
    """Return a digest of some bytes, as twice as many hexadecimal digits."""
    return blake2b(content, digest_size=size).hexdigest()
