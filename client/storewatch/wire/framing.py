"""One JSON document a line, over a byte stream."""

MAX_REQUEST_BYTES = 1 << 20
"""The longest line that the daemon accepts."""

MAX_MESSAGE_BYTES = 64 << 20
"""The longest line that a client accepts."""


class OversizedLine(ValueError):
    """A line grew past the limit; what follows on this stream cannot be trusted."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a message is longer than {limit} bytes")
        self.limit = limit


class LineSplitter:
    """Turn received chunks into whole lines; the unfinished rest is kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest: list[bytes] = []
        self._rest_size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that this chunk completes, without their newlines, blank ones left out.

        Raises:
            OversizedLine: the unfinished line is longer than the limit.
        """
        if b"\n" not in chunk:
            self._keep(chunk)
            return []
        *lines, rest = chunk.split(b"\n")
        if self._rest:
            lines[0] = b"".join((*self._rest, lines[0]))
            self._rest.clear()
            self._rest_size = 0
        if any(len(line) > self._limit for line in lines):
            raise OversizedLine(self._limit)
        self._keep(rest)
        return [line for line in lines if line.strip()]

    @property
    def unfinished(self) -> bool:
        """Whether bytes of a half-sent line are waiting."""
        return self._rest_size > 0

    def _keep(self, chunk: bytes) -> None:
        if not chunk:
            return
        self._rest.append(chunk)
        self._rest_size += len(chunk)
        if self._rest_size > self._limit:
            raise OversizedLine(self._limit)
