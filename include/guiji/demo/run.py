"""The main job: a whole city gathered before one's eyes.

Servers and data first; then three months of deliveries straight through ``pipeline``, each at its hour; then today's
deliveries through a real Airflow scheduler; then what came in, what was rejected, which mails went out, what was found
of what had been planted, and where to look.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from guiji.demo.population import City
from guiji.errors import GuijiError
from guiji.settings import TIME_ZONE, Settings

if TYPE_CHECKING:
    from rich.console import Console

    from guiji.demo.airflow import AirflowClient
    from guiji.demo.replay import Step
    from guiji.demo.running import RunningCity

REPORTS = ("2026-08", "2026-09", "2026-10")


def run_demo(settings: Settings, *, people: int, seed: int, until_done: bool) -> int:
    """Runs the demo; returns 0, or 1 when a delivery ended other than the story says."""
    from rich.console import Console

    from guiji.demo.city import run_city
    from guiji.demo.replay import NOW, current, story
    from guiji.postgres import hold

    begun = time.monotonic()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    # a terminated demo takes its servers with it, as Ctrl-C does
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    logging.getLogger("pyftpdlib").setLevel(logging.WARNING)
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    settings = replace(settings, fixed_now=settings.fixed_now or NOW)
    console.print(f"[bold]归集 guiji[/bold] — a synthetic city of {people:,} people, seed {seed}, on {NOW:%Y-%m-%d}")
    with ExitStack() as stack:
        if settings.warehouse is None:
            stack.enter_context(hold(settings))
        console.print("starting the city's servers …")
        running = stack.enter_context(run_city(settings, City(people, seed)))
        if not running.mariadb:
            console.print("[yellow]MariaDB is not installed: 卫健委's front-end is SQLite instead[/yellow]")
        batches: dict[tuple[str, str], str] = {}
        surprises = replay(console, running, story(running), batches)
        surprises += gather_today(console, running, current(running), batches, stack)
        show_results(console, running, batches, time.monotonic() - begun)
        if not until_done:
            console.print("\nEverything stays up until Ctrl-C.")
            _wait()
    for surprise in surprises:
        console.print(f"[red]not as the story says: {surprise}[/red]")
    return 1 if surprises else 0


# --- the past ----------------------------------------------------------------------------------------


def replay(console: Console, running: RunningCity, steps: list[Step], batches: dict[tuple[str, str], str]) -> list[str]:
    """Every past delivery at its hour, with freshness, mails and reports between the months."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from guiji.pipeline import run_resource
    from guiji.quality import warm_up

    warm_up()
    surprises = []
    columns = (
        TextColumn("replaying"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not sys.stdout.isatty()) as progress:
        task = progress.add_task("", total=len(steps))
        month, today = "", steps[0].moment.date()
        for step in steps:
            if step.moment.date() != today:
                close_day(running, today)
                today = step.moment.date()
            if f"{step.moment:%Y-%m}" != month and month >= "2026-08":
                close_month(running, month, step.moment)
            if f"{step.moment:%Y-%m}" != month:
                month = f"{step.moment:%Y-%m}"
                if not sys.stdout.isatty():
                    console.print(f"  {month} …")
            progress.update(task, description=f"{step.moment:%Y-%m-%d} {step.resource_id}")
            step.put()
            at = running.settings.at(step.moment)
            try:
                record = run_resource(step.resource_id, at, step.window)
                status = record.status
                batches[(step.resource_id, step.delivery)] = record.batch_id
            except GuijiError as error:
                status = "refused" if error.exit_code == 1 else "failed"
                if status != step.expect:
                    surprises.append(f"{step.resource_id} {step.delivery}: {error}")
                    continue
            finally:
                if step.restore is not None:
                    step.restore()
            if status != step.expect:
                surprises.append(f"{step.resource_id} {step.delivery} is {status}, not {step.expect}: {record.reason}")
            progress.advance(task)
        close_month(running, month, datetime(2026, 11, 2, 8, tzinfo=TIME_ZONE))
    console.print(
        f"replayed {len(steps)} deliveries of three months and more; {len(running.mail.messages)} mails went out"
    )
    return surprises


def close_day(running: RunningCity, day: date) -> None:
    """The evening: windows are checked and mails go out, as the DAGs ``freshness`` and ``notices`` do every day."""
    from guiji.catalog import load_catalog
    from guiji.freshness import assess
    from guiji.notices import send_notices
    from guiji.warehouse import connect

    at = running.settings.at(datetime(day.year, day.month, day.day, 20, tzinfo=TIME_ZONE))
    catalog = load_catalog(at.catalog)
    with connect(at) as conn:
        assess(conn, at, catalog, at.now())
        conn.commit()
        send_notices(conn, at, catalog)


def close_month(running: RunningCity, month: str, moment: datetime) -> None:
    """What the big-data centre does at the end of a month: libraries, windows, mails, the frozen report."""
    from guiji.catalog import load_catalog
    from guiji.freshness import assess
    from guiji.library.resolve import resolve
    from guiji.notices import send_notices
    from guiji.report import build_report
    from guiji.warehouse import connect

    first = date.fromisoformat(f"{month}-01")
    end = (first + timedelta(32)).replace(day=1)
    at = running.settings.at(max(moment.replace(hour=8), datetime(end.year, end.month, end.day, 8, tzinfo=TIME_ZONE)))
    catalog = load_catalog(at.catalog)
    with connect(at) as conn:
        for library in catalog.libraries.values():
            resolve(conn, at, library, catalog)
        assess(conn, at, catalog, at.now())
        conn.commit()
        send_notices(conn, at, catalog)
        if month in REPORTS:
            build_report(conn, at, catalog, month, at.today(), at.home / "reports")


# --- today, through the scheduler ----------------------------------------------------------------------


def gather_today(
    console: Console,
    running: RunningCity,
    steps: list[Step],
    batches: dict[tuple[str, str], str],
    stack: ExitStack,
) -> list[str]:
    """Today's deliveries through a real Airflow; returns what went other than expected."""
    from guiji.demo.airflow import AirflowClient
    from guiji.orchestration.launch import serve

    for step in steps:
        step.put()
    console.print("starting Airflow …")
    airflow = stack.enter_context(serve(running.settings, say=lambda text: console.print(f"  {text}")))
    console.print(
        f"Airflow is up after {airflow.seconds:.0f} s: {airflow.url} (user {airflow.user}, password {airflow.password})"
    )
    running.airflow = airflow
    client = AirflowClient(airflow.url, airflow.user, airflow.password)
    client.wait_for_dags([s.resource_id for s in steps])
    runs = client.await_runs([s.resource_id for s in steps])
    _follow(console, client, runs, airflow.check)
    surprises = []
    from guiji.warehouse import connect

    with connect(running.settings) as conn:
        for step in steps:
            row = conn.execute(
                "SELECT batch_id, status, reason FROM ops.batch WHERE resource_id = %s ORDER BY batch_no DESC LIMIT 1",
                (step.resource_id,),
            ).fetchone()
            if row is None or row["status"] != step.expect:
                surprises.append(
                    f"{step.resource_id} today: {dict(row) if row else 'no batch'}, expected {step.expect}"
                )
            else:
                batches[(step.resource_id, step.delivery)] = row["batch_id"]
                if row["status"] == "held":  # its run failed on purpose: red means that somebody must act
                    console.print(f"  {step.resource_id}: held by a guard until a person decides, as it should be")
    console.print("resolving libraries, checking windows, sending mails …")
    house = [*client.list_dags("library."), "freshness"]
    _follow(console, client, {dag: client.trigger(dag) for dag in house}, airflow.check)
    _follow(console, client, {"notices": client.trigger("notices")}, airflow.check)
    return surprises


def _follow(console: Console, client: AirflowClient, runs: dict[str, str], check: Callable[[], None]) -> None:
    """Shows the runs until all have ended."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("gathering"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    done: dict[str, str] = {}
    with Progress(*columns, console=console, transient=True, disable=not sys.stdout.isatty()) as progress:
        task = progress.add_task("", total=len(runs))
        deadline = time.monotonic() + 1800
        while len(done) < len(runs):
            check()
            if time.monotonic() > deadline:
                raise GuijiError(
                    f"Airflow did not finish {sorted(set(runs) - set(done))} in half an hour; its logs say why."
                )
            for dag_id, run_id in runs.items():
                if dag_id in done:
                    continue
                state = client.state(dag_id, run_id)
                if state in ("success", "failed"):
                    done[dag_id] = state
                    progress.update(task, completed=len(done), description=f"{dag_id} {state}")
                    if not sys.stdout.isatty():
                        console.print(f"  {dag_id}: {state}")
            time.sleep(1)


# --- what came of it -----------------------------------------------------------------------------------


def show_results(console: Console, running: RunningCity, batches: dict[tuple[str, str], str], seconds: float) -> None:
    """Prints what came in, what was rejected, the mails, precision and recall, and where to look."""
    from rich.table import Table

    from guiji.demo.score import score
    from guiji.warehouse import connect

    with connect(running.settings) as conn:
        table = Table(
            "resource", "batches", "read", "rejected", "new", "changed", "unchanged", "deleted", title="what came in"
        )
        for row in conn.execute(
            "SELECT resource_id, count(*) AS n, sum(rows_read) AS read, sum(rows_rejected) AS rejected, sum(rows_new) AS new,"
            " sum(rows_changed) AS changed, sum(rows_unchanged) AS unchanged, sum(rows_deleted) AS deleted FROM ops.batch"
            " GROUP BY resource_id ORDER BY resource_id"
        ):
            table.add_row(row["resource_id"], *(f"{int(row[c]):,}" for c in list(row)[1:]))
        console.print(table)
        library = Table("library", "rows", title="the libraries")
        from guiji.catalog import load_libraries

        for name, model in sorted(load_libraries(running.settings.catalog).items()):
            count = conn.execute(
                f'SELECT count(*) AS n FROM library."{model.table}" WHERE _deleted_at IS NULL'  # noqa: S608
            ).fetchone()
            library.add_row(f"{name} {model.title}", f"{count['n']:,}" if count else "")
        console.print(library)
        scores = score(conn, running.truth, batches)
    kinds = Table(
        "resource",
        "planted error",
        "planted",
        "found",
        "precision",
        "recall",
        title="what was planted, and what was found",
    )
    for s in scores:
        kinds.add_row(
            s.kind.resource_id, s.kind.title, str(s.planted), str(s.found), _percent(s.precision), _percent(s.recall)
        )
    console.print(kinds)
    right, planted, found = (sum(getattr(s, n) for s in scores) for n in ("right", "planted", "found"))
    console.print(
        f"{len(scores)} kinds, {planted} rows planted, {found} found, {right} right: precision {_percent(right / found)},"
        f" recall {_percent(right / planted)}"
    )
    console.print(f"\n{len(running.mail.messages)} mails, as files in {running.settings.home / 'mail'}:")
    for mail in running.mail.messages:
        console.print(f"  {', '.join(mail.recipients):32} {mail.message['subject']}")
    console.print("\nreports:")
    for path in sorted((running.settings.home / "reports").rglob("*.html")):
        console.print(f"  {path}")
    if (airflow := running.airflow) is not None:
        console.print(f"\nAirflow       {airflow.url}\ndashboard     {airflow.dashboard_url}")
        console.print(f"user          {airflow.user}\npassword      {airflow.password}")
    example = first_person(running)
    console.print(f"try           ./guiji trace population {example}" if example else "")
    console.print(f"done after {seconds:.0f} s")


def first_person(running: RunningCity) -> str | None:
    """The number of a synthetic person whom several departments know."""
    from guiji.warehouse import connect

    with connect(running.settings) as conn:
        row = conn.execute(
            "SELECT person_id FROM library.person WHERE _deleted_at IS NULL AND marital IS NOT NULL AND employer IS NOT NULL"
            " AND blood_type IS NOT NULL ORDER BY person_id LIMIT 1"
        ).fetchone()
    return str(row["person_id"]) if row else None


def _percent(value: float | None) -> str:
    return "—" if value is None else f"{value:.1%}"


def _wait() -> None:
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        pass
