"""An hour of trouble in two minutes: what goes wrong when, and how it is put right.

A step that is over too soon for a look is waited for: `is_seen` says when the daemon has seen it.
What puts something right `needs` that its alert has fired. Rules wait `FASTER` times shorter than
those that ship.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lab.demo_programs import Programs
from lab.demo_stage import BACKUP, ESX, STRANGER, TARGET_A, TARGET_B, VEEAM, Stage

LENGTH_S = 125.0


@dataclass
class Told:
    """What the daemon has told so far: of alerts the rule and what it is about."""

    fired: list[tuple[str, str]] = field(default_factory=list)
    resolved: list[tuple[str, str]] = field(default_factory=list)
    tape: list[tuple[str, str]] = field(default_factory=list)
    """Kinds, and the code of what has one."""
    last_id: str | None = None

    @property
    def rules(self) -> set[str]:
        return {rule for rule, _ in self.fired}

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
    needs: tuple[str, ...] = ()
    """Rules that have to have fired before."""


LEFT_OUT = {
    "DriveHeldIdle": "a job has to hold a drive for six hours",
    "DriveStuck": "a command has to last six hours",
    "DriveUnread": "a job has to hold a drive for a day",
    "TapeNotStreaming": "five minutes have to be written",
    "DifErrors": "what SCST answers from its work queue is read every five minutes",
    "LunLatencyHigh": "SCST's tables of latency are read once a minute",
    "LunLatencyCritical": "SCST's tables of latency are read once a minute",
}
"""Rules of SCST, tapes, virtual libraries and the next start that do not fire in two minutes, and
why."""

NEED_ROOT = {"ScstManagementStuck", "VtlStoreFull"}
"""Those of which the trouble needs a mount."""


def _together(*acts: Callable[[], object]) -> Callable[[], object]:
    return lambda: [act() for act in acts]


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

    def logged_in(times: int) -> Callable[[Told], bool]:
        expr = f'sum(scst_initiator_logins_total{{initiator="{BACKUP}"}}) >= {times}'
        return lambda _: bool(programs.rows(expr))

    vtl, first_virtual, second_virtual = stage.vtl, *stage.vtl.drives
    play = [
        # What was wrong before. Files behind LUNs, scst.conf and the next start are looked at every
        # few minutes only.
        Step(
            0,
            "it was like that before: the file behind the LUN vm-b is deleted, that of vm-c has"
            f" grown; {VEEAM}, which is here day and night, is missing; scst.conf is not what SCST"
            " does; the next kernel lacks mhvtl (`storewatchctl boot check`); the store of virtual"
            " cartridges will be full in three days",
            lambda: None,
        ),
        Step(
            1,
            f"the target {TARGET_B} is disabled: TargetDisabled waits a minute, here 3 seconds",
            lambda: stage.target_b.enable(is_enabled=False),
        ),
        Step(2, "a label cannot be read any more", lambda: stage.spoil_label(is_spoilt=True)),
        Step(
            3,
            f"the drive {second} vanishes: `storewatchctl alerts list --state pending`",
            lambda: library.vanish(library.drives[1]),
        ),
        Step(4, f"the initiator {ESX} leaves by one of two paths", stage.leave),
        Step(5, "both mail slots are full", lambda: stage.fill_mail(is_full=True)),
        Step(6, "a slot reports an exception", lambda: stage.spoil_slot(is_spoilt=True)),
        Step(
            7,
            f"the daemon of the virtual drive {first_virtual} is suspended: it is half up",
            lambda: vtl.suspend(is_suspended=True),
        ),
        Step(8, f"the virtual drive {second_virtual} is stopped", vtl.stop_drive),
        Step(
            9,
            "the stop of the virtual library's unit has hung for a minute",
            lambda: vtl.hang_stop(hangs=True),
        ),
        Step(
            10,
            "the task nightly fails: `storewatchctl tasks show nightly` has its last words",
            lambda: programs.run_task("nightly", "echo 'no space left on archive' >&2; exit 3"),
            fires("TaskFailed"),
        ),
        Step(
            12,
            "SCST is suspended, and all I/O stands still",
            lambda: stage.suspend(is_suspended=True),
            fires("ScstSuspended"),
        ),
        Step(
            13,
            f"{ESX} gives up all that it asked vm-a for, and resets it: SCST tells that at once"
            " (`storewatchctl events --type scst`)",
            stage.give_up,
            fires("InitiatorResetting"),
        ),
        Step(
            14,
            f"{STRANGER} looks for storage that it does not have, again and again",
            stage.knock,
            fires("MaskedInitiatorInsists"),
        ),
        Step(
            15,
            "the module scst_vdisk is not loaded, though scst.conf needs it",
            lambda: stage.load_module(is_loaded=False),
        ),
        Step(17, "SCST is resumed", lambda: stage.suspend(is_suspended=False)),
        Step(18, "the driver scst_local loses its only target", stage.lose_target),
        Step(19, "a handler of SCST ends, with its device", stage.lose_handler),
        Step(20, "the device vm-b is blocked", lambda: stage.tree.block("vm-b")),
        Step(21, f"{TARGET_A} swallows commands", lambda: stage.swallow(is_on=True)),
        Step(22, "a command for the LUN vm-a does not end", lambda: stage.stick(is_stuck=True)),
        Step(23, "SCST tells of a medium error, in the kernel's log only", stage.log_error),
        *(
            Step(
                24 + 0.7 * number,
                f"{BACKUP} logs in" + (", again" if number else ""),
                stage.log_in_again,
                logged_in(number + 1),
            )
            for number in range(7)
        ),
        Step(
            30,
            f"LAB003L8, which has been loaded 19,000 times, is loaded into the drive {first}:"
            " `storewatchctl events --type tape`",
            lambda: library.load(3, 0),
            tells("loaded"),
        ),
        Step(
            33,
            f"bareos-sd writes to the drive {first}, which is left alone now:"
            " `storewatchctl metrics --query tape_drive_holder`, and"
            " 'rate(node_tape_written_bytes_total[10s])'",
            stage.begin_job,
            lambda _: bool(programs.rows("tape_drive_holder")),
        ),
        Step(43, "bareos-sd is done, and lets the drive go", stage.end_job),
        Step(
            45,
            f"the drive {first} raises the TapeAlert flags 3 and 4: watch"
            " `storewatchctl alerts list`",
            lambda: stage.raise_flag(3, 4),
            fires("TapeAlertCritical"),
        ),
        Step(
            50,
            "the cartridge is unloaded and the drive takes its flags back",
            stage.unload,
            tells("unloaded"),
            needs=("TapeAlertWarning", "CartridgeHealth"),
        ),
        Step(
            52,
            f"the drive {first} asks to be cleaned, and there is no cleaning cartridge",
            lambda: stage.ask_for_cleaning(asks=True),
            fires("DriveNeedsCleaning"),
        ),
        Step(
            58,
            "a start of the machine is planned: what is wrong with it is critical now",
            lambda: vtl.plan_start(is_planned=True),
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
            needs=(
                "MailSlotFull",
                "LibraryException",
                "DuplicateOrUnreadableBarcode",
                "CleaningRunOut",
            ),
        ),
        Step(
            74,
            "the library shows its cartridges again: all of them are where they were",
            library.mend_inventory,
            ends("ProbeBlind", "library_inventories"),
        ),
        Step(
            78,
            "a tool hangs that asks the library: `storewatchctl probes list` shows that everything"
            " else goes on",
            stage.hang_library,
            lambda _: stage.holds_a_tool,
        ),
        Step(
            84,
            "the library answers again: the tool lets go",
            lambda: library.release(library.changer),
        ),
        Step(
            86,
            "the library is taken offline, and says so to who asks for its TapeAlert flags",
            _together(
                lambda: stage.flag_offline(is_on=False),
                lambda: programs.ask_flags(library.changer.serial),
                lambda: stage.switch_library(is_on=False),
            ),
            fires("LibraryFault"),
        ),
        # All of it is put right.
        Step(
            94,
            "recovery: the task nightly succeeds",
            lambda: programs.run_task("nightly", "echo done"),
            ends("TaskFailed"),
        ),
        Step(
            95,
            f"recovery: {TARGET_B} is enabled",
            lambda: stage.target_b.enable(),
            needs=("TargetDisabled",),
        ),
        Step(
            96,
            "recovery: the files behind vm-b and vm-c are as SCST has them, which is seen when two"
            " minutes are over",
            _together(stage.restore_backing, stage.show_new_size),
            needs=("LunBackingMissing", "LunSizeOutdated"),
        ),
        Step(
            97,
            f"recovery: {ESX} logs in again, and {VEEAM} too",
            _together(stage.come_again, lambda: stage.target_a.log_in(VEEAM)),
            needs=("MultipathLostAtTarget", "ExpectedInitiatorMissing"),
        ),
        Step(
            98,
            "recovery: vm-b is unblocked, no command is stuck, none is swallowed",
            _together(
                lambda: stage.tree.block("vm-b", count=0),
                lambda: stage.stick(is_stuck=False),
                lambda: stage.swallow(is_on=False),
            ),
            needs=("LunBlocked", "LunStuck", "BlackHoleActive"),
        ),
        Step(
            99,
            "recovery: scst_local has its target, and the handler and the module are back",
            _together(
                stage.add_target_again,
                stage.find_handler,
                lambda: stage.load_module(is_loaded=True),
            ),
            needs=(
                *("ScstTargetsLost", "ScstHandlerGone", "LunBackendErrors", "SessionFlapping"),
                *("InitiatorAborting", "MaskedOrUnknownInitiator", "ScstModuleMissing"),
            ),
        ),
        Step(
            100,
            "recovery: the virtual drives and their library run",
            _together(
                lambda: vtl.suspend(is_suspended=False),
                vtl.start_drive,
                lambda: vtl.hang_stop(hangs=False),
            ),
            needs=("VtlHalfUp", "VtlDown", "VtlStopHangs"),
        ),
        Step(
            101,
            "recovery: the module is built for the next kernel, and no start is planned",
            _together(vtl.build_module, lambda: vtl.plan_start(is_planned=False)),
            needs=("NextBootNotReady", "ScstConfigDrift", "VtlStoreRunway"),
        ),
        Step(
            102,
            f"recovery: the library is online, and the drive {second} comes back; the drive {first}"
            " is clean; labels, slots and mail slots are in order",
            _together(
                lambda: stage.flag_offline(is_on=True),
                lambda: stage.switch_library(is_on=True),
                lambda: programs.ask_flags(library.changer.serial),
                lambda: programs.ask_flags(library.changer.serial),
                lambda: library.come_back(library.drives[1]),
                lambda: stage.ask_for_cleaning(asks=False),
                lambda: stage.spoil_label(is_spoilt=False),
                lambda: stage.spoil_slot(is_spoilt=False),
                lambda: stage.fill_mail(is_full=False),
            ),
            needs=("LibraryOffline", "DriveOffline"),
        ),
        Step(
            110,
            "SCST is unloaded: hosts have nothing",
            lambda: stage.hide_scst(is_hidden=True),
            fires("ScstDown"),
        ),
        Step(114, "recovery: SCST is loaded", lambda: stage.hide_scst(is_hidden=False)),
    ]
    if stage.has_own_repositories:
        play += [
            Step(
                11,
                "the repository daily fills to 85 %: watch `storewatchctl alerts list`",
                lambda: stage.fill("daily", 85),
                fires("StorageCapacityWarning"),
            ),
            Step(
                21.5,
                "an operation of SCST's management does not end",
                lambda: stage.jam(is_jammed=True),
            ),
            Step(
                44,
                "the store of virtual cartridges is all but full",
                lambda: vtl.fill_store(90),
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
            Step(
                103,
                "recovery: SCST's management goes on, and the store has room again",
                _together(lambda: stage.jam(is_jammed=False), vtl.use_store),
                needs=("ScstManagementStuck", "VtlStoreFull"),
            ),
        ]
    return sorted(play, key=lambda step: step.at_s)
