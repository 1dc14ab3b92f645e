"""An emulated library in a process of its own: where the time that is measured must not be its."""

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab.tape.library import EmulatedLibrary
from lab.tape.scsi import Refused

_FOR_THE_ASKER = (Refused, AttributeError, LookupError, OSError, TypeError, ValueError)


class LibraryProcess:
    """The same library, asked by the names of its methods. It ends with this process."""

    def __init__(self, root: Path, **words: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, root, words), daemon=True)
        self._process.start()
        theirs.close()
        self.env: dict[str, str]
        self.sysfs: Path
        self.dev: Path
        self.sg: str
        self.env, self.sysfs, self.dev, self.sg = self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()
        self._process.join(10)

    def call(self, method: str, *words: Any, **options: Any) -> Any:
        """Call a method of the library. A device is named `changer`, or `drive 0` and so on.

        Raises:
            Refused: the library cannot do it. Wrong words raise what they raise there.
        """
        self._connection.send((method, words, options))
        return self._answer()

    def _answer(self) -> Any:
        outcome, value = self._connection.recv()
        if outcome == "raised":
            raise value
        return value


def _serve(connection: Connection, root: Path, words: dict[str, Any]) -> None:
    with EmulatedLibrary(root, **words) as library:
        connection.send(("returned", (library.env, library.sysfs, library.dev, library.sg)))
        while True:
            try:
                method, given, options = connection.recv()
            except EOFError:
                return  # nobody asks any more
            try:
                value = getattr(library, method)(*(_named(library, w) for w in given), **options)
            except _FOR_THE_ASKER as error:
                connection.send(("raised", error))
            else:
                connection.send(("returned", value if _is_plain(value) else None))


def _named(library: EmulatedLibrary, word: Any) -> Any:
    if word == "changer":
        return library.changer
    if isinstance(word, str) and word.startswith("drive "):
        return library.drives[int(word.removeprefix("drive "))]
    return word


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | bytes | Path | list)
