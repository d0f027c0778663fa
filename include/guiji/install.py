"""Builds ``.venv`` from requirements.txt. Run by the launcher ``guiji`` with any Python ≥ 3.11, standard library only.

Safe when two run at once (the second waits for a lock on the checkout and finds the work done) and when killed:
``.venv/guiji.installing`` stands while packages are written, ``.venv/guiji.stamp`` comes last. A leftover of the
former means a broken environment, which is built anew; a stamp that differs means a changed lock, which is installed
over what is there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path


def main(root: Path) -> int:
    """0 when ``root/.venv`` agrees with ``root/requirements.txt``; 4 with a message on stderr otherwise."""
    lock = os.open(root, os.O_RDONLY)  # the folder itself: no lock file to leave behind
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another guiji is building the environment; waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)
    if is_current(root):
        return 0
    began = time.monotonic()
    try:
        install(root)
    except subprocess.CalledProcessError as exc:
        say(
            f"the environment could not be built: {Path(exc.cmd[0]).name} ended with code {exc.returncode}, its own "
            "words are above. Nothing else was changed; check the network and the package index, then run the same "
            "command again (it goes on by itself)."
        )
        return 4
    except OSError as exc:
        say(
            f"the environment could not be built: {exc}. Nothing else was changed; mend that and run the command again."
        )
        return 4
    say(f"the environment is ready ({time.monotonic() - began:.0f} s)")
    return 0


def is_current(root: Path) -> bool:
    try:
        return (root / ".venv" / "guiji.stamp").read_bytes() == stamp(root)
    except OSError:
        return False


def stamp(root: Path) -> bytes:
    """What the launcher compares: the checkout, the interpreter, the lock."""
    python = os.path.realpath(root / ".venv" / "bin" / "python")
    return f"{root}\n{python}\n".encode() + (root / "requirements.txt").read_bytes()


def install(root: Path) -> None:
    venv = root / ".venv"
    python, mark = venv / "bin" / "python", venv / "guiji.installing"
    uv = shutil.which("uv")
    if venv.exists() and (mark.exists() or not is_usable(root)):
        say("the environment in .venv is broken or of another place or Python; building it anew")
        shutil.rmtree(venv)
    if not venv.exists():
        say(f"building the environment in {venv} (first use; a minute or two, then never again)")
        if uv:
            run(root, [uv, "venv", "--quiet", "--python", sys.executable, str(venv)])
        else:
            make_venv(root, venv)
    else:
        say("requirements.txt has changed; bringing .venv up to date")
    mark.touch()
    if uv is None:
        say("installing uv (the fast installer); pip does without it if that fails")
        pip = [str(python), "-m", "pip"]
        quiet = ["--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, "install", *quiet, "uv"], cwd=root, stdout=sys.stderr, check=False)  # noqa: S603
        if done.returncode == 0 and (venv / "bin" / "uv").exists():
            uv = str(venv / "bin" / "uv")
        else:
            say("uv can't be had; installing with pip, which takes some minutes")
            run(root, [*pip, "install", "--disable-pip-version-check", "-r", "requirements.txt"])
    if uv is not None:
        run(root, [uv, "pip", "install", "--python", str(python), "-r", "requirements.txt"])
        say("compiling bytecode")
        # skips packages' own broken samples; a missing .pyc only costs time
        compiling = ["-m", "compileall", "-q", "-q", "-j", "0", "-x", r"/(tests?|testing)/", str(venv / "lib")]
        subprocess.run([str(python), *compiling], cwd=root, stdout=subprocess.DEVNULL, check=False)  # noqa: S603
    # a new version's files must not be hidden by an old stamp
    temporary = venv / "guiji.stamp.tmp"
    temporary.write_bytes(stamp(root))
    os.replace(temporary, venv / "guiji.stamp")
    mark.unlink()


def make_venv(root: Path, venv: Path) -> None:
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "venv", str(venv)], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        shutil.rmtree(venv, ignore_errors=True)
        raise OSError(
            f"{sys.executable} -m venv failed ({(done.stdout + done.stderr).strip()[-300:]}); on Debian and Ubuntu "
            "apt-get install python3-venv, or install uv"
        )


def is_usable(root: Path) -> bool:
    """False for an environment without Python ≥ 3.11, or one that was made for another checkout or Python version."""
    python = root / ".venv" / "bin" / "python"
    code = "import sys, sysconfig, os; print(os.path.isdir(sysconfig.get_paths()['purelib']) and sys.version_info >= (3, 11))"
    try:
        done = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return False
    try:
        written_for = (root / ".venv" / "guiji.stamp").read_text(encoding="utf-8").partition("\n")[0]
    except OSError:
        written_for = str(root)
    return done.stdout.strip() == "True" and written_for == str(root)


def run(root: Path, command: list[str]) -> None:
    """Runs an installer; its progress goes to stderr, as stdout belongs to the command that was asked for."""
    subprocess.run(command, cwd=root, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True)  # noqa: S603


def say(text: str) -> None:
    print(f"guiji: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1])))
    except KeyboardInterrupt:
        say("stopped; the next use goes on")
        sys.exit(130)
