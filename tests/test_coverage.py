"""The core is covered by its own tests, every branch of it, as a test."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.meter import METER

ROOT = Path(__file__).parent.parent
CORE_TESTS = set((ROOT / "tests" / "core").rglob("test_*.py"))
CORE = "*/storewatchd/core/*"


def coverage(*words: str, data_file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-m", "coverage", *words],
        cwd=ROOT,
        env={**os.environ, "COVERAGE_FILE": str(data_file)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.mark.timeout(300)  # only `packaging/dev test` has measured already
def test_the_core_is_covered_by_its_own_tests(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    items = request.session.items
    ran = {item.path for item in items[: items.index(request.node)]}
    if METER is None or not ran >= CORE_TESTS:
        data_file = tmp_path / "coverage"
        run = ("run", "--source=storewatchd.core", "-m", "pytest", "-q", "tests/core")
        coverage(*run, data_file=data_file)
        coverage("report", "--fail-under=100", f"--include={CORE}", data_file=data_file)
        return
    table = io.StringIO()
    percent = METER.report(include=[CORE], file=table)
    assert percent == 100, table.getvalue()
