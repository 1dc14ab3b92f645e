"""What the TapeAlert flags mean: names, severities, and what to do.

Numbers, names and severities are T10's: SSC-4 annex A for drives, SMC-3 annex A for libraries. A
flag has one meaning for a drive and another for a library. The advice is ours.
"""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """T10's classes: C, W and I."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. `severity` is None for a number that T10 has not assigned."""

    number: int
    name: str
    severity: Severity | None
    advice: str


C, W, I = Severity  # noqa: E741  # as T10's tables write them

_DRIVE = (
    (1, "read warning", W, "Reading gets hard: clean the drive, and if it stays, copy the tape."),
    (2, "write warning", W, "Writing gets hard: clean the drive, then try another cartridge."),
    (3, "hard error", W, "A read or write failed for good: flags 4, 5 and 6 tell who is bad."),
    (4, "media", C, "The cartridge is at fault: copy its data off and stop using it."),
    (5, "read failure", C, "Reading failed: try the cartridge in another drive to see who is bad."),
    (6, "write failure", C, "Writing failed: try another cartridge to see who is bad."),
    (7, "media life", W, "The cartridge is past its rated life: copy it and retire it."),
    (8, "not data grade", W, "The cartridge is not made for data: copy it and replace it."),
    (
        9,
        "write protect",
        C,
        "A job tried to write to a protected cartridge: move its tab or label.",
    ),
    (10, "no removal", I, "A host keeps the cartridge locked in: end its job before unloading."),
    (11, "cleaning media", I, "A cleaning cartridge is in the drive: wait until it is ejected."),
    (12, "unsupported format", I, "This drive cannot use the cartridge: use the right generation."),
    (
        13,
        "recoverable mechanical cartridge failure",
        C,
        "Tape or shell broke, and the cartridge came out: retire it and check the drive.",
    ),
    (
        14,
        "unrecoverable mechanical cartridge failure",
        C,
        "Tape or shell broke, and the cartridge is stuck: do not force it, call service.",
    ),
    (
        15,
        "memory chip in cartridge failure",
        W,
        "The chip of the cartridge fails: copy its data when there is time and retire it.",
    ),
    (16, "forced eject", C, "Somebody took the cartridge out while in use: check the last job."),
    (17, "read only format", W, "This drive can only read that generation: write to another."),
    (
        18,
        "tape directory corrupted on load",
        W,
        "The index of the tape is bad and seeking is slow: read the tape to its end once.",
    ),
    (19, "nearing media life", I, "The cartridge is near its rated life: plan its replacement."),
    (20, "clean now", C, "The drive must be cleaned before any more work."),
    (21, "clean periodic", W, "The drive is due for cleaning: clean it when it is idle."),
    (22, "expired cleaning media", C, "The cleaning cartridge is used up: put in a new one."),
    (23, "invalid cleaning tape", C, "The cleaning cartridge is of the wrong kind: replace it."),
    (24, "retension requested", W, "The drive asks for a retension pass of the tape."),
    (25, "multi-port interface error", W, "One host port of the drive failed: check its cable."),
    (26, "cooling fan failure", W, "A fan in the drive failed: have it replaced soon."),
    (27, "power supply failure", W, "A redundant power supply of the drive failed: replace it."),
    (28, "power consumption", W, "The drive draws power outside its limits: call service."),
    (29, "drive preventive maintenance required", W, "Maintenance of the drive is due: plan it."),
    (30, "hardware A", C, "The drive has a fault that a reset may clear: reset it, then test it."),
    (
        31,
        "hardware B",
        C,
        "The drive fails its self test: switch it off and on, then call service.",
    ),
    (32, "primary interface", W, "Trouble on the host connection: check cable, port and adapter."),
    (33, "eject media", C, "The operation failed: unload the cartridge, load it again and retry."),
    (34, "microcode update fail", W, "A firmware update failed: check the file and repeat it."),
    (35, "drive humidity", W, "Humidity at the drive is outside its limits: see to the room."),
    (36, "drive temperature", W, "The drive is too hot or too cold: see to its cooling."),
    (37, "drive voltage", W, "The supply voltage is outside its limits: check the power supply."),
    (38, "predictive failure", C, "The drive expects to fail: have it replaced now."),
    (39, "diagnostics required", W, "The drive asks for its diagnostics to be run."),
    (
        40,
        "loader hardware A",
        C,
        "The autoloader cannot talk to the drive: restart it, check both.",
    ),
    (41, "loader stray tape", C, "A cartridge was left behind in the autoloader: take it out."),
    (42, "loader hardware B", W, "The autoloader's mechanism has trouble: have it checked."),
    (43, "loader door", C, "The door of the autoloader is open: close it."),
    (44, "loader hardware C", C, "The autoloader's mechanism has failed: call service."),
    (45, "loader magazine", C, "The autoloader has no magazine: put it in."),
    (46, "loader predictive failure", W, "The autoloader expects to fail: have it checked."),
    (50, "lost statistics", W, "Statistics were lost at a power cycle: ignore a jump in counters."),
    (
        51,
        "tape directory invalid at unload",
        W,
        "The index could not be written: load the tape again and read it to its end.",
    ),
    (
        52,
        "tape system area write failure",
        C,
        "The system area of the tape cannot be written: copy the data off.",
    ),
    (
        53,
        "tape system area read failure",
        C,
        "The system area of the tape cannot be read: copy the data off in another drive.",
    ),
    (54, "no start of data", C, "The tape has no start of data: check its format; it may be bad."),
    (55, "loading or threading failure", C, "The tape could not be threaded: try another one."),
    (56, "unrecoverable unload failure", C, "The cartridge cannot be unloaded: call service."),
    (57, "automation interface failure", C, "Drive and library lost each other: check their link."),
    (58, "microcode failure", W, "The firmware of the drive failed: update it, then call service."),
    (
        59,
        "WORM medium integrity check failed",
        W,
        "A WORM cartridge shows signs of tampering or damage: keep it and find out why.",
    ),
    (60, "WORM medium overwrite attempted", W, "A job tried to overwrite WORM data: find which."),
    (
        61,
        "encryption policy violation",
        W,
        "An operation broke the encryption policy: check the keys and who asked for it.",
    ),
)

_LIBRARY = (
    (1, "library hardware A", C, "The changer has trouble talking to a drive: check their link."),
    (2, "library hardware B", W, "The changer's mechanism has trouble: have it checked."),
    (3, "library hardware C", C, "The changer has a fault that a reset may clear: reset it."),
    (4, "library hardware D", C, "The changer needs to be switched off and on, then service."),
    (5, "library diagnostics required", W, "The library asks for its diagnostics to be run."),
    (6, "library interface", C, "Trouble on the host connection: check cable, port and adapter."),
    (7, "failure prediction", W, "The library expects to fail: have it checked."),
    (8, "library maintenance", W, "Maintenance of the library is due: plan it."),
    (9, "library humidity limits", C, "Humidity is outside its limits: see to the room."),
    (10, "library temperature limits", C, "The library is too hot or too cold: see to the room."),
    (11, "library voltage limits", C, "The supply voltage is outside its limits: check power."),
    (12, "library stray tape", C, "A cartridge was left in the robot or a drive: take it out."),
    (13, "library pick retry", W, "Picking needs many tries: look at the slot and the cartridge."),
    (14, "library place retry", W, "Placing needs many tries: look at the slot and the cartridge."),
    (15, "library load retry", W, "Loading needs many tries: look at the drive and the cartridge."),
    (16, "library door", C, "A door is open and nothing moves: close it."),
    (17, "library mailslot", C, "The mail slot has a mechanical problem: look at it."),
    (18, "library magazine", C, "A magazine is missing: put it back."),
    (19, "library security", W, "The door was opened while in use: find out who did it."),
    (20, "library security mode", I, "The security mode was changed: check that it was meant."),
    (21, "library offline", I, "Somebody took the library offline: put it online when done."),
    (22, "library drive offline", I, "The library took a drive offline: look at that drive."),
    (23, "library scan retry", W, "Bar codes are hard to read: look at labels and scanner."),
    (24, "library inventory", C, "The inventory is inconsistent: have the library take it again."),
    (25, "library illegal operation", W, "An operation was tried that is not allowed now."),
    (
        26,
        "dual-port interface error",
        W,
        "A redundant port of the library failed: check its cable.",
    ),
    (27, "cooling fan failure", W, "A fan of the library failed: have it replaced soon."),
    (28, "power supply", W, "A redundant power supply of the library failed: replace it."),
    (29, "power consumption", W, "The library draws power outside its limits: call service."),
    (30, "pass-through mechanism failure", C, "Passing between frames failed: call service."),
    (31, "cartridge in pass-through mechanism", C, "A cartridge is stuck between frames: free it."),
    (32, "unreadable bar code labels", I, "Some labels cannot be read: find and replace them."),
)


def _table(rows: tuple[tuple[int, str, Severity, str], ...]) -> dict[int, Flag]:
    flags = {row[0]: Flag(*row) for row in rows}
    advice = "T10 has not assigned this flag: ask the vendor what it means."
    return {n: flags.get(n) or Flag(n, f"flag {n}", None, advice) for n in range(1, 65)}


DRIVE_FLAGS: dict[int, Flag] = _table(_DRIVE)
"""All 64 flags of tape drives (peripheral device type 1)."""

LIBRARY_FLAGS: dict[int, Flag] = _table(_LIBRARY)
"""All 64 flags of libraries (peripheral device type 8)."""
