"""UUIDs that sort by time (RFC 9562, version 7)."""

import random
import uuid


def uuid7(wall: float, random_bytes: bytes) -> str:
    """Return a version 7 UUID for a moment (Unix seconds) and ten random bytes."""
    milliseconds = round(wall * 1000) & 0xFFFFFFFFFFFF
    tail = int.from_bytes(random_bytes[:10], "big")
    number = (milliseconds << 80) | tail
    number = (number & ~(0xF << 76)) | (0x7 << 76)
    number = (number & ~(0x3 << 62)) | (0x2 << 62)
    return str(uuid.UUID(int=number))


class Ids:
    """Fresh ids, the same ones again from the same seed. They name things and guard nothing."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def reseed(self, seed: int) -> None:
        """Go on from another seed, so that what follows can be told again."""
        self._random.seed(seed)

    def new(self, wall: float) -> str:
        """Return an id for something first seen at a moment (Unix seconds)."""
        return uuid7(wall, self._random.randbytes(10))
