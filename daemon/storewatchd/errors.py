"""Every error that the daemon raises on purpose, in one tree.

    StorewatchError
      ConfigError          path, key
      RuleError            path, line, column
        ExpressionError    a PromQL expression is wrong at one place
        TemplateError      a label or annotation template is wrong at one place
      ProbeError           probe
        ProbeAbsent        there is no such hardware or facility here; quiet
        ProbeDeferred      looking would have disturbed the work of the machine
        ProbeFailed        it is there, and it could not be looked at
          ReadStuck        a read has not answered within its bound; the key stays closed
          ReadRefused      the kernel answered with an error number
      Malformed            bytes cannot be what they should be: what, at, expected
      RecordingError       a recording cannot be read
      LockedElsewhere      another process has a lock; holder
      JournalError         state.db cannot be opened or written
        JournalDamaged     it is there, and is no whole journal
        JournalRefused     it will never take these lines
      StoreError           PostgreSQL refused, is away, or answered with an error
        StoreRefused       PostgreSQL will never take these values
        StoreUnavailable   no connection could be had
          StoreAbsent      by configuration there is no PostgreSQL
      RequestError         maps to one JSON-RPC code each, in storewatchd.control.errors
        InvalidParams, NotFound, Conflict, Forbidden, Unauthenticated, Unavailable, LimitReached

An error keeps its facts as attributes; `str()` of it is the sentence.
"""


class StorewatchError(Exception):
    """The root of the tree; the sentence is lower case and has no full stop."""


class ConfigError(StorewatchError):
    """A setting is unknown, of the wrong type, or out of range."""

    def __init__(self, path: str, key: str, *, expected: str, found: str) -> None:
        self.path = path
        self.key = key
        self.expected = expected
        self.found = found

    def __str__(self) -> str:
        where = f"{self.path}: {self.key}" if self.key else self.path
        return f"{where}: expected {self.expected}, found {self.found}"


class RuleError(StorewatchError):
    """A rule file, expression or template is wrong at a place.

    `line` and `column` count from 1 in the file `path`, or in the expression where `path` is
    empty; 0 means that no place is known.
    """

    def __init__(self, message: str, *, path: str = "", line: int = 0, column: int = 0) -> None:
        self.message = message
        self.path = path
        self.line = line
        self.column = column

    def __str__(self) -> str:
        place = ":".join(
            str(part) for part in (self.path, self.line, self.column if self.line else 0) if part
        )
        return f"{place}: {self.message}" if place else self.message


class ExpressionError(RuleError):
    """A PromQL expression cannot be parsed, or asks for what this engine refuses."""


class TemplateError(RuleError):
    """A template cannot be parsed or rendered."""


class ProbeError(StorewatchError):
    """A probe did not deliver a frame."""

    def __init__(self, reason: str, *, probe: str = "") -> None:
        self.reason = reason
        self.probe = probe

    def __str__(self) -> str:
        return f"{self.probe}: {self.reason}" if self.probe else self.reason


class ProbeAbsent(ProbeError):
    """There is no such hardware or facility on this machine."""


class ProbeDeferred(ProbeError):
    """Looking now would have disturbed the work of the machine."""


class ProbeFailed(ProbeError):
    """Something that is there could not be looked at."""


class ReadStuck(ProbeFailed):
    """A read has not answered within its bound; `since` is when it began (Unix seconds)."""

    def __init__(self, reason: str, *, key: str, since: float, probe: str = "") -> None:
        super().__init__(reason, probe=probe)
        self.key = key
        self.since = since


class ReadRefused(ProbeFailed):
    """The kernel answered a read with `errno`."""

    def __init__(self, reason: str, *, errno: int, probe: str = "") -> None:
        super().__init__(reason, probe=probe)
        self.errno = errno


class LockedElsewhere(StorewatchError):
    """Another process has a lock; `holder` is its pid as text, or nothing where it says none."""

    def __init__(self, holder: str) -> None:
        self.holder = holder or "unknown"

    def __str__(self) -> str:
        return f"another process (pid {self.holder}) has it"


class Malformed(StorewatchError):
    """These bytes cannot be what they should be.

    `what` names it, `at` is the offset of the first byte that is wrong, `expected` is in words.
    """

    def __init__(self, what: str, at: int, expected: str) -> None:
        self.what = what
        self.at = at
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.what}, byte {self.at}: expected {self.expected}"


class RecordingError(StorewatchError):
    """These bytes are no recording, or a damaged one."""


class JournalError(StorewatchError):
    """The journal cannot be opened, read or written."""


class JournalDamaged(JournalError):
    """The file is there, and is damaged or no journal."""


class JournalRefused(JournalError):
    """The lines themselves are why they were not written: waiting changes nothing."""


class StoreError(StorewatchError):
    """PostgreSQL answered with an error."""


class StoreRefused(StoreError):
    """PostgreSQL will never take what it was given: the values themselves are the reason."""


class StoreUnavailable(StoreError):
    """PostgreSQL cannot be reached."""


class StoreAbsent(StoreUnavailable):
    """There is no PostgreSQL to reach, by configuration."""


class RequestError(StorewatchError):
    """A request cannot be answered as asked."""

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts


class InvalidParams(RequestError):
    """A parameter is missing, unknown or wrong; the message names it."""


class NotFound(RequestError):
    """The id or name that was asked for is not known."""


class Conflict(RequestError):
    """The request contradicts what is already so."""


class Forbidden(RequestError):
    """The caller is known and lacks a permission."""


class Unauthenticated(RequestError):
    """The bearer token is missing, unknown, expired or revoked."""


class Unavailable(RequestError):
    """A part that the request needs is away for now."""


class LimitReached(RequestError):
    """A bound that protects the daemon was reached."""
