"""What the single writer takes, in the order in which it comes: looks, scopes and commands."""

from dataclasses import dataclass

from storewatchd.core.commands import Command, CreateAlert
from storewatchd.core.frames import Frame, Scope


@dataclass(frozen=True, slots=True)
class Expected:
    """Which scopes a probe has."""

    probe: str
    scopes: tuple[Scope, ...]


@dataclass(frozen=True, slots=True)
class Once:
    """The creation of an alert that is to be done once for its key, however often it is asked."""

    key: str
    command: CreateAlert


Input = Frame | Expected | Once | Command
