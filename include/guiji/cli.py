"""The command line: the same functions as the DAGs. Heavy modules are imported by the command that needs them.

Exit codes: 0 done · 1 held or refused as a whole · 2 wrong use or catalog error · 3 source unavailable ·
5 source refuses us · 4 internal.
"""

from __future__ import annotations

import atexit
import os
import sys
import traceback
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from guiji.cli_archive import archive
from guiji.cli_catalog import ResourceArgument, catalog_app
from guiji.cli_decide import hold_app, link_app
from guiji.cli_share import share_app
from guiji.errors import GuijiError, UsageError
from guiji.settings import ROOT, Settings

if TYPE_CHECKING:
    from guiji.catalog.models import LibraryModel

app = typer.Typer(
    name="guiji",
    help="归集: gathers a city's public data, makes it trustworthy, reports how it stands.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
notices_app = typer.Typer(help="Mails to departments.", no_args_is_help=True)
app.add_typer(catalog_app, name="catalog")
app.add_typer(notices_app, name="notices")
app.add_typer(hold_app, name="hold")
app.add_typer(share_app, name="share")
app.command("archive")(archive)
app.add_typer(link_app, name="link")


def _say(text: str) -> None:
    from guiji.masking import scrub

    print(f"  {scrub(text)}", file=sys.stderr, flush=True)


def _fail(error: GuijiError) -> NoReturn:
    from guiji.masking import scrub

    print(scrub(str(error)), file=sys.stderr)
    problems = getattr(error, "problems", ())
    for problem in problems:
        if str(problem) not in str(error):
            print(f"  {scrub(str(problem))}", file=sys.stderr)
    raise SystemExit(error.exit_code)


# --- the main job ------------------------------------------------------------------------------------


@app.command()
def demo(
    people: Annotated[int, typer.Option(min=200, help="how many people the synthetic city has")] = 20_000,
    seed: Annotated[int, typer.Option(help="plants the same errors again")] = 1,
    until_done: Annotated[bool, typer.Option("--until-done", help="exit when done")] = False,
) -> None:
    """Gather a whole synthetic city: real servers, real Airflow, planted errors, mails, a report."""
    from guiji.demo.run import run_demo

    raise SystemExit(run_demo(Settings.from_env(), people=people, seed=seed, until_done=until_done))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def test(ctx: typer.Context) -> None:
    """Run all tests, as many at a time as there are cores; arguments go to pytest instead."""
    os.chdir(ROOT)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # each worker starts servers of its own: more than four would ask for more memory than they save time
    everything = ["-n", str(min(4, os.cpu_count() or 1)), "--dist", "worksteal"]
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *(ctx.args or everything)])  # noqa: S606


@app.command()
def up(port: Annotated[int | None, typer.Option(help="port of the Airflow UI")] = None) -> None:
    """Airflow for real use, on the settings of this environment; runs until Ctrl-C."""
    from guiji.orchestration.launch import serve_forever

    raise SystemExit(serve_forever(Settings.from_env(), port=port))


# --- one resource ------------------------------------------------------------------------------------


@app.command()
def run(
    resource_id: ResourceArgument,
    window: Annotated[str | None, typer.Option(metavar="START/END", help="ISO 8601, half-open")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="last line of stdout is the batch row")] = False,
) -> None:
    """Take one resource through the whole way, without Airflow."""
    from guiji.pipeline import run_resource
    from guiji.records import BatchRecord, Window

    span: Window | None = None
    if window:
        try:
            span = Window.parse(window)
        except ValueError as exc:
            raise UsageError(f"--window {window!r}: {exc}. Write START/END, such as 2026-10-01/2026-11-01.") from exc
    try:
        record = run_resource(resource_id, Settings.from_env(), span, say=_say)
    except GuijiError as error:
        recorded = error.context.get("record")
        if as_json and isinstance(recorded, BatchRecord):
            print(recorded.to_json())
        raise
    if as_json:
        print(record.to_json())
    else:
        from guiji.render import render_batch

        print(render_batch(record))
    raise SystemExit({"held": 1, "refused": 1, "failed": 4}.get(record.status, 0))


@app.command()
def reconcile(
    resource_id: ResourceArgument,
    repair: Annotated[bool, typer.Option("--repair", help="bring what differs, as a batch of its own")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="last line of stdout is what was found")] = False,
) -> None:
    """Compare front-end, source layer and libraries: counts, sums and buckets of keys; 1 when they differ."""
    from guiji.reconciliation import reconcile_resource
    from guiji.render import render_reconciliation

    found = reconcile_resource(resource_id, Settings.from_env(), repair=repair, say=_say)
    print(found.to_json() if as_json else render_reconciliation(found))
    raise SystemExit(0 if found.agrees or found.repaired else 1)


@app.command()
def resolve(library: Annotated[str, typer.Argument(metavar="LIBRARY")]) -> None:
    """Resolve a library's dirty keys from the source layer."""
    from guiji.catalog import load_catalog
    from guiji.library.resolve import resolve as resolve_library
    from guiji.warehouse import connect

    settings = Settings.from_env()
    catalog = load_catalog(settings.catalog)
    with connect(settings) as conn:
        record = resolve_library(conn, settings, _library(catalog.libraries, library), catalog)
    print(record)


@app.command()
def check(
    resource_id: ResourceArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="the file before delivery")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.xlsx|FILE.html", help="the verdict as a workbook or a page, too")
    ] = None,
) -> None:
    """A department's check of a file before it delivers it; nothing is published."""
    from guiji.precheck import check_file

    raise SystemExit(check_file(Settings.from_env(), resource_id, file, out))


@app.command()
def trace(
    library: Annotated[str, typer.Argument(metavar="LIBRARY")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="'-' reads it from standard input")],
    as_of: Annotated[str | None, typer.Option(metavar="DATE")] = None,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="show values in clear (recorded in the audit trail)")
    ] = False,
) -> None:
    """Show where each field of one library row comes from."""
    from guiji.catalog import load_libraries
    from guiji.library.trace import render_card
    from guiji.library.trace import trace as trace_row
    from guiji.warehouse import connect

    settings = Settings.from_env()
    value = sys.stdin.readline().strip() if key == "-" else key
    with connect(settings) as conn:
        model = _library(load_libraries(settings.catalog), library)
        card = trace_row(conn, settings, model, value, as_of=_date(as_of), reveal=reveal)
    render_card(card)


# --- time, people, reports ---------------------------------------------------------------------------


@app.command()
def freshness(as_of: Annotated[str | None, typer.Option(metavar="DATE")] = None) -> None:
    """Which delivery windows are met, late, missed or not yet due."""
    from datetime import datetime, time

    from guiji.catalog import load_catalog
    from guiji.freshness import assess
    from guiji.render import render_windows
    from guiji.settings import TIME_ZONE
    from guiji.warehouse import connect

    settings = Settings.from_env()
    day = _date(as_of)
    moment = datetime.combine(day, time.max, TIME_ZONE) if day else settings.now()
    with connect(settings) as conn:
        states = assess(conn, settings.at(moment), load_catalog(settings.catalog), moment)
        conn.commit()
    print(render_windows(states))


@notices_app.command("send")
def notices_send() -> None:
    """Send what waits in the outbox: one digest per department."""
    from guiji.catalog import load_catalog
    from guiji.notices import send_notices
    from guiji.warehouse import connect

    settings = Settings.from_env()
    with connect(settings) as conn:
        print(send_notices(conn, settings, load_catalog(settings.catalog)))


@app.command()
def report(
    month: Annotated[str, typer.Argument(metavar="YYYY-MM")],
    as_of: Annotated[str | None, typer.Option(metavar="DATE")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="where the files go")] = None,
) -> None:
    """Freeze a month and write its report; running it again gives identical bytes."""
    from guiji.catalog import load_catalog
    from guiji.report import build_report
    from guiji.warehouse import connect

    settings = Settings.from_env()
    try:
        date.fromisoformat(f"{month}-01")
    except ValueError as exc:
        raise UsageError(f"{month!r} is no month. Write YYYY-MM, such as 2026-10.") from exc
    with connect(settings) as conn:
        files = build_report(
            conn,
            settings,
            load_catalog(settings.catalog),
            month,
            _date(as_of),
            out or settings.home / "reports",
        )
    print(files)


# --- measuring and mending ---------------------------------------------------------------------------


@app.command()
def bench(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME …]")] = None,
    rows: Annotated[int, typer.Option(min=1000, help="rows of the big table")] = 3_000_000,
    as_json: Annotated[bool, typer.Option("--json", help="one object per row of the result")] = False,
) -> None:
    """Benchmarks, as ratios against the peers and the physical limit, in one run."""
    from guiji.bench import run_benches

    raise SystemExit(run_benches(Settings.from_env(), names or [], rows=rows, as_json=as_json))


@app.command()
def doctor(
    action: Annotated[str | None, typer.Argument(metavar="[enroll-host-key CONN]")] = None,
    connection: Annotated[str | None, typer.Argument(metavar="", hidden=True)] = None,
    yes: Annotated[bool, typer.Option("--yes", help="accept the fingerprint without asking")] = False,
    probe: Annotated[bool, typer.Option("--probe", help="connect to every source of the catalog as well")] = False,
) -> None:
    """What is wrong with this installation, and the mend."""
    from guiji.doctor import diagnose, render_findings
    from guiji.host_keys import enroll_host_key

    settings = Settings.from_env()
    if action is None:
        findings = diagnose(settings, probe=probe)
        print(render_findings(findings))
        raise SystemExit(1 if any(f.level == "error" for f in findings) else 0)
    if action != "enroll-host-key" or connection is None:
        raise UsageError("Write `./guiji doctor` or `./guiji doctor enroll-host-key CONN`.")
    enroll_host_key(settings, connection, assume_yes=yes)


def _library(libraries: Mapping[str, LibraryModel], name: str) -> LibraryModel:
    if name not in libraries:
        raise UsageError(f"There is no library {name!r}. Libraries: {', '.join(sorted(libraries))}.")
    return libraries[name]


def _date(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        raise UsageError(f"{text!r} is no date. Write YYYY-MM-DD.") from exc


def _log_crash(error: BaseException) -> Path | None:
    """Keeps the traceback for an engineer, scrubbed and readable by the owner only."""
    from guiji.masking import scrub

    try:
        folder = Settings.from_env().home / "logs"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / "crash.log"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(fd, "a", encoding="utf-8") as f:
            f.write(scrub("".join(traceback.format_exception(error))))
        return path
    except OSError:
        return None


def main() -> NoReturn:
    """Runs the command line and ends the process with its exit code.

    After the exit hooks the process ends at once: taking Great Expectations, Arrow and the engine apart object by
    object takes longer than many a run.
    """
    try:
        _run()
        code: object = 0
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    atexit._run_exitfuncs()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _run() -> None:
    """Every error becomes one clear message and its exit code."""
    try:
        app(standalone_mode=True)
    except GuijiError as error:
        _fail(error)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        from guiji.masking import scrub

        where = _log_crash(error)
        print(
            f"Internal error: {type(error).__name__}: {scrub(str(error))[:500]}. Nothing half-done was published"
            + (f"; the traceback is in {where}." if where else "."),
            file=sys.stderr,
        )
        raise SystemExit(4) from error
