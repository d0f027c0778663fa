"""The embedded engine (DuckDB) for everything that touches millions of rows: bounded memory, no network, no surprises.

Text that reaches SQL goes through ``quote_identifier`` or ``quote_text``; nothing else is pasted into a statement.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.settings import Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: what DuckDB may hold of its own; the rest of the 900 MB is Python, Arrow and Great Expectations
MEMORY_LIMIT_MB = 272
#: what each of its threads gathers before it writes a row group
GROUP_BYTES = 16 << 20

# --- the columns of a snapshot cache, beside the key and order columns -------------------------------
ROW_HASH = "_row_hash"
#: 128 bits over the raw columns of a row that was clean; null where the row must be checked again
RAW_HASHES = ("_raw_hash_1", "_raw_hash_2")
#: which declared fields are empty, 60 fields to a column
NULLS_PREFIX = "_nulls_"
#: keys of the cache's Parquet metadata
SIGNATURE_KEY = "guiji_signature"
JUDGED_ON_KEY = "guiji_judged_on"


#: what the vectors of one field take in one thread while a row is standardised and judged, by the engine's own account:
#: about 65 of 2,048 values, for each layer of the statement hands every column on. Much of it is never touched
_MB_A_FIELD = 2.2
_FEW_FIELDS = 10
#: more of it are not asked for where fewer threads do
_MB_OF_FIELDS = 400


def count_threads(fields: int = 0) -> int:
    """By how many threads a statement over so many fields is run: each has vectors of its own."""
    return max(1, min(4, os.cpu_count() or 1, int(_MB_OF_FIELDS / (_MB_A_FIELD * max(fields, 1)))))


@contextmanager
def judge_fields(con: DuckDBPyConnection, fields: int) -> Iterator[None]:
    """While a statement that standardises so many fields runs: memory for their vectors beside what all else may take."""
    threads = count_threads(fields)
    more = _MB_A_FIELD * threads * max(0, fields - _FEW_FIELDS)
    if not more:
        yield
        return
    con.execute(f"SET memory_limit = '{MEMORY_LIMIT_MB + int(more)}MB'; SET threads = {threads}")
    # took a third of the time of 500 fields, and has nothing to place where hardly anything is joined
    con.execute("SET disabled_optimizers = 'projection_placement'")
    try:
        yield
    finally:
        con.execute(f"SET memory_limit = '{MEMORY_LIMIT_MB}MB'; SET threads = {count_threads()}")
        con.execute("SET disabled_optimizers = ''")


@contextmanager
def open_engine(settings: Settings, *, time_zone: str = "Asia/Shanghai") -> Iterator[DuckDBPyConnection]:
    """A DuckDB connection of its own, with a memory limit, a spill folder that is removed, and no way to the network.

    Extensions are neither downloaded nor loaded: what the wheel holds is what there is.
    """
    import duckdb

    scratch = settings.home / "scratch"
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    spill = Path(tempfile.mkdtemp(prefix="engine-", dir=scratch))
    try:
        con = duckdb.connect(
            config={
                "memory_limit": f"{MEMORY_LIMIT_MB}MB",
                "threads": count_threads(),
                "temp_directory": str(spill),
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
        try:
            # rows are consumed in large batches; a small buffer would make the engine wait for each of them
            con.execute("SET streaming_buffer_size = '48MB'")
            con.execute("SET enable_progress_bar = false")  # it writes to stdout, where answers in JSON stand
            con.execute(f"SET TimeZone = {quote_text(time_zone)}")
            yield con
        finally:
            con.close()
            release_memory()
    finally:
        shutil.rmtree(spill, ignore_errors=True)


def release_memory() -> None:
    """Gives back to the system what one step freed: the allocators would keep it beside what the next step needs."""
    import ctypes

    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def cache_directory(settings: Settings, resource_id: str) -> Path:
    """Where the snapshot caches of a resource lie. ``Difference.cache`` is a file in it, named ``<batch_id>.parquet``;
    ``ops.watermark.snapshot_cache`` keeps its stem. Owner-only; any of them may be deleted, it is then rebuilt."""
    return settings.home / "cache" / resource_id


def quote_identifier(name: str) -> str:
    """``name`` as an SQL identifier. Raises ValueError for a NUL, which no quoting can carry."""
    if "\x00" in name:
        raise ValueError("an identifier can't hold a NUL character")
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """``text`` as an SQL string literal; a NUL is spelled out."""
    quoted = "'" + text.replace("'", "''") + "'"
    return "(" + quoted.replace("\x00", "'||chr(0)||'") + ")" if "\x00" in text else quoted


def scan_parquet(paths: str | Path | Sequence[str | Path], *, row_number: bool = False) -> str:
    """A table expression over Parquet files whose names are taken literally, not as patterns."""
    listed = [paths] if isinstance(paths, (str, Path)) else list(paths)
    names = ", ".join(quote_text(_escape_glob(str(p))) for p in listed)
    return f"read_parquet([{names}], hive_partitioning = false{', file_row_number = true' if row_number else ''})"


def render_expression(expression: str, columns: Collection[str]) -> str:
    """A condition of the catalog over ``columns`` as SQL; a cast or sum that can't be made is null."""
    from sqlglot import exp

    from guiji.catalog.expressions import parse_expression

    tree = parse_expression(expression, columns)
    for cast in list(tree.find_all(exp.Cast)):
        if type(cast) is exp.Cast:
            cast.replace(exp.TryCast(this=cast.this, to=cast.to))
    text = tree.sql(dialect="duckdb", identify=True)
    return f"TRY({text})" if tree.find(exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg) else f"({text})"


def copy_to_parquet(
    con: DuckDBPyConnection, select: str, path: Path, metadata: Mapping[str, str] | None = None, comment: str = ""
) -> int:
    """Writes what ``select`` gives to ``path``, readable by the owner only, by rename; returns the number of rows."""
    temporary = path.with_suffix(".tmp")
    kv = ""
    if metadata:
        kv = ", KV_METADATA {" + ", ".join(f"{k}: {quote_text(v)}" for k, v in metadata.items()) + "}"
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    con.execute(
        f"/* guiji {comment} */ COPY ({select}) TO {quote_text(str(temporary))} (FORMAT parquet, COMPRESSION lz4_raw, "
        f"ROW_GROUP_SIZE_BYTES {GROUP_BYTES}{kv})"
    )
    rows = int(con.fetchall()[0][0])
    temporary.chmod(0o600)
    os.replace(temporary, path)
    return rows


def count_rows(con: DuckDBPyConnection, select: str) -> int:
    """How many rows ``select`` gives."""
    return int(con.execute(f"SELECT count(*) FROM ({select})").fetchall()[0][0])  # noqa: S608


def read_parquet_metadata(path: str | Path) -> dict[str, str]:
    """The key-value metadata of a Parquet file; empty when the file is absent or broken."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowException):
        return {}
    return {k.decode("utf-8", "replace"): v.decode("utf-8", "replace") for k, v in found.items()}


def _escape_glob(path: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in path)
