"""An hour of trouble in two minutes: what goes wrong when, and how it is put right.

A step that is over too soon for a look is waited for: `is_seen` says when the daemon has seen it.
Rules wait as long as always, whatever the speed of the play.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lab.demo_programs import Programs
from lab.demo_stage import ESX, TARGET_B, Stage

LENGTH_S = 125.0


@dataclass
class Told:
    """What the daemon has told so far: of alerts the rule and what it is about."""

    fired: list[tuple[str, str]] = field(default_factory=list)
    resolved: list[tuple[str, str]] = field(default_factory=list)
    tape: list[tuple[str, str]] = field(default_factory=list)
    """Kinds, and the code of what has one."""
    last_id: str | None = None

    def take(self, event: dict[str, Any]) -> str | None:
        """Note an event; return the line that tells of it, where there is one to print."""
        self.last_id = event["id"]
        kind, facts = event["kind"], event["data"]
        if event["type"] == "tape":
            self.tape.append((kind, facts.get("code", "") if "library" in facts else ""))
            return None
        if kind not in ("firing", "resolved"):
            return None
        alert = (str(facts.get("rule")), str(facts.get("resource_id")))
        if kind == "firing":
            self.fired.append(alert)
            mark = "FIRES"
        elif alert in self.fired:
            self.resolved.append(alert)
            mark = "ends"
        else:
            mark = "is over before it fired"
        return f"      {mark}  {facts.get('severity')}: {facts.get('title')}"


def _always(_: Told) -> bool:
    return True


@dataclass(frozen=True)
class Step:
    at_s: float
    line: str
    act: Callable[[], object]
    is_seen: Callable[[Told], bool] = _always


def steps(stage: Stage, programs: Programs) -> list[Step]:
    """Return the play, in order."""
    library = stage.library
    first, second = (drive.serial for drive in library.drives[:2])

    def fires(rule: str, about: str = "") -> Callable[[Told], bool]:
        return lambda told: any(r == rule and i.startswith(about) for r, i in told.fired)

    def ends(rule: str, about: str = "") -> Callable[[Told], bool]:
        return lambda told: any(r == rule and i.startswith(about) for r, i in told.resolved)

    def tells(kind: str, code: str = "") -> Callable[[Told], bool]:
        return lambda told: (kind, code) in told.tape

    play = [
        # What rules wait for comes first. Files behind LUNs are looked at every two minutes: one
        # has to be gone before the first look, and is back before the second.
        Step(
            0,
            "the file behind the LUN vm-b has been deleted: LunBackingMissing waits 30 seconds",
            lambda: None,
        ),
        Step(
            2,
            f"the target {TARGET_B} is disabled: TargetDisabled waits a minute",
            lambda: stage.target_b.enable(is_enabled=False),
        ),
        Step(
            4,
            "SCST is suspended, and all I/O stands still: ScstSuspended waits a minute",
            lambda: stage.suspend(is_suspended=True),
        ),
        Step(
            8,
            f"the drive {second} vanishes: DriveOffline waits 5 minutes, and does not fire in this"
            " play; `storewatchctl alerts list --state pending` has it",
            lambda: library.vanish(library.drives[1]),
        ),
        Step(
            10,
            f"the initiator {ESX} leaves by one of two paths: MultipathLostAtTarget waits 5 minutes"
            " too",
            stage.leave,
        ),
        Step(
            18,
            "the task nightly fails: `storewatchctl tasks show nightly` has its last words",
            lambda: programs.run_task("nightly", "echo 'no space left on archive' >&2; exit 3"),
            fires("TaskFailed"),
        ),
        Step(
            23,
            f"LAB003L8 is loaded into the drive {first}: `storewatchctl events --type tape`",
            lambda: library.load(3, 0),
            tells("loaded"),
        ),
        Step(
            27,
            f"bareos-sd writes to the drive {first}, which is left alone now:"
            " `storewatchctl metrics --query tape_drive_holder`, and"
            " 'rate(node_tape_written_bytes_total[10s])'",
            stage.begin_job,
            lambda _: bool(programs.rows("tape_drive_holder")),
        ),
        Step(37, "bareos-sd is done, and lets the drive go", stage.end_job),
        Step(
            40,
            f"the drive {first} raises TapeAlert 4: watch `storewatchctl alerts list`",
            lambda: stage.raise_flag(4),
            fires("TapeAlertCritical"),
        ),
        Step(
            47,
            "the cartridge is unloaded and the drive takes the flag back: the alert ends a minute"
            " after that",
            stage.unload,
            tells("unloaded"),
        ),
        Step(
            60,
            "somebody opens the library's door: nothing moves while it is open",
            lambda: library.door(open=True),
        ),
        Step(
            64,
            "the door is closed, and the library says that somebody was at it (28/00):"
            " `storewatchctl events --type tape`",
            lambda: library.door(open=False),
            tells("unit_attention", "28/00"),
        ),
        Step(
            68,
            "the library shows itself empty and says GOOD: nothing is believed, no cartridge is"
            " told to be removed, and ProbeBlind tells of it",
            library.corrupt_inventory,
            fires("ProbeBlind", "library_inventories"),
        ),
        Step(
            74,
            "the library shows its cartridges again: all of them are where they were",
            library.mend_inventory,
            ends("ProbeBlind", "library_inventories"),
        ),
        Step(
            82,
            "a tool hangs that asks the library: `storewatchctl probes list` shows that everything"
            " else goes on",
            stage.hang_library,
            lambda _: stage.holds_a_tool,
        ),
        Step(
            90,
            "the library answers again: the tool lets go",
            lambda: library.release(library.changer),
        ),
        Step(
            95,
            "recovery: the task nightly succeeds",
            lambda: programs.run_task("nightly", "echo done"),
            ends("TaskFailed"),
        ),
        Step(97, "recovery: SCST is resumed", lambda: stage.suspend(is_suspended=False)),
        Step(98, f"recovery: {TARGET_B} is enabled", lambda: stage.target_b.enable()),
        Step(
            99,
            "recovery: the file behind vm-b is put back, which is seen when two minutes are over",
            stage.restore_backing,
        ),
        Step(100, f"recovery: {ESX} logs in again", stage.come_again),
        Step(
            101,
            f"recovery: the drive {second} comes back",
            lambda: library.come_back(library.drives[1]),
            ends("ProbeBlind", "tape_drive_logs"),
        ),
    ]
    if stage.has_own_repositories:
        play += [
            Step(
                13,
                "the repository daily fills to 85 %: watch `storewatchctl alerts list`",
                lambda: stage.fill("daily", 85),
                fires("StorageCapacityWarning"),
            ),
            Step(
                54,
                "the repository daily fills to 97 %: `storewatchctl status` is unhealthy now",
                lambda: stage.fill("daily", 97),
                fires("StorageCapacityCritical"),
            ),
            Step(
                93,
                "recovery: the repository daily is emptied",
                lambda: stage.empty("daily"),
                ends("StorageCapacityCritical"),
            ),
        ]
    return sorted(play, key=lambda step: step.at_s)
