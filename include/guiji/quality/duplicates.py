# ruff: noqa: S608 - text reaches SQL through quote_identifier and quote_text only
"""Several rows of one key in one delivery: identical copies are duplicates, of different versions one wins (F-17)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.engine import count_rows, quote_identifier, scan_parquet

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from duckdb import DuckDBPyConnection

    from guiji.catalog.models import Resource

    Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Duplicates:
    """Row numbers, sorted. ``copies`` are further copies of a row that stays or loses; ``losers`` are older versions."""

    copies: Numbers
    losers: Numbers


def find_repeated(con: DuckDBPyConnection, key_files: Sequence[Path]) -> int:
    """Puts the key hashes that occur more than once into the temporary table ``guiji_repeated``; returns how many."""
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE guiji_repeated AS SELECT h FROM {scan_parquet(key_files)} "
        "GROUP BY h HAVING count(*) > 1"
    )
    return count_rows(con, "FROM guiji_repeated")


def settle_duplicates(con: DuckDBPyConnection, resource: Resource, accepted: Path) -> Duplicates:
    """Decides among the accepted rows whose key hash is in ``guiji_repeated``.

    Of identical rows the first stays. Of different versions of a key the one with the largest order fields wins
    (null is smallest), then the one that was delivered last.
    """
    key = ", ".join(quote_identifier(k) for k in resource.model.key)
    order = "".join(f"{quote_identifier(o)} DESC NULLS LAST, " for o in resource.model.order)
    listed = "".join(f", {quote_identifier(o)}" for o in resource.model.order if o not in resource.model.key)
    found = con.sql(
        f"""/* guiji {resource.id} duplicates */
        WITH candidate AS (
          SELECT _row_no, _row_hash, {key}{listed} FROM {scan_parquet(accepted)}
          WHERE hash({key}) IN (SELECT h FROM guiji_repeated)
        ), version AS (
          SELECT *, row_number() OVER (PARTITION BY {key}, _row_hash ORDER BY _row_no) AS copy,
                 max(_row_no) OVER (PARTITION BY {key}, _row_hash) AS latest
          FROM candidate
        ), judged AS (
          SELECT *, first_value(_row_hash) OVER (PARTITION BY {key} ORDER BY {order}latest DESC) AS winner FROM version
        )
        SELECT _row_no, copy > 1 AS is_copy FROM judged WHERE copy > 1 OR _row_hash <> winner ORDER BY _row_no"""
    ).to_arrow_table()
    numbers = found.column("_row_no").to_numpy()
    is_copy = found.column("is_copy").to_numpy()
    return Duplicates(copies=numbers[is_copy], losers=numbers[~is_copy])
