"""A GB18030 CSV file to a staged load package, against polars, pyarrow and pandas merely reading it; and its memory.

Our side is what a run does: fetch the file, hash it, find its encoding, prove and decode every line, write and sync
the package. Peers and we take turns in one run, five times, each in a process of its own with everything imported;
the best of five counts. Times are wall time of two processes on the same cores, so a busy machine hits both.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.bench import Result, compare_at_most
from guiji.errors import GuijiError
from guiji.settings import ROOT, Settings

if TYPE_CHECKING:
    from guiji.catalog.models import Resource

READ_ROWS = 1_000_000
ROUNDS = 5
BAR = 2.5
MEMORY_BAR = 1.1
#: fewer rows do not fill what is read ahead and what waits to be written
STEADY_ROWS = 600_000
#: what peak memory varies by between two runs of the same file
_NOISE_MB = 24


def measure(settings: Settings, rows: int) -> Iterator[Result]:
    """Seconds for at most 1 M rows as a multiple of the fastest peer's; peak memory of ``rows`` rows against a tenth.

    ``--rows 41000000`` makes files of about 500 MB and 5 GB, one after the other, in the folder for temporary files.
    """
    from guiji.bench.load import install_peers

    python = install_peers(settings.home / "bench")
    with tempfile.TemporaryDirectory(prefix="guiji-bench-") as name:
        folder = Path(name)
        for kind in ("plain", "quoted"):
            file = folder / f"{kind}.csv"
            write_people(file, min(rows, READ_ROWS), quoted=kind == "quoted")
            yield from _compare(kind, python, file)
            file.unlink()
        few = max(rows // 10, min(rows, STEADY_ROWS))
        peaks = {}
        for n in (few, rows):
            file = folder / "memory.csv"
            write_people(file, n, quoted=False)
            size = file.stat().st_size / 1e6
            peaks[n] = _stage_apart(file, n)[1]
            file.unlink()
            if n == few:
                yield Result(f"csv.peak_memory {size:,.0f} MB", peaks[n], "MB", "", None, "", None)
        yield compare_at_most(
            f"csv.peak_memory {size:,.0f} MB", peaks[rows], "MB", f"{few:,} rows", peaks[few] + _NOISE_MB, MEMORY_BAR
        )


def _compare(kind: str, python: Path, file: Path) -> Iterator[Result]:
    best: dict[str, float] = {}
    ours = float("inf")
    rows = min(READ_ROWS, _count_lines(file) - 1)
    for _ in range(ROUNDS):
        for name, seconds in _read_with_peers(python, file).items():
            best[name] = min(seconds, best.get(name, seconds))
        ours = min(ours, _stage_apart(file, rows)[0])
    fastest = min(best, key=lambda name: best[name])
    for name, seconds in best.items():
        yield Result(f"csv.{kind} {name}", seconds, "s", "", None, "", None)
    yield compare_at_most(f"csv.{kind} staged", ours, "s", fastest, best[fastest], BAR)


def _read_with_peers(python: Path, file: Path) -> dict[str, float]:
    done = subprocess.run(  # noqa: S603
        [str(python), str(ROOT / "benchmarks" / "csv_peer.py"), str(file)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise GuijiError(f"the peers failed: {done.stderr[-800:]}")
    seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def _stage_apart(file: Path, rows: int) -> tuple[float, float]:
    """(seconds, peak MB) of staging the file in a process of its own. Raises GuijiError when a row is missing."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(  # noqa: S603  ourselves
        [sys.executable, "-m", "guiji.bench.csv", str(file)], stdout=subprocess.PIPE, env=env
    )
    assert process.stdout is not None
    with process.stdout as out:
        said = out.read()
    if process.wait():
        raise GuijiError(f"staging {file} failed with {process.returncode}")
    seconds, staged, peak = json.loads(said)
    if staged != rows:
        raise GuijiError(f"{staged:,} of {rows:,} rows were staged")
    return float(seconds), float(peak)


def read_peak_mb() -> float:
    """Most memory that this process has held. The kernel's ``ru_maxrss`` would count the parent's before exec."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)  # bytes on macOS
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def stage_file(file: Path) -> tuple[float, int]:
    """(seconds, rows) of one delivery: fetched, hashed, read and staged below the file's folder, then removed."""
    from datetime import timedelta

    import pyarrow.csv
    import pyarrow.parquet  # noqa: F401  imported here so that it isn't measured

    from guiji.records import Window
    from guiji.sources import open_delivery
    from guiji.staging import stage_batch

    with tempfile.TemporaryDirectory(dir=file.parent) as home:
        settings = Settings.from_env({"GUIJI_HOME": home, "GUIJI_STAGING": f"{home}/staging"})
        scratch = Path(home) / "scratch"
        scratch.mkdir()
        now = settings.now()
        window = Window(now - timedelta(days=1), now + timedelta(days=1))
        resource = _make_resource(file)
        start = time.perf_counter()
        delivery = open_delivery(resource, settings, window, watermark=None, known_files=(), scratch=scratch)
        staged = stage_batch(resource, settings, window, delivery, "0" * 16)
        return time.perf_counter() - start, staged.rows


def _make_resource(file: Path) -> Resource:
    from guiji.bench.people import COLUMNS
    from guiji.catalog.models import DepartmentModel, Resource, ResourceModel

    model = ResourceModel.model_validate(
        {
            "id": "bench.csv",
            "code": "1/1",
            "name": "CSV",
            "summary": "bench",
            "category": {"class": "基础信息资源", "item": "测试"},
            "format": "CSV",
            "system": "bench",
            "sharing": {"type": "无条件共享"},
            "update_cycle": "不定期",
            "published": "2026-01-01",
            "source": {"kind": "files", "directory": str(file.parent), "pattern": file.name.replace(".", r"\.")},
            "fields": [{"name": c, "title": c} for c in COLUMNS],
            "key": [COLUMNS[0]],
        }
    )
    department = DepartmentModel(id="bench", name="bench", short_name="bench", credit_code="-", leader="-", section="-")
    return Resource(model=model, department=department, path="-", fingerprint="-")


def write_people(file: Path, rows: int, *, quoted: bool) -> None:
    """The people of the other benches as GB18030 CSV, 122 bytes a row, in bounded memory."""
    import pyarrow.csv as pa_csv

    from guiji.bench.people import make_people

    quoting = "all_valid" if quoted else "none"
    with file.open("wb") as f:
        for n, batch in enumerate(make_people(rows)):
            sink = io.BytesIO()
            pa_csv.write_csv(batch, sink, pa_csv.WriteOptions(include_header=n == 0, quoting_style=quoting))
            f.write(sink.getvalue().decode().encode("gb18030"))


def _count_lines(file: Path) -> int:
    with file.open("rb") as f:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: f.read(1 << 20), b""))


def warm_up(file: Path) -> None:
    """Stages the first lines, so that imports are not measured."""
    with tempfile.TemporaryDirectory(dir=file.parent) as name, file.open("rb") as f:
        few = Path(name) / file.name
        few.write_bytes(f.readline() + f.readline())
        stage_file(few)


if __name__ == "__main__":
    warm_up(Path(sys.argv[1]))
    print(json.dumps([*stage_file(Path(sys.argv[1])), read_peak_mb()]))
