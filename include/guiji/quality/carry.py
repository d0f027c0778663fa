# ruff: noqa: S608 - text reaches SQL through quote_identifier and quote_text only
"""Rows that already serve and were judged by the same rules need not be judged again.

A snapshot cache keeps, for each serving row that was in order in every respect, 128 bits over its raw cells. A staged
row with the same bits is *carried*: it counts as unchanged without being standardised. The bits are the engine's own
and hold for one version of it, one set of rules and one set of column types only (``make_signature``).
"""

from __future__ import annotations

import hashlib
import json
import os
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
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from guiji.catalog.models import Resource
    from guiji.records import StagedBatch
    from guiji.standardize import FieldPlan

#: a verdict can grow old (somebody turns 131); after that many days every row is judged again
OLDEST_DAYS = 30


@dataclass
class Carried:
    """Which staged rows are carried. One byte for a row of the delivery and of the cache; the pairs lie in a file."""

    cache: str
    judged_on: str
    pairs: Path  # Parquet ``_row_no``, ``_cache_row``; a cache row may stand there more than once (identical copies)
    rows: npt.NDArray[np.bool_]  # by row number less one: the staged row is carried
    kept: npt.NDArray[np.bool_]  # by row of the cache: the delivery repeats it

    @property
    def copies(self) -> int:
        """Carried rows that are further copies of another."""
        return int(self.rows.sum()) - int(self.kept.sum())

    def pull_back(self, con: DuckDBPyConnection, cache_rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Takes the staged rows of these cache rows out again; returns their row numbers."""
        import pyarrow as pa

        con.register("guiji_pulled", pa.table({"n": cache_rows}))
        try:
            pulled = con.sql(
                f"SELECT _row_no FROM {scan_parquet(self.pairs)} WHERE _cache_row IN (SELECT n FROM guiji_pulled)"
            ).to_arrow_table()
        finally:
            con.unregister("guiji_pulled")
        row_nos: npt.NDArray[np.int64] = pulled.column(0).to_numpy()
        self.rows[row_nos - 1] = False
        self.kept[cache_rows] = False
        return row_nos

    def repeated(self, con: DuckDBPyConnection) -> pa.Table:
        """``n``: each kept row of the cache once for every further copy in the delivery."""
        import numpy as np
        import pyarrow as pa

        found = con.sql(
            f"SELECT _cache_row, count(*) - 1 FROM {scan_parquet(self.pairs)} GROUP BY 1 HAVING count(*) > 1"
        ).to_arrow_table()
        rows, times = found.column(0).to_numpy(), found.column(1).to_numpy()
        stay = self.kept[rows]
        return pa.table({"n": np.repeat(rows[stay], times[stay])})


def make_signature(resource: Resource, plans: Sequence[FieldPlan], staged: StagedBatch) -> str:
    """What must be equal for the raw hashes of two batches to be comparable."""
    import duckdb

    from guiji import standardize

    types = dict(zip(staged.columns, staged.types, strict=True))
    material: list[object] = [
        duckdb.__version__,
        standardize.VERSION,
        resource.fingerprint,
        [(c, types[c]) for c in raw_columns(resource, plans, staged)],
        [p.column for p in plans],
        resource.model.time_zone,
    ]
    if resource.model.tolerance.distribution:  # a cache without these columns can't say what its rows hold there
        material.append(sorted(resource.model.tolerance.distribution))
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
    import pyarrow as pa
    import pyarrow.parquet as pq

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
    carried = np.zeros(staged.rows, np.bool_)
    kept = np.zeros(rows, np.bool_)
    pairs = Path(staged.directory) / "carried.parquet"
    schema = pa.schema([("_row_no", pa.int64()), ("_cache_row", pa.int64())])
    os.close(os.open(pairs, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    with pq.ParquetWriter(pairs, schema, compression="lz4", use_dictionary=False, write_statistics=False) as writer:
        for batch in relation.to_arrow_reader(122_880):
            carried[batch.column(0).to_numpy(zero_copy_only=False) - 1] = True
            kept[batch.column(1).to_numpy(zero_copy_only=False)] = True
            writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
    return Carried(cache, judged_on, pairs, carried, kept)


def _is_recent(judged_on: str, today: date) -> bool:
    try:
        age = (today - date.fromisoformat(judged_on)).days
    except ValueError:
        return False
    return 0 <= age <= OLDEST_DAYS
