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
from collections.abc import Iterator
from pathlib import Path

from guiji.bench import Result, compare_at_most
from guiji.bench.stage import stage_file
from guiji.errors import GuijiError
from guiji.settings import ROOT, Settings

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


def stage_people(file: Path) -> tuple[float, int]:
    """(seconds, rows) of one delivery of the people's file."""
    from guiji.bench.people import COLUMNS

    return stage_file(file, [{"name": c, "title": c} for c in COLUMNS])


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
        stage_people(few)


if __name__ == "__main__":
    warm_up(Path(sys.argv[1]))
    print(json.dumps([*stage_people(Path(sys.argv[1])), read_peak_mb()]))
