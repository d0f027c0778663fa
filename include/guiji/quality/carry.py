# ruff: noqa: S608 - text reaches SQL through quote_identifier and quote_text only
"""Rows that already serve and were judged by the same rules need not be judged again.

A snapshot cache keeps, for each serving row that was in order in every respect, 128 bits over its raw cells. A staged
row with the same bits is *carried*: it counts as unchanged without being standardised. The bits are the engine's own
and hold for one version of it, one set of rules and one set of column types only (``make_signature``).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.engine import JUDGED_ON_KEY, RAW_HASHES, SIGNATURE_KEY, count_rows, read_parquet_metadata, scan_parquet
from guiji.quality.statement import raw_columns, raw_hashes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    from duckdb import DuckDBPyConnection

    from guiji.catalog.models import Resource
    from guiji.records import StagedBatch
    from guiji.standardize import FieldPlan

#: a verdict can grow old (somebody turns 131); after that many days every row is judged again
OLDEST_DAYS = 30


@dataclass
class Carried:
    """Which staged rows are carried, by row of the cache.

    ``row_no`` and ``cache_row`` are parallel; a cache row may stand there more than once (identical copies).
    """

    cache: str
    cache_rows: int
    judged_on: str
    row_no: npt.NDArray[np.int64]
    cache_row: npt.NDArray[np.int64]

    def kept(self) -> npt.NDArray[np.bool_]:
        """True for each cache row that the delivery repeats."""
        import numpy as np

        seen = np.zeros(self.cache_rows, np.bool_)
        seen[self.cache_row] = True
        return seen

    def pull_back(self, cache_rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Takes the staged rows of these cache rows out again; returns their row numbers."""
        import numpy as np

        wanted = np.zeros(self.cache_rows, np.bool_)
        wanted[cache_rows] = True
        out = wanted[self.cache_row]
        pulled = self.row_no[out]
        self.row_no, self.cache_row = self.row_no[~out], self.cache_row[~out]
        return pulled


def make_signature(resource: Resource, plans: Sequence[FieldPlan], staged: StagedBatch) -> str:
    """What must be equal for the raw hashes of two batches to be comparable."""
    import duckdb

    from guiji import standardize

    types = dict(zip(staged.columns, staged.types, strict=True))
    material = [
        duckdb.__version__,
        standardize.VERSION,
        resource.fingerprint,
        [(c, types[c]) for c in raw_columns(resource, plans, staged)],
        [p.column for p in plans],
        resource.model.time_zone,
    ]
    return hashlib.sha256(json.dumps(material, ensure_ascii=False).encode()).hexdigest()


def find_carried(
    con: DuckDBPyConnection,
    resource: Resource,
    plans: Sequence[FieldPlan],
    staged: StagedBatch,
    source: str,
    cache: str | None,
    signature: str,
    today: date,
) -> Carried | None:
    """The staged rows that the cache knows; None when there is no cache that may be used."""
    import numpy as np

    if cache is None or resource.model.load != "snapshot" or not Path(cache).is_file():
        return None
    metadata = read_parquet_metadata(cache)
    judged_on = metadata.get(JUDGED_ON_KEY, "")
    if metadata.get(SIGNATURE_KEY) != signature or not _is_recent(judged_on, today):
        return None
    h1, h2 = raw_hashes(raw_columns(resource, plans, staged))
    rows = count_rows(con, f"FROM {scan_parquet(cache)}")
    a, b = RAW_HASHES
    relation = con.sql(
        f"/* guiji {resource.id} carry */ SELECT r._row_no, c.file_row_number AS _cache_row "
        f"FROM (SELECT _row_no, {h1} AS h1, {h2} AS h2 FROM {source} WHERE _broken IS NULL) r "
        f"JOIN (SELECT {a}, {b}, file_row_number FROM {scan_parquet(cache, row_number=True)} WHERE {a} IS NOT NULL) c "
        f"ON r.h1 = c.{a} AND r.h2 = c.{b}"
    )
    row_no, cache_row = [], []
    for batch in relation.to_arrow_reader(122_880):
        row_no.append(batch.column(0).to_numpy(zero_copy_only=False).astype(np.int32))
        cache_row.append(batch.column(1).to_numpy(zero_copy_only=False).astype(np.int32))
    empty = np.zeros(0, np.int32)
    return Carried(
        cache=cache,
        cache_rows=rows,
        judged_on=judged_on,
        row_no=np.concatenate([empty, *row_no]),
        cache_row=np.concatenate([empty, *cache_row]),
    )


def _is_recent(judged_on: str, today: date) -> bool:
    try:
        age = (today - date.fromisoformat(judged_on)).days
    except ValueError:
        return False
    return 0 <= age <= OLDEST_DAYS
