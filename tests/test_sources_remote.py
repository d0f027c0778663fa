"""Manifests, archives, series, TLS and IPv6 over a folder, SFTP, FTP and FTPS, each with a real server."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from certificates import make_certificates
from delivering import make_resource, open_at, plain_settings, rows_of
from dropping import drop, kind_of, known, plain, serve, write

from guiji.demo import servers
from guiji.errors import DeliveryRefused, NothingDelivered, SourceRefused, SourceUnavailable
from guiji.ledger import KnownFile
from guiji.records import Delivery
from guiji.settings import Settings
from guiji.sources import archive_delivered, probe
from guiji.sources.remote_folder import Pace
from guiji.sources.series import find_gap

MANIFEST = {"mode": "manifest", "manifest": r"list_(?P<date>\d{8})\.txt", "seconds": 0}


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    return plain_settings(tmp_path / "home")


@pytest.fixture(params=["files", "sftp", "ftp", "old ftp", "ftps"])
def way(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """(kind, the folder that the department fills), each way in turn."""
    folder = tmp_path / "out"
    folder.mkdir()
    if request.param == "files":
        monkeypatch.setenv("GUIJI_TEST_DROP", str(folder))
        yield "files", folder
        return
    with serve(request.param, folder) as server:
        monkeypatch.setenv("AIRFLOW_CONN_DROP", plain(server).to_json())
        yield kind_of(server), folder


def parts(kind: str, **more: Any) -> Any:
    """A resource whose deliveries are several files under a manifest."""
    complete = {**MANIFEST, **more.pop("complete", {})}
    return drop(kind, pattern=more.pop("pattern", r"part_\d\.csv"), complete=complete, **more)


def all_rows(delivery: Delivery) -> list[list[tuple[Any, ...]]]:
    return [rows_of(d) for d in (delivery, *delivery.following)]


# --- F-33: manifests ----------------------------------------------------------------------------------


def test_f33_a_manifest_makes_one_delivery_of_several_files(
    way: tuple[str, Path], place: Settings, tmp_path: Path
) -> None:
    kind, folder = way
    one, two, three = (write(folder, f"part_{i}.csv", name) for i, name in ((1, "一"), (2, "二"), (3, "三")))
    write(folder, "part_4.csv", "not named")
    digest = hashlib.sha256(two.read_bytes()).hexdigest()
    md5 = hashlib.md5(three.read_bytes()).hexdigest()
    lines = (
        f"文件名,大小\n{one.name},{one.stat().st_size}\n{digest} *{two.name}\n\n# 完\n{three.name} {md5}\nother.csv 1\n"
    )
    (folder / "list_20261001.txt").write_text(lines, encoding="utf-8")
    scratch = tmp_path / "scratch"
    delivery = open_at(parts(kind), place, scratch)
    assert all_rows(delivery) == [[("0", "一"), ("0", "二"), ("0", "三")]]
    assert [(f.path, f.business_date) for f in delivery.files] == [(p.name, "2026-10-01") for p in (one, two, three)]
    assert delivery.report.notes == ["清单 list_20261001.txt 中的 other.csv 不符合约定的文件名，未采集"]
    assert list(scratch.iterdir()) == []
    with pytest.raises(NothingDelivered, match="none new"):
        open_at(parts(kind), place, tmp_path, known=known(delivery, "b1"))
    (folder / "list_20261002.txt").write_text(lines, encoding="utf-8")
    os.utime(one, (1_790_000_500, 1_790_000_500))
    again = open_at(parts(kind), place, tmp_path, known=known(delivery, "b1"))
    assert (again.redelivered_of, again.fingerprint != delivery.fingerprint) == ("b1", True)


def test_f33_what_a_manifest_awaits_is_not_complete(way: tuple[str, Path], place: Settings, tmp_path: Path) -> None:
    kind, folder = way
    one = write(folder, "part_1.csv", "一")
    (folder / "list_20261001.txt").write_text(f"part_1.csv {one.stat().st_size}\npart_2.csv 24\n")
    with pytest.raises(NothingDelivered, match=r"awaited: part_2\.csv"):
        open_at(parts(kind), place, tmp_path)
    (folder / "part_2.csv").write_text("编号,")
    with pytest.raises(NothingDelivered, match=r"awaited: part_2\.csv"):
        open_at(parts(kind), place, tmp_path)
    two = write(folder, "part_2.csv", "二")
    (folder / "list_20261001.txt").write_text(f"part_1.csv {one.stat().st_size}\npart_2.csv {two.stat().st_size}\n")
    assert all_rows(open_at(parts(kind), place, tmp_path)) == [[("0", "一"), ("0", "二")]]


@pytest.mark.parametrize("said", ["part_2.csv {wrong}", "part_2.csv 3", "part_2.csv", '[{"name": "part_2.csv"}]', "["])
def test_f33_a_manifest_that_does_not_agree_is_refused(place: Settings, tmp_path: Path, said: str, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.setenv("GUIJI_TEST_DROP", str(folder))
    write(folder, "part_1.csv", "一")
    write(folder, "part_2.csv", "二")
    (folder / "list_20261001.txt").write_text(said.replace("{wrong}", "0" * 64))
    scratch = tmp_path / "scratch"
    with pytest.raises(DeliveryRefused, match="现有数据继续有效"):
        rows_of(open_at(parts("files"), place, scratch))
    assert not scratch.exists() or list(scratch.iterdir()) == []


def test_f33_json_manifests_and_a_series_of_them(way: tuple[str, Path], place: Settings, tmp_path: Path) -> None:
    kind, folder = way
    for day, names in (("20261001", ("a", "b")), ("20261002", ("c",))):
        files = [write(folder, f"part_{day}_{n}.csv", n) for n in names]
        entries = [
            {"name": f.name, "size": f.stat().st_size, "sha256": hashlib.sha256(f.read_bytes()).hexdigest().upper()}
            for f in files
        ]
        (folder / f"list_{day}.txt").write_text(json.dumps({"batch": day, "files": entries}))
    resource = parts(kind, pattern=r"part_\d+_.\.csv", load="incremental")
    assert all_rows(open_at(resource, place, tmp_path)) == [[("0", "a"), ("0", "b")], [("0", "c")]]


def test_f33_a_manifest_that_still_grows_is_not_complete(
    place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.setenv("GUIJI_TEST_DROP", str(folder))
    sizes = [write(folder, f"part_{i}.csv", str(i)).stat().st_size for i in range(2)]
    manifest = folder / "list_20261001.txt"
    manifest.write_text(f"part_0.csv {sizes[0]}\n")

    def write_on(seconds: float) -> None:
        manifest.write_text(f"part_0.csv {sizes[0]}\npart_1.csv {sizes[1]}\n")

    resource = parts("files", complete={"seconds": 1})
    with monkeypatch.context() as patch:
        patch.setattr("guiji.sources.remote_candidates.time.sleep", write_on)
        with pytest.raises(NothingDelivered, match="not complete yet"):
            open_at(resource, place, tmp_path)
    assert all_rows(open_at(resource, place, tmp_path)) == [[("0", "0"), ("0", "1")]]


# --- archive ------------------------------------------------------------------------------------------


def archived(kind: str, **more: Any) -> Any:
    """A resource whose published files go to ``done``."""
    where = {"directory": "${GUIJI_TEST_DROP}"} if kind == "files" else {"connection": "drop", "directory": "/"}
    source = {
        "kind": kind,
        **where,
        "pattern": r"p_(?P<date>\d{8})\.csv",
        "complete": {"seconds": 0},
        "archive": "done",
    }
    return make_resource(source, ["编号", "姓名"], **more)


def tree(folder: Path) -> dict[str, str]:
    """What lies where: relative path -> the names in the file."""
    return {
        str(p.relative_to(folder)): ",".join(line.partition(",")[2] for line in p.read_text().splitlines()[1:])
        for p in sorted(folder.rglob("*.csv"))
    }


def test_published_files_are_moved_and_no_others(way: tuple[str, Path], place: Settings, tmp_path: Path) -> None:
    kind, folder = way
    resource = archived(kind, load="incremental")
    write(folder, "p_20261001.csv", "一")
    first = open_at(resource, place, tmp_path)
    write(folder, "p_20261002.csv", "二")
    assert archive_delivered(resource, place, []) == []
    held = [KnownFile(**{**f.__dict__, "status": "held"}) for f in known(first, "b1")]
    assert archive_delivered(resource, place, held) == []
    assert tree(folder) == {"p_20261001.csv": "一", "p_20261002.csv": "二"}
    assert archive_delivered(resource, place, known(first, "b1")) == []
    assert tree(folder) == {"done/p_20261001.csv": "一", "p_20261002.csv": "二"}
    assert archive_delivered(resource, place, known(first, "b1")) == []
    assert all_rows(open_at(resource, place, tmp_path, known=known(first, "b1"))) == [[("0", "二")]]


def test_nothing_in_the_archive_is_ever_overwritten(way: tuple[str, Path], place: Settings, tmp_path: Path) -> None:
    kind, folder = way
    taken: list[KnownFile] = []
    for i, name in enumerate(("一", "一改", "一再改")):
        write(folder, "p_20261001.csv", name, at=1_790_000_000 if i == 2 else 1_790_000_000 + 60 * i)
        delivery = open_at(archived(kind, load="incremental"), place, tmp_path, known=taken)
        assert rows_of(delivery) == [("0", name)]
        taken += known(delivery, f"b{i}")
        assert archive_delivered(archived(kind), place, taken) == []
    assert tree(folder) == {
        "done/p_20261001.csv": "一",
        "done/p_20261001.20260921T141420Z.csv": "一改",
        "done/p_20261001.20260921T141320Z.csv": "一再改",
    }


def test_what_a_killed_run_left_is_moved_by_the_next(way: tuple[str, Path], place: Settings, tmp_path: Path) -> None:
    kind, folder = way
    resource = archived(kind)
    write(folder, "p_20261001.csv", "旧")
    write(folder, "p_20261002.csv", "一")
    first = open_at(resource, place, tmp_path)
    with pytest.raises(NothingDelivered) as caught:
        open_at(resource, place, tmp_path, known=known(first, "b1"))
    # the window's newest file has been taken; the older one left behind does not come after it
    assert caught.value.context["known_batch"] == "b1"
    assert tree(folder) == {"done/p_20261002.csv": "一", "p_20261001.csv": "旧"}
    write(folder, "p_20261003.csv", "二")
    assert rows_of(open_at(resource, place, tmp_path, known=known(first, "b1"))) == [("0", "二")]


def test_a_backfill_reads_from_the_archive(way: tuple[str, Path], place: Settings, tmp_path: Path) -> None:
    kind, folder = way
    resource = archived(kind, load="incremental")
    write(folder, "p_20261001.csv", "一")
    first = open_at(resource, place, tmp_path)
    archive_delivered(resource, place, known(first, "b1"))
    write(folder, "p_20261002.csv", "二")
    again = open_at(resource, place, tmp_path, explicit=True, known=known(first, "b1"))
    assert all_rows(again) == [[("0", "一")], [("0", "二")]]


def test_a_file_replaced_before_the_move_stays(way: tuple[str, Path], place: Settings, tmp_path: Path) -> None:
    kind, folder = way
    resource = archived(kind, load="incremental")
    write(folder, "p_20261001.csv", "一")
    first = open_at(resource, place, tmp_path)
    write(folder, "p_20261001.csv", "新的", at=1_790_000_060)
    assert archive_delivered(resource, place, known(first, "b1")) == []
    assert tree(folder) == {"p_20261001.csv": "新的"}
    assert rows_of(open_at(resource, place, tmp_path, known=known(first, "b1"))) == [("0", "新的")]


def test_a_file_replaced_during_the_move_goes_back(
    place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.setenv("GUIJI_TEST_DROP", str(folder))
    resource = archived("files", load="incremental")
    write(folder, "p_20261001.csv", "一")
    first = open_at(resource, place, tmp_path)
    rename = os.rename

    def late(source: Any, target: Any) -> None:
        if b"done" in target:
            write(folder, "p_20261001.csv", "新的", at=1_790_000_060)
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", late)
        notes = archive_delivered(resource, place, known(first, "b1"))
    assert notes == ["文件 p_20261001.csv 在归档时被替换，已放回原处，将作为新文件采集"]
    assert tree(folder) == {"p_20261001.csv": "新的"}


@pytest.mark.parametrize("obstacle", ["no permission", "a file in its place"])
def test_a_file_that_can_not_be_moved_is_noted_and_kept(
    place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    if obstacle == "a file in its place":
        (folder / "done").write_text("x")
    with servers.serve_ftp(folder, writable=obstacle != "no permission") as server:
        monkeypatch.setenv("AIRFLOW_CONN_DROP", plain(server).to_json())
        resource = archived("ftp", load="incremental")
        write(folder, "p_20261001.csv", "一")
        first = open_at(resource, place, tmp_path)
        trouble = "文件 p_20261001.csv 已入库，但未能移入归档目录，下次采集时再移"
        assert archive_delivered(resource, place, known(first, "b1")) == [trouble]
        write(folder, "p_20261002.csv", "二")
        second = open_at(resource, place, tmp_path, known=known(first, "b1"))
        assert rows_of(second) == [("0", "二")]
        assert trouble in second.report.notes
        assert tree(folder) == {"p_20261001.csv": "一", "p_20261002.csv": "二"}


def test_f40_gbk_names_can_be_archived(place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("sftp", "ftp"):
        folder = tmp_path / kind
        folder.mkdir()
        with serve(kind, folder, encoding="gbk") as server:
            monkeypatch.setenv("AIRFLOW_CONN_DROP", plain(server, extra={"encoding": "gbk"}).to_json())
            source: dict[str, Any] = {
                "kind": kind,
                "connection": "drop",
                "directory": "/",
                "pattern": r"户籍_(?P<date>\d{8})\.csv",
            }
            source |= {"complete": {"seconds": 0}, "archive": "已归集"}
            resource = make_resource(source, ["编号", "姓名"], load="incremental")
            write(folder, "户籍_20261001.csv", "一")
            first = open_at(resource, place, tmp_path)
            assert archive_delivered(resource, place, known(first, "b1")) == []
            assert tree(folder) == {"已归集/户籍_20261001.csv": "一"}


# --- F-36: series -------------------------------------------------------------------------------------


def test_f36_missing_days_of_a_series_are_named(way: tuple[str, Path], place: Settings, tmp_path: Path) -> None:
    kind, folder = way
    resource = drop(kind, load="incremental", update_cycle="每日")
    for day in ("03", "01", "06"):
        write(folder, f"p_202610{day}.csv", day)
    first = open_at(resource, place, tmp_path)
    deliveries = (first, *first.following)
    assert all_rows(first) == [[("0", "01")], [("0", "03")], [("0", "06")]]
    assert [d.report.notes for d in deliveries] == [
        [],
        ["2026-10-03 之前缺少 2026-10-02 的文件，请补报"],
        ["2026-10-06 之前缺少 2026-10-04、2026-10-05 的文件，请补报"],
    ]
    taken = [k for d in deliveries for k in known(d, "b")]
    write(folder, "p_20261002.csv", "02")
    write(folder, "p_20261007.csv", "07")
    late = open_at(resource, place, tmp_path, known=taken)
    assert [d.report.notes for d in (late, *late.following)] == [
        ["文件 p_20261002.csv 的业务日期早于已归集的 2026-10-06，属补报"],
        [],
    ]


@pytest.mark.parametrize(
    ("cycle", "there", "day", "missing", "more"),
    [
        ("每日", ["2026-10-01"], "2026-10-02", [], {}),
        ("每日", [], "2026-10-09", [], {}),
        ("每日", ["2026-10-09"], "2026-10-09", [], {}),
        ("每日", ["2026-09-30", "2026-10-12"], "2026-10-09", ["2026-10-08"], {"working_days": True}),
        ("每周", ["2026-10-01"], "2026-10-20", ["2026-10-05", "2026-10-12"], {}),
        ("每月", ["2026-08-31"], "2026-11-01", ["2026-09-01", "2026-10-01"], {}),
        ("不定期", ["2026-01-01"], "2026-11-01", [], {}),
    ],
)
def test_f36_gaps_follow_the_cycle(
    cycle: str, there: list[str], day: str, missing: list[str], more: dict[str, Any]
) -> None:
    resource = drop("files", load="incremental", update_cycle=cycle, delivery=more)
    assert [d.isoformat() for d in find_gap(resource, there, date.fromisoformat(day))] == missing


# --- TLS, IPv6, slow and endless servers --------------------------------------------------------------


def test_ftps_needs_the_pinned_authority(place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    write(folder, "p_20261001.csv", "张三")
    stranger, _ = make_certificates()
    with serve("ftps", folder) as server:
        for extra, says in (
            ({"ca_pem": None}, "is not trusted"),
            ({"ca_pem": stranger}, "is not trusted"),
            ({"verify": False}, "sets verify"),
            ({"insecure": "true"}, "sets insecure"),
            ({"ca_pem": None, "ca_file": "/nowhere.pem"}, "can't be read"),
            ({"ca_pem": "no certificate"}, "can't be read"),
        ):
            monkeypatch.setenv("AIRFLOW_CONN_DROP", plain(server, extra=extra).to_json())
            for attempt in (lambda: open_at(drop("ftp"), place, tmp_path), lambda: probe(drop("ftp"), place)):
                with pytest.raises(SourceRefused, match=says):
                    attempt()
        monkeypatch.setenv("AIRFLOW_CONN_DROP", plain(server).to_json())
        assert rows_of(open_at(drop("ftp"), place, tmp_path)) == [("0", "张三")]
        monkeypatch.setenv("AIRFLOW_CONN_DROP", plain(server, conn_type="ftp").to_json())
        with pytest.raises(SourceRefused):  # a server that wants TLS lets nobody in without
            open_at(drop("ftp"), place, tmp_path)


def test_ftps_needs_a_certificate_for_this_host(
    place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, certificate = make_certificates("ftp.example", ())
    with servers.serve_ftp(tmp_path, certificate=certificate) as server:
        monkeypatch.setenv("AIRFLOW_CONN_DROP", plain(server, extra={"ca_pem": authority}).to_json())
        with pytest.raises(SourceRefused, match="is not trusted"):
            open_at(drop("ftp"), place, tmp_path)


def test_ftps_is_never_downgraded(place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.serve_ftp(tmp_path) as server:
        monkeypatch.setenv("AIRFLOW_CONN_DROP", plain(server, conn_type="ftps").to_json())
        with pytest.raises(SourceRefused, match="does not offer TLS"):
            open_at(drop("ftp"), place, tmp_path)


@pytest.mark.parametrize("kind", ["sftp", "ftp", "old ftp", "ftps"])
def test_servers_may_be_on_ipv6(kind: str, place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    write(folder, "p_20261001.csv", "张三")
    with serve(kind, folder, host="::1") as server:
        assert server.host == "::1"
        monkeypatch.setenv("AIRFLOW_CONN_DROP", plain(server).to_json())
        assert rows_of(open_at(drop(kind_of(server)), place, tmp_path)) == [("0", "张三")]


def test_f34_a_transfer_without_end_or_at_a_crawl_is_cut() -> None:
    pace = Pace(10, timeout=30)
    assert pace.count(b"1234567890") == b"1234567890"
    with pytest.raises(OSError, match="more bytes than the listing says"):
        pace.count(b"1")
    slow = Pace(1 << 20, timeout=0.05)
    slow.count(b"1")
    time.sleep(0.15)
    with pytest.raises(TimeoutError, match="bytes per second"):
        slow.count(b"2")


@pytest.mark.parametrize("kind", ["sftp", "old ftp"])
def test_f34_a_server_that_sends_more_than_it_said_is_no_delivery(
    kind: str, place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    with serve(kind, folder) as server:
        write(folder, "p_20261001.csv", *["张三"] * 1000)
        server.faults.size_lie = -100
        monkeypatch.setenv("AIRFLOW_CONN_DROP", plain(server).to_json())
        with pytest.raises(SourceUnavailable, match="Nothing was staged"):
            open_at(drop(kind_of(server)), place, tmp_path / "scratch")
        assert list((tmp_path / "scratch").iterdir()) == []
