"""Load packages: whole or absent, private, numbered, the same bytes for the same delivery."""

from __future__ import annotations

import dataclasses
import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delivering import NOW, OCTOBER, make_resource, plain_settings

from guiji import package_writer, staging
from guiji.errors import DeliveryRefused, GuijiError, UsageError
from guiji.records import DeliveredFile, Delivery, ReadReport
from guiji.settings import ROOT, Settings
from guiji.sources.frames import Rows, make_batch
from guiji.staging import batch_directory, find_staged, is_intact, load_staged, stage_batch, sweep

BATCH = "0123456789abcdef"
RESOURCE = make_resource({"kind": "files", "directory": "/", "pattern": "."}, ["编号", "姓名"])


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    return plain_settings(tmp_path / "home").at(NOW)


def batches(*sizes: int) -> Iterator[pa.RecordBatch]:
    first = 0
    for size in sizes:
        rows = Rows()
        for i in range(first, first + size):
            rows.add([str(i), f"人{i}"], i + 2)
        first += size
        yield make_batch(("编号", "姓名"), rows, "a.csv")


def delivery(*sizes: int, **more: object) -> Delivery:
    return dataclasses.replace(Delivery(("编号", "姓名"), batches(*sizes), ReadReport()), **more)  # type: ignore[arg-type]


def table_of(staged: staging.StagedBatch) -> pa.Table:
    return pa.concat_tables([pq.read_table(p) for p in sorted(Path(staged.directory).glob("part-*.parquet"))])


@pytest.mark.parametrize("rows", [0, 1, 4, 5, 8, 9])
def test_rows_are_numbered_over_all_parts(place: Settings, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(package_writer, "ROW_GROUP", 2)
    monkeypatch.setattr(package_writer, "GROUPS_PER_PART", 2)
    staged = stage_batch(RESOURCE, place, OCTOBER, delivery(*[1] * rows), BATCH)
    table = table_of(staged)
    assert table.column_names == ["_row_no", "编号", "姓名", "_origin", "_line", "_broken", "_raw"]
    assert table["_row_no"].to_pylist() == list(range(1, rows + 1))
    assert table["编号"].to_pylist() == [str(i) for i in range(rows)]
    assert (staged.rows, staged.types) == (rows, ("string", "string"))
    assert len(list(Path(staged.directory).glob("part-*"))) == max(1, -(-rows // 4))


def test_a_delivery_without_any_batch_is_an_empty_package(place: Settings) -> None:
    staged = stage_batch(RESOURCE, place, OCTOBER, delivery(), BATCH)
    assert (staged.rows, table_of(staged).num_rows) == (0, 0)


def test_the_manifest_says_what_the_delivery_said(place: Settings) -> None:
    file = DeliveredFile("a.csv", 7, NOW, "ff", "2026-10-01")
    report = ReadReport(skipped={"total": 1}, cursor_max="2026-10-01 00:00:00.123456", notes=["x"])
    staged = stage_batch(RESOURCE, place, OCTOBER, delivery(3, report=report, files=(file,), redelivered_of="b"), BATCH)
    assert load_staged(place, RESOURCE.id, BATCH) == staged
    assert (staged.skipped, staged.cursor_max, staged.files, staged.notes, staged.redelivered_of, staged.staged_at) == (
        {"total": 1}, "2026-10-01 00:00:00.123456", (file,), ("x",), "b", NOW,
    )  # fmt: skip


def test_the_same_delivery_has_the_same_hash_however_it_is_cut(place: Settings) -> None:
    hashes = {
        stage_batch(RESOURCE, place, OCTOBER, delivery(*sizes), f"{i:016x}").sha256
        for i, sizes in enumerate([(9,), (4, 5), (1, 0, 8)])
    }
    other = stage_batch(RESOURCE, place, OCTOBER, delivery(8), "f" * 16).sha256
    assert len(hashes) == 1
    assert other not in hashes


def test_a_staged_batch_is_returned_and_its_delivery_not_read(place: Settings) -> None:
    staged = stage_batch(RESOURCE, place, OCTOBER, delivery(3), BATCH)
    unread = delivery(5)
    assert stage_batch(RESOURCE, place, OCTOBER, unread, BATCH) == staged
    assert next(unread.batches).num_rows == 5


def test_only_the_owner_can_read(place: Settings) -> None:
    staged = stage_batch(RESOURCE, place, OCTOBER, delivery(3), BATCH)
    directory = Path(staged.directory)
    assert {stat.S_IMODE(p.stat().st_mode) for p in directory.iterdir()} == {0o600}
    assert {stat.S_IMODE(p.stat().st_mode) for p in (directory, directory.parent)} == {0o700}


def test_tampering_shows(place: Settings) -> None:
    staged = stage_batch(RESOURCE, place, OCTOBER, delivery(3), BATCH)
    assert is_intact(staged)
    part = next(Path(staged.directory).glob("part-*"))
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    assert not is_intact(staged)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("error", [DeliveryRefused("x"), ValueError("x")])
def test_what_the_source_raises_leaves_nothing(place: Settings, error: Exception) -> None:
    def breaks() -> Iterator[pa.RecordBatch]:
        yield from batches(200_000, 200_000)
        raise error

    with pytest.raises(type(error)):
        stage_batch(RESOURCE, place, OCTOBER, delivery(batches=breaks()), BATCH)
    assert find_staged(place, RESOURCE.id, BATCH) is None
    assert list(batch_directory(place, RESOURCE.id, BATCH).parent.iterdir()) == []


def test_fewer_rows_than_the_source_declares_are_refused(place: Settings) -> None:
    with pytest.raises(DeliveryRefused) as caught:
        stage_batch(RESOURCE, place, OCTOBER, delivery(3, report=ReadReport(declared_rows=4)), BATCH)
    assert caught.value.rule_id == "delivery.total"
    assert find_staged(place, RESOURCE.id, BATCH) is None


@pytest.mark.timeout(60)
def test_f53_a_full_disk_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    code = """
        import resource, signal, sys
        sys.path.insert(0, "tests")
        from pathlib import Path
        from test_staging import *
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        place = plain_settings(Path(sys.argv[1])).at(NOW)
        try:
            stage_batch(RESOURCE, place, OCTOBER, delivery(*[100_000] * 5), BATCH)
        except GuijiError as exc:
            print(exc, list(batch_directory(place, RESOURCE.id, BATCH).parent.iterdir()))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], capture_output=True, text=True, cwd=ROOT
    )
    assert "Nothing was staged; make room" in done.stdout, done.stderr
    assert done.stdout.rstrip().endswith("[]")


def test_f01_kill_9_leaves_nothing_and_is_swept(place: Settings) -> None:
    code = """
        import sys
        sys.path.insert(0, "tests")
        from pathlib import Path
        from test_staging import *
        place = dataclasses.replace(plain_settings(Path(sys.argv[1])).at(NOW), failpoint="stage.before_manifest")
        stage_batch(RESOURCE, place, OCTOBER, delivery(3), BATCH)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(place.home)], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    folder = batch_directory(place, RESOURCE.id, BATCH).parent
    assert [p.name[:5] for p in folder.iterdir()] == [".tmp-"]
    assert find_staged(place, RESOURCE.id, BATCH) is None
    assert stage_batch(RESOURCE, place, OCTOBER, delivery(3), BATCH).rows == 3
    assert [p.name for p in folder.iterdir()] == [BATCH]


def test_a_living_process_is_not_swept(place: Settings) -> None:
    folder = batch_directory(place, RESOURCE.id, BATCH).parent
    alive = folder / f".tmp-{BATCH}-{staging._host()}-{os.getpid()}-00"
    alive.mkdir(parents=True)
    stage_batch(RESOURCE, place, OCTOBER, delivery(3), BATCH)
    assert alive.exists()


def test_sweep_removes_old_packages_but_those_kept(place: Settings) -> None:
    for i in range(3):
        staged = stage_batch(RESOURCE, place, OCTOBER, delivery(1), f"{i:016x}")
        if i < 2:
            os.utime(staged.directory, (0, 0))
    assert sweep(place, 30, keep={f"{1:016x}"}) == [f"{0:016x}"]
    assert [find_staged(place, RESOURCE.id, f"{i:016x}") is not None for i in range(3)] == [False, True, True]


@pytest.mark.parametrize("batch_id", ["../../etc", "", "ABCDEF0123456789"])
def test_a_batch_id_leads_nowhere_else(place: Settings, batch_id: str) -> None:
    with pytest.raises(UsageError):
        batch_directory(place, RESOURCE.id, batch_id)


def test_an_object_store_is_refused_plainly(place: Settings) -> None:
    with pytest.raises(GuijiError, match="only local or mounted paths"):
        stage_batch(RESOURCE, dataclasses.replace(place, staging="s3://bucket/x"), OCTOBER, delivery(1), BATCH)
