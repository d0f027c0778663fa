"""The launcher builds its environment once, whole, whoever calls it from wherever.

The installer here is a stand-in called ``uv`` (a test must not need the network); ``.ci/run`` on a fresh checkout goes
the real way.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from guiji.settings import ROOT

UV = """#!/bin/sh
# stands for uv: makes the environment without packages, and notes what it was asked
echo "$@" >> "$UV_LOG"
case "$1" in
  venv)
    for last in "$@"; do :; done
    exec "{python}" -m venv --without-pip "$last" ;;
  pip)
    if [ -n "${{UV_SLEEP:-}}" ]; then sleep "$UV_SLEEP"; fi
    exit "${{UV_EXIT:-0}}" ;;
esac
"""
MAIN = """import os, sys; print(sys.prefix, os.getcwd(), sys.argv[1:], sys.dont_write_bytecode)"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the real launcher and installer, a tiny package, and a stand-in for uv on PATH."""
    root = tmp_path / "a check out"
    (root / "include" / "guiji").mkdir(parents=True)
    shutil.copy2(ROOT / "guiji", root / "guiji")
    shutil.copy2(ROOT / "include" / "guiji" / "install.py", root / "include" / "guiji")
    (root / "include" / "guiji" / "__init__.py").touch()
    (root / "include" / "guiji" / "__main__.py").write_text(MAIN)
    (root / "requirements.txt").write_text("a==1\n")
    (tmp_path / "bin").mkdir()
    uv = tmp_path / "bin" / "uv"
    uv.write_text(UV.format(python=sys.executable))
    uv.chmod(0o755)
    return root


def launch(
    root: Path, *args: str, command: Path | None = None, cwd: Path | None = None, **env: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(command or root / "guiji"), *args],
        cwd=cwd or root,
        env={
            **os.environ,
            "PATH": f"{root.parent / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(root / "include"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "UV_LOG": str(root.parent / "uv.log"),
            **env,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(run: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = run.communicate(timeout=120)
    return run.returncode, out, err


def asked(root: Path) -> list[str]:
    return [line.split()[0] for line in (root.parent / "uv.log").read_text().splitlines()]


def test_first_use_builds_and_later_uses_do_not(checkout: Path) -> None:
    code, out, err = finish(launch(checkout, "catalog", "check"))
    assert (code, out) == (0, f"{checkout}/.venv {checkout} ['catalog', 'check'] False\n")
    assert "building the environment" in err
    assert finish(launch(checkout))[2] == ""
    assert asked(checkout) == ["venv", "pip"]


def test_it_runs_from_elsewhere_and_through_a_symlink(checkout: Path, tmp_path: Path) -> None:
    finish(launch(checkout))
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "g").symlink_to(os.path.relpath(checkout / "guiji", tmp_path / "links"))
    (tmp_path / "links" / "typing.py").write_text("raise SystemExit('a file of the working directory was imported')")
    code, out, err = finish(launch(checkout, "x", command=tmp_path / "links" / "g", cwd=tmp_path / "links"))
    assert (code, out, err) == (0, f"{checkout}/.venv {tmp_path}/links ['x'] False\n", "")


def test_two_first_uses_at_once_build_once(checkout: Path) -> None:
    runs = [launch(checkout, UV_SLEEP="1") for _ in range(3)]
    assert [finish(run)[0] for run in runs] == [0, 0, 0]
    assert asked(checkout) == ["venv", "pip"]


def test_a_build_that_was_killed_half_way_is_made_anew(checkout: Path) -> None:
    run = launch(checkout, UV_SLEEP="60")
    deadline = time.monotonic() + 60
    while not (checkout / ".venv" / "guiji.installing").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    (checkout / ".venv" / "left-over").touch()
    code, _, err = finish(launch(checkout))
    assert (code, "building it anew" in err, (checkout / ".venv" / "left-over").exists()) == (0, True, False)
    assert not (checkout / ".venv" / "guiji.installing").exists()


def test_a_failed_installation_says_so_and_the_next_use_goes_on(checkout: Path) -> None:
    code, out, err = finish(launch(checkout, UV_EXIT="1"))
    assert (code, out) == (4, "")
    assert "could not be built: uv ended with code 1" in err
    assert finish(launch(checkout))[0] == 0


def test_a_changed_lock_is_brought_up_to_date(checkout: Path) -> None:
    finish(launch(checkout))
    (checkout / ".venv" / "kept").touch()
    (checkout / "requirements.txt").write_text("a==2\n")
    code, _, err = finish(launch(checkout))
    assert (code, "has changed" in err, (checkout / ".venv" / "kept").exists()) == (0, True, True)
    assert asked(checkout) == ["venv", "pip", "pip"]
    assert finish(launch(checkout))[2] == ""


def test_a_moved_checkout_is_built_anew(checkout: Path) -> None:
    finish(launch(checkout))
    moved = checkout.rename(checkout.with_name("moved"))
    code, out, err = finish(launch(moved))
    assert (code, "building it anew" in err, out.split()[0]) == (0, True, f"{moved}/.venv")


def test_an_environment_whose_python_went_away_is_built_anew(checkout: Path) -> None:
    finish(launch(checkout))
    python = checkout / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert finish(launch(checkout))[0] == 0


def test_without_a_fitting_python_it_says_what_to_do(checkout: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for tool in ("sh", "readlink", "dirname", "cat", "cmp"):
        (old / tool).symlink_to(shutil.which(tool) or tool)
    (old / "python3").write_text("#!/bin/sh\nexit 1\n")
    (old / "python3").chmod(0o755)
    code, _, err = finish(launch(checkout, PATH=str(old)))
    assert (code, "guiji needs Python 3.11 or newer" in err) == (2, True)
    assert not (checkout / ".venv").exists()


def test_later_uses_add_only_milliseconds(checkout: Path) -> None:
    finish(launch(checkout))
    python = checkout / ".venv" / "bin" / "python"

    def fastest(command: list[str]) -> float:
        times = []
        for _ in range(7):
            began = time.perf_counter()
            subprocess.run(command, cwd=checkout, env=env, check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - began)
        return min(times)

    env = {**os.environ, "PYTHONPATH": str(checkout / "include")}
    bare, launched = fastest([str(python), "-P", "-m", "guiji"]), fastest([str(checkout / "guiji")])
    assert launched - bare < 0.1


def test_the_lock_is_whole() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert lines[-1] == "-e ."
    wanted = {
        line.partition("==")[0].partition("[")[0].lower()
        for line in (ROOT / "requirements.in").read_text().splitlines()
        if line and not line.startswith("#")
    }
    pinned = {line.partition("==")[0].partition("[")[0] for line in lines if "==" in line and not line.startswith(" ")}
    assert wanted - pinned == set()
    loose = [line for line in lines if line and line[0] not in " #-" and "==" not in line]
    assert loose == []
