"""The code is as strict as it says: ruff, its formatter, mypy --strict."""

from __future__ import annotations

import subprocess
import sys

import pytest

from guiji.settings import ROOT

PLACES = ["include", "dags", "plugins", "tests", "benchmarks"]


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", *PLACES], ["ruff", "format", "--check", *PLACES], ["mypy"]],
    ids=["ruff check", "ruff format", "mypy"],
)
@pytest.mark.timeout(900)
def test_code_is_clean(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_launcher_is_posix_sh() -> None:
    done = subprocess.run(["sh", "-n", str(ROOT / "guiji")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
