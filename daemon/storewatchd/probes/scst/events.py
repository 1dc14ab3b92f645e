"""Decodes what /dev/scst_event says: the events of SCST's core. Pure.

The layout is that of SCST's public header (scst/include/scst_event.h, 3.x): struct scst_event of
payload_len, event_code, event_id and issuer_name, in the byte order of the machine, and behind it
the payload of its code. Names are ended by a NUL.
"""

import struct
from dataclasses import dataclass

from storewatchd.errors import Malformed
from storewatchd.scsi.commands import command_name

CORE = "SCST core"

_HEAD = struct.Struct("=iII50s")
_NAME_BYTES = 256
_LUN_NOT_FOUND = struct.Struct("=Q256s256s")
_MASKED = struct.Struct("=256s256s")
# 4 bytes before the LUN and none behind the CDB: 64-bit numbers are aligned.
_TASK_MANAGEMENT = struct.Struct("=I4xQ256s256s256s256sQ16s")
_VIRTUAL_DEVICE = struct.Struct("=60s")

# SCST_MAX_LUN, 14 bits; what cannot be a LUN at all is told as all ones (NO_SUCH_LUN).
_MAX_LUN = 0x3FFF

FUNCTIONS = (
    *("abort_task", "abort_task_set", "clear_aca", "clear_task_set", "lun_reset", "target_reset"),
    *("nexus_loss_session", "abort_all_tasks_session", "nexus_loss", "abort_all_tasks"),
    *("unregister_session", "persistent_reservation_abort"),
)
"""Task management functions by number (scst_const.h). The first six are what initiators ask for;
the others are SCST's own, as when a session ends."""

ABORTS = frozenset(("abort_task", "abort_task_set", "clear_task_set"))
RESETS = frozenset(("lun_reset", "target_reset"))

_OF_A_LUN = frozenset(
    ("abort_task", "abort_task_set", "clear_aca", "clear_task_set", "lun_reset")
) | {"persistent_reservation_abort"}


@dataclass(frozen=True, slots=True)
class LunNotFound:
    """An initiator asked for a LUN that it does not have. `lun` is empty for what is none."""

    initiator: str
    target: str
    lun: str


@dataclass(frozen=True, slots=True)
class MaskedInitiator:
    """An initiator looked at a target that shows it no LUN."""

    initiator: str
    target: str


@dataclass(frozen=True, slots=True)
class TaskManagement:
    """A task management function. LUN and device are empty where it is of a whole target or
    session; `command` is what an ABORT TASK is for, empty where SCST did not find that any more:
    of its CDB only the operation code is sure, for what is behind a zero may be cut off."""

    function: str
    initiator: str
    target: str
    session: str
    lun: str = ""
    device: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class VirtualDevice:
    """A virtual device was registered."""

    device: str


Event = LunNotFound | MaskedInitiator | TaskManagement | VirtualDevice


def parse_event(raw: bytes) -> Event | None:
    """Return what an event says, None for one that nobody here asked for.

    Raises:
        Malformed: it is no event, or its payload is not that of its code.
    """
    if len(raw) < _HEAD.size:
        raise Malformed("an event of SCST", len(raw), f"{_HEAD.size} bytes of a head")
    length, code, _, issuer = _HEAD.unpack_from(raw)
    if _text(issuer, 12) != CORE:
        return None
    match code:
        case 1:
            lun, initiator, target = _payload(raw, length, _LUN_NOT_FOUND)
            at = _HEAD.size + 8
            who, where = _name(initiator, at), _name(target, at + _NAME_BYTES)
            return LunNotFound(who, where, _lun(lun))
        case 2:
            initiator, target = _payload(raw, length, _MASKED)
            at = _HEAD.size
            return MaskedInitiator(_name(initiator, at), _name(target, at + _NAME_BYTES))
        case 4:
            return _task_management(_payload(raw, length, _TASK_MANAGEMENT))
        case 6:
            (device,) = _payload(raw, length, _VIRTUAL_DEVICE)
            return VirtualDevice(_name(device, _HEAD.size))
        case _:
            return None


def _task_management(fields: tuple[int | bytes, ...]) -> TaskManagement:
    number, lun, device, initiator, target, session, tag, cdb = fields
    assert isinstance(number, int)
    assert isinstance(lun, int)
    assert isinstance(cdb, bytes)
    if number >= len(FUNCTIONS):
        raise Malformed("an event of SCST", _HEAD.size, f"a function below {len(FUNCTIONS)}")
    function = FUNCTIONS[number]
    at = _HEAD.size + 16
    command = ""
    if function == "abort_task" and (tag or cdb.strip(b"\0")):
        command = command_name(cdb[0])
    is_of_a_lun = function in _OF_A_LUN
    return TaskManagement(
        function,
        _name(initiator, at + _NAME_BYTES),
        _name(target, at + 2 * _NAME_BYTES),
        _text(session, at + 3 * _NAME_BYTES),
        lun=_lun(lun) if is_of_a_lun else "",
        device=_text(device, at) if is_of_a_lun else "",
        command=command,
    )


def _payload(raw: bytes, length: int, layout: struct.Struct) -> tuple[int | bytes, ...]:
    if length != layout.size:
        raise Malformed("an event of SCST", 0, f"a payload of {layout.size} bytes, found {length}")
    if len(raw) < _HEAD.size + length:
        raise Malformed("an event of SCST", len(raw), f"{_HEAD.size + length} bytes")
    return layout.unpack_from(raw, _HEAD.size)


def _name(field: int | bytes, at: int) -> str:
    text = _text(field, at)
    if not text:
        raise Malformed("an event of SCST", at, "a name")
    return text


def _text(field: int | bytes, at: int) -> str:
    """Return a text that a NUL ends. What nobody can print is kept as \\xNN or \\uNNNN, so that two
    names never look the same."""
    assert isinstance(field, bytes)
    text, end, _ = field.partition(b"\0")
    if not end:
        raise Malformed("an event of SCST", at + len(field), "a NUL that ends the text")
    shown = text.decode(errors="surrogateescape")
    return "".join(
        one if one.isprintable() and one != "\\" else _escaped(ord(one)) for one in shown
    )


def _escaped(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"


def _lun(number: int | bytes) -> str:
    assert isinstance(number, int)
    return str(number) if number <= _MAX_LUN else ""
