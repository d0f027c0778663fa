"""Starts Airflow as ``./guiji up`` and the demo need it, and stops it without leaving anything behind.

Three processes: api-server (the UI and what tasks talk to), scheduler (LocalExecutor), dag-processor. No triggerer:
human-in-the-loop tasks wait in the scheduler since Airflow 3.3, and nothing of ours is deferrable. They end when
``serve`` ends, also when this process is killed (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from guiji.errors import GuijiError, UsageError
from guiji.masking import scrub
from guiji.orchestration.environment import USER, airflow_environment, free_port, load_secrets
from guiji.settings import Settings

COMPONENTS = {
    "api-server": [],
    # its server for logs would listen on every address; the api-server reads the same files
    "scheduler": ["--skip-serve-logs"],
    "dag-processor": [],
}
START_SECONDS = 180
STOP_SECONDS = 20
_PR_SET_PDEATHSIG = 1
Say = Callable[[str], None]


class AirflowFailed(GuijiError):
    """Airflow did not start or did not stay up; the warehouse is untouched."""

    cause = "airflow"


@dataclass(frozen=True)
class Running:
    """A running Airflow: where it is, and who may log in."""

    url: str
    user: str
    password: str
    env: dict[str, str]
    logs: Path
    seconds: float  # from the call to healthy
    processes: dict[str, subprocess.Popen[bytes]] = field(repr=False)

    @property
    def dashboard_url(self) -> str:
        return f"{self.url}/plugin/guiji"

    def check(self) -> None:
        """Raises AirflowFailed when a component has ended."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise AirflowFailed(
                    f"Airflow's {name} has ended with {process.returncode}:\n{_tail(self.logs / f'{name}.log')}\n"
                    f"What was published stays published. The whole log is {self.logs / f'{name}.log'}."
                )


@contextmanager
def serve(
    settings: Settings,
    *,
    port: int | None = None,
    extra_env: Mapping[str, str] | None = None,
    say: Say = lambda _: None,
) -> Iterator[Running]:
    """Airflow on this installation's settings, healthy at entry and gone at exit.

    ``extra_env`` reaches every component and task (connections: ``AIRFLOW_CONN_<ID>``). Must be called from the
    main thread: the kernel ends the components when the thread that started them ends.
    """
    begun = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(_only_one(settings))
        database_url = stack.enter_context(_metadata_database(settings))
        port = port or free_port()
        env = airflow_environment(settings, database_url=database_url, port=port, extra_env=extra_env)
        logs = settings.home / "logs"
        say("starting Airflow")
        processes: dict[str, subprocess.Popen[bytes]] = {}
        stack.callback(_stop, processes)
        for name in COMPONENTS:
            processes[name] = _start(name, env, logs)
        _prepare(env, logs)
        # they have imported meanwhile, and wait for this
        _let_go(processes["api-server"])
        _let_go(processes["dag-processor"])
        running = Running(
            url=env["AIRFLOW__API__BASE_URL"],
            user=USER,
            password=load_secrets(settings.home).password,
            env=env,
            logs=logs,
            seconds=0.0,
            processes=processes,
        )
        _wait_for(running, _answers_tasks)
        _let_go(processes["scheduler"])  # a task that starts before it is answered is lost until its retry
        _wait_for(running, _is_healthy)
        yield Running(**{**running.__dict__, "seconds": time.monotonic() - begun})


def serve_forever(settings: Settings, *, port: int | None = None) -> int:
    """``./guiji up``: serves until Ctrl-C or SIGTERM and returns the exit code."""

    def stop(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        with serve(settings, port=port or 8080, say=lambda text: print(f"  {text}", file=sys.stderr)) as running:
            print_address(running)
            while True:
                time.sleep(2)
                running.check()
    except KeyboardInterrupt:
        print("  Airflow is stopped.", file=sys.stderr)
        return 0


def print_address(running: Running) -> None:
    """Tells a person where to look and how to log in."""
    print(f"  Airflow    {running.url}")
    print(f"  dashboard  {running.dashboard_url}")
    if "AIRFLOW__CORE__AUTH_MANAGER" in running.env:
        print("  log in as a user of your own auth manager")
    else:
        print(f"  user       {running.user}")
        print(f"  password   {running.password}")
    print(f"  logs       {running.logs}", flush=True)


# --- parts -------------------------------------------------------------------------------------------


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    path = settings.home / "airflow" / "running.lock"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("w") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise UsageError(
                f"Another Airflow already runs in {settings.home}. Nothing was started; stop that one, or give this one "
                "its own GUIJI_HOME."
            ) from exc
        yield


@contextmanager
def _metadata_database(settings: Settings) -> Iterator[str]:
    """URL of Airflow's own database; the embedded server is held while it is used."""
    if configured := os.environ.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"):
        yield configured
        return
    from guiji import postgres

    with postgres.hold(settings):
        yield postgres.server_url(settings, "airflow")


def _prepare(env: Mapping[str, str], logs: Path) -> None:
    log = logs / "prepare.log"
    with log.open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "guiji.orchestration.prepare"],
            env=env,
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise AirflowFailed(
            f"Airflow's database could not be prepared:\n{_tail(log)}\nNothing was started. The whole log is {log}."
        )


def _start(name: str, env: Mapping[str, str], logs: Path) -> subprocess.Popen[bytes]:
    with (logs / f"{name}.log").open("wb") as out:
        return subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-m", "guiji.orchestration.component", name, *COMPONENTS[name]],
            env=env,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours to answer, in order
            preexec_fn=_end_with_parent,  # runs one C call
        )


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _let_go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()


def _wait_for(running: Running, is_so: Callable[[str], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        running.check()
        with suppress(urllib.error.URLError, OSError, ValueError, KeyError):
            if is_so(running.url):
                return
        time.sleep(0.2)
    raise AirflowFailed(
        f"Airflow was not healthy after {START_SECONDS} seconds. It was stopped; see the logs in {running.logs}."
    )


def _answers_tasks(url: str) -> bool:
    """True when the interface that tasks talk to answers; its first answer takes seconds."""
    with urllib.request.urlopen(f"{url}/execution/health/ping", timeout=60) as answer:  # noqa: S310
        return bool(answer.status == 200)


def _is_healthy(url: str) -> bool:
    with urllib.request.urlopen(f"{url}/api/v2/monitor/health", timeout=10) as answer:  # noqa: S310
        health = json.load(answer)
    return {health[part]["status"] for part in ("metadatabase", "scheduler", "dag_processor")} == {"healthy"}


def _stop(processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
    """Asks each component to end, scheduler first so that it starts no more tasks; then makes sure."""
    for name in ("scheduler", "dag-processor", "api-server"):
        if (process := processes.get(name)) is not None and process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes.values():
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.1, deadline - time.monotonic()))
        _kill_group(process.pid)
        process.wait()


def _kill_group(pid: int) -> None:
    """Ends what a component left behind in its session (task processes of a stopped scheduler)."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _tail(path: Path, lines: int = 20) -> str:
    try:
        return scrub("\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]))
    except OSError:
        return "(no log)"
