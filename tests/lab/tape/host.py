"""A SCSI host adapter: how many commands it takes at a time, and how many it has taken."""

import threading


class Host:
    """The queue of one host. With `can_queue` 1, as mhvtl has it, one stuck command holds up every
    device."""

    def __init__(self, number: int, *, can_queue: int = 64, driver: str = "mpt3sas") -> None:
        self.number = number
        self.can_queue = can_queue
        self.driver = driver
        self.busy = 0
        self.waiting = 0
        self._is_closed = False
        self._changed = threading.Condition()

    def take(self) -> bool:
        """Wait for a place; False where the host was closed meanwhile."""
        with self._changed:
            self.waiting += 1
            self._changed.wait_for(lambda: self._is_closed or self.busy < self.can_queue)
            self.waiting -= 1
            self.busy += not self._is_closed
            return not self._is_closed

    def give_back(self) -> None:
        with self._changed:
            self.busy -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Let everybody go who waits, and take nothing more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
