# ruff: noqa: S608 - text reaches SQL through quote_identifier and quote_text only
"""Several rows of one key in one delivery: identical copies are duplicates, of different versions one wins (F-17)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.engine import quote_identifier, scan_parquet

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


def find_repeated(hashes: list[npt.NDArray[np.uint64]]) -> npt.NDArray[np.uint64]:
    """The key hashes that occur more than once."""
    import numpy as np

    if not hashes:
        return np.zeros(0, np.uint64)
    every = np.concatenate(hashes)
    every.sort()
    return np.unique(every[1:][every[1:] == every[:-1]])


def settle_duplicates(
    con: DuckDBPyConnection, resource: Resource, accepted: Path, repeated: npt.NDArray[np.uint64]
) -> Duplicates:
    """Decides among the accepted rows whose key hash is in ``repeated``.

    Of identical rows the first stays. Of different versions of a key the one with the largest order fields wins
    (null is smallest), then the one that was delivered last.
    """
    import pyarrow as pa

    key = ", ".join(quote_identifier(k) for k in resource.model.key)
    order = "".join(f"{quote_identifier(o)} DESC NULLS LAST, " for o in resource.model.order)
    listed = "".join(f", {quote_identifier(o)}" for o in resource.model.order if o not in resource.model.key)
    con.register("guiji_repeated", pa.table({"h": repeated}))
    try:
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
    finally:
        con.unregister("guiji_repeated")
    numbers = found.column("_row_no").to_numpy()
    is_copy = found.column("is_copy").to_numpy()
    return Duplicates(copies=numbers[is_copy], losers=numbers[~is_copy])
