"""Benchmarks: ratios against a peer and the physical limit, measured in one run, never bare seconds.

Each bench is a function that yields ``Result`` rows. Peers are installed on demand into a virtual environment
of their own below ``GUIJI_HOME/bench`` (``benchmarks/peers.txt``), so that the product never depends on them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module

from guiji.errors import UsageError
from guiji.settings import Settings


@dataclass(frozen=True)
class Result:
    """One measured row. ``ratio`` is value / against; ``met`` says whether it keeps the bar (None: no bar)."""

    bench: str
    value: float
    unit: str
    against: str
    ratio: float | None
    bar: str
    met: bool | None


Bench = Callable[[Settings, int], Iterable[Result]]

#: name -> module:function and what it measures
BENCHES = {
    "identifiers": ("guiji.bench.identifiers:measure", "identifier verdicts against a loop over python-stdnum"),
    "csv": ("guiji.bench.csv:measure", "a GB18030 CSV file to a load package against readers that merely read; memory"),
    "xlsx": (
        "guiji.bench.xlsx:measure",
        "an xlsx sheet of 100,000 typed rows to a load package against calamine alone",
    ),
    "task_start": ("guiji.bench.task_start:measure", "an Airflow task's start with 3,000 resources in the catalog"),
    "resolve": ("guiji.bench.resolve:measure", "a library of four sources against one hand-written INSERT … SELECT"),
    "mariadb": ("guiji.bench.mariadb:measure", "a MariaDB table of up to 1 M rows, staged, against pandas.read_sql"),
    "load": ("guiji.bench.load:measure", "first load and re-runs against dlt and bare COPY; memory; watermark runs"),
}


def load_bench(name: str) -> Bench:
    """The function behind a bench's name. Raises UsageError for an unknown one."""
    if name not in BENCHES:
        raise UsageError(f"There is no bench {name!r}. Benches: {', '.join(BENCHES)}.")
    module, _, function = BENCHES[name][0].partition(":")
    bench: Bench = getattr(import_module(module), function)
    return bench


def run_benches(settings: Settings, names: list[str], *, rows: int, as_json: bool) -> int:
    """Runs the named benches (all where none is named) and prints each row as it is measured; 1 when a bar is missed."""
    chosen = [(name, load_bench(name)) for name in (names or list(BENCHES))]
    missed = False
    for name, bench in chosen:
        print(f"{name}: {BENCHES[name][1]}", file=sys.stderr, flush=True)
        for result in bench(settings, rows):
            missed |= result.met is False
            print(json.dumps(asdict(result), ensure_ascii=False) if as_json else render_result(result), flush=True)
    return 1 if missed else 0


def render_result(result: Result) -> str:
    """One row for reading."""
    ratio = "" if result.ratio is None else f"{result.ratio:8.3f} × {result.against}"
    bar = f"  bar {result.bar}: {'met' if result.met else 'MISSED'}" if result.met is not None else ""
    return f"{result.bench:44} {result.value:12,.3f} {result.unit:8} {ratio}{bar}"


def compare_at_most(bench: str, value: float, unit: str, against: str, base: float, bar: float) -> Result:
    """A row that must stay at or below ``bar`` × ``base``."""
    ratio = value / base
    return Result(bench, value, unit, against, ratio, f"≤ {bar:g} ×", ratio <= bar)


def plain(bench: str, value: float, unit: str) -> Iterator[Result]:
    """A row without a bar: a reference point of the same run."""
    yield Result(bench, value, unit, "", None, "", None)
