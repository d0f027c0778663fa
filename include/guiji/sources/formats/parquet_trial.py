"""Whether a Parquet file can be read at all: looked at from outside, and read through once by another process.

There are damages at which Arrow's reader ends its process, and pages that unpack to gigabytes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from guiji.errors import DeliveryRefused
from guiji.sources.formats.encoding import half_a_file

#: a column of a row group that claims more than this, packed more than a thousandfold, is a bomb
LARGEST_CHUNK = 256 << 20
#: what the process that tries a file may have of addresses, and of time per megabyte
TRIAL_BYTES = 2 << 30
TRIAL_SECONDS = (120, 2)
_TRIAL = """
import resource, sys
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import pyarrow as pa, pyarrow.parquet as pq
def is_text(t): return pa.types.is_string(t) or pa.types.is_binary(t)
try:
    with pq.ParquetFile(sys.argv[1]) as file:
        delta = set()
        for g in range(file.metadata.num_row_groups):
            for c in range(file.metadata.num_columns):
                chunk = file.metadata.row_group(g).column(c)
                if any(e.startswith("DELTA") for e in chunk.encodings):
                    delta.add(chunk.path_in_schema)
        texts = [f.name for f in file.schema_arrow if is_text(f.type) and f.name not in delta]
        [file.schema.column(i).physical_type for i in range(len(file.schema))]
    options = dict(read_dictionary=texts, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True)
    with pq.ParquetFile(sys.argv[1], **options) as file:
        for batch in file.iter_batches(int(sys.argv[3]), use_threads=False):
            pass
except (pa.ArrowException, OSError, MemoryError, OverflowError):
    sys.exit(1)
"""


def check_magic(path: Path, what: str) -> None:
    """Raises DeliveryRefused for another format, an encrypted file and half a file."""
    size = path.stat().st_size
    with path.open("rb") as f:
        head = f.read(4)
        f.seek(max(0, size - 4))
        tail = f.read(4)
    if head == b"PARE" or tail == b"PARE":
        raise refuse(what, "文件已加密", "请去掉加密后重新提供")
    if head != b"PAR1":
        raise refuse(what, "不是 Parquet 文件", "请重新导出后提供")
    if tail != b"PAR1" or size < 12:
        raise half_a_file(what)


def try_reading(path: Path, rows: int, what: str) -> None:
    """Raises DeliveryRefused when a process that reads the whole file, so many rows at a time, doesn't come to its end."""
    command = [sys.executable, "-I", "-c", _TRIAL, str(path), str(TRIAL_BYTES), str(rows)]
    seconds = TRIAL_SECONDS[0] + TRIAL_SECONDS[1] * (path.stat().st_size >> 20)
    # the system's allocator reserves no addresses that it doesn't use
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=seconds, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise refuse(what, f"{seconds} 秒内没有读完", "请重新导出后提供", "too_large") from None
    if done.returncode:
        raise refuse(what, "文件已损坏，或展开后过大，无法读取", "请重新导出完整的文件", "half_a_file")


def refuse(what: str, why: str, mend: str, rule: str = "structure") -> DeliveryRefused:
    return DeliveryRefused(f"{what}：{why}。现有数据继续有效；{mend}。", rule_id=f"delivery.{rule}")


def check_chunks(metadata: Any, what: str) -> None:
    """Raises DeliveryRefused for a bomb."""
    for g in range(metadata.num_row_groups):
        for c in range(metadata.num_columns):
            chunk = metadata.row_group(g).column(c)
            if chunk.total_uncompressed_size > max(LARGEST_CHUNK, chunk.total_compressed_size * 1000):
                raise refuse(what, "压缩前后的大小相差过大，可能有害，未读取", "请重新导出后提供", "too_large")
