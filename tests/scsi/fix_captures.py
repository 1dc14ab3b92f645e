"""What real tools received and printed: answers as bytes, runs of tools as text.

`mtx-1.3.12` and `sg3_utils` are runs against mhvtl 1.8.0, tgt 1.0.85 and an emulated library;
the rest are the bytes that sg_raw and others received, named by device and state.
"""

import functools
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CAPTURES = Path(__file__).parent.parent / "data" / "scsi" / "captures.tar.xz"


@dataclass(frozen=True)
class Run:
    """One run of a tool; `status` is negative for a signal and None for what never ended."""

    name: str
    tool: str
    status: int | None
    stdout: bytes
    stderr: str


@functools.cache
def members() -> dict[str, bytes]:
    with tarfile.open(CAPTURES) as archive:
        files = {member.name: archive.extractfile(member) for member in archive.getmembers()}
        return {name: file.read() for name, file in files.items() if file is not None}


def answer(name: str) -> bytes:
    return members()[f"{name}.bin"]


def answers(kind: str) -> list[str]:
    return sorted(name[:-4] for name in members() if name.startswith(f"{kind}/"))


@functools.cache
def runs(file: str) -> dict[str, Run]:
    lines: list[dict[str, Any]] = [json.loads(line) for line in members()[file].splitlines()]
    return {
        line["name"]: Run(
            line["name"],
            line.get("tool", "mtx"),
            line["status"],
            line.get("stdout", "").encode("latin-1"),
            line["stderr"],
        )
        for line in lines
    }


def mtx_runs() -> dict[str, Run]:
    return runs("mtx-1.3.12/status.jsonl")


def sg_runs() -> dict[str, Run]:
    return runs("sg3_utils/stderr.jsonl")
