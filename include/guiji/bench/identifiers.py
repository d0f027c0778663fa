"""Identifier verdicts per second on one core, against a plain loop over python-stdnum (which does less).

The columns are made from a seed: 95 % of the rows in order, the rest broken in every way that is checked, among
them full-width digits, lower case and spaces. The verdict includes divisions by date, as in production. The loop is
measured on a sample of the same rows, in the same run; CPU time of the process, best of three.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from guiji.bench import Result
from guiji.settings import Settings

BAR = 100.0
SAMPLE = 10_000
TODAY = date(2026, 11, 1)


def measure(settings: Settings, rows: int) -> Iterator[Result]:
    """Citizen ids and credit codes: rows per second, as a multiple of the loop's."""
    from stdnum.cn import ric, uscc

    from guiji.identifiers import check_citizen_id, check_credit_code

    n = max(rows, SAMPLE)
    people, units = make_columns(n)
    yield from _compare("citizen_id", people, lambda v: check_citizen_id(v, today=TODAY), ric.is_valid)
    yield from _compare("credit_code", units, lambda v: check_credit_code(v, today=TODAY), uscc.is_valid)


def run(rows: int) -> list[dict[str, Any]]:
    """The same as plain dictionaries, for use outside the command."""
    from dataclasses import asdict

    return [asdict(result) for result in measure(Settings.from_env(), rows)]


def make_columns(rows: int) -> tuple[pa.Array, pa.Array]:
    """Citizen ids and credit codes, one in twenty of them broken or to be mended."""
    from guiji.demo.population import citizen_ids, credit_codes

    i = np.arange(rows, dtype=np.int64)
    divisions = np.array(["150602", "150621", "150622", "152701", "152722", "110101", "440305"])[i * 31 % 7]
    births = np.datetime64("1944-01-01") + (i * 7919 % 20_000).astype("timedelta64[D]")
    people = citizen_ids(divisions, births, 1 + i * 17 % 998)
    units = credit_codes("91", divisions, i * 9_973 % 100_000_000)
    return pa.array(_break(people)), pa.array(_break(units))


def _break(values: Any) -> list[str]:
    out: list[str] = values.tolist()
    ways: tuple[Callable[[str], str], ...] = (
        lambda v: v[:16] + v[17] + v[16],
        lambda v: v[:10] + "0231" + v[14:],
        lambda v: v[:17],
        lambda v: v.lower() + " ",
        lambda v: v.translate({n: n + 0xFEE0 for n in range(48, 58)}),
        lambda v: "999999" + v[6:],
    )
    for n in range(0, len(out), 20):
        out[n] = ways[n // 20 % len(ways)](out[n])
    return out


def _compare(
    name: str, values: pa.Array, check: Callable[[pa.Array], object], is_valid: Callable[[str], bool]
) -> Iterator[Result]:
    ours = len(values) / min(_time(lambda: check(values)) for _ in range(3))
    sample = values.slice(0, SAMPLE).to_pylist()
    loop = SAMPLE / min(_time(lambda: [is_valid(v) for v in sample]) for _ in range(3))
    yield Result(f"identifiers.{name}.stdnum", loop, "rows/s", "", None, "", None)
    ratio = ours / loop
    yield Result(f"identifiers.{name}", ours, "rows/s", "python-stdnum loop", ratio, f"≥ {BAR:g} ×", ratio >= BAR)


def _time(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
