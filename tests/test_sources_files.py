"""Files over a folder, SFTP and FTP, each with a real server: whole or not at all, once, in order, by pinned hosts only."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from delivering import NOW, make_resource, open_at, plain_settings, rows_of
from dropping import drop, kind_of, known, plain, serve, write

from guiji.demo import servers
from guiji.errors import DeliveryRefused, NothingDelivered, SourceRefused, SourceUnavailable, UsageError
from guiji.records import Window
from guiji.settings import TIME_ZONE, Settings
from guiji.sources import probe
from guiji.sources.sftp import fetch_host_key


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    return plain_settings(tmp_path / "home")


@pytest.fixture(params=["files", "sftp", "ftp", "old ftp", "ftps"])
def way(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """(kind, the folder that the department fills), each way in turn."""
    kind = request.param.split()[-1].removesuffix("s") if "ftp" in request.param else "files"
    folder = tmp_path / "out"
    folder.mkdir()
    if kind == "files":
        monkeypatch.setenv("GUIJI_TEST_DROP", str(folder))
        yield kind, folder
        return
    with serve(request.param, folder) as server:
        monkeypatch.setenv("AIRFLOW_CONN_DROP", plain(server).to_json())
        yield kind, folder


# --- every way ----------------------------------------------------------------------------------------


def test_a_snapshot_is_the_newest_file(way: tuple[str, Path], place: Settings, tmp_path: Path) -> None:
    kind, folder = way
    write(folder, "p_20261001.csv", "旧")
    newest = write(folder, "p_20261002.csv", "张三", "李四")
    write(folder, "other.txt", "x")
    write(folder, ".p_20261009.csv", "x")
    (folder / "p_20261010.csv").mkdir()
    delivery = open_at(drop(kind), place, tmp_path)
    assert rows_of(delivery) == [("0", "张三"), ("1", "李四")]
    digest = hashlib.sha256(newest.read_bytes()).hexdigest()
    assert [(f.path, f.size, f.modified_at.timestamp(), f.sha256, f.business_date) for f in delivery.files] == [
        ("p_20261002.csv", newest.stat().st_size, 1_790_000_000, digest, "2026-10-02")
    ]
    assert delivery.fingerprint == hashlib.sha256(digest.encode()).hexdigest()
    assert delivery.redelivered_of is None


def test_f36_an_increment_is_every_new_file_by_business_date(
    way: tuple[str, Path], place: Settings, tmp_path: Path
) -> None:
    kind, folder = way
    resource = drop(kind, load="incremental")
    write(folder, "p_20261003.csv", "三", at=1_790_000_000)
    third = open_at(resource, place, tmp_path)
    assert rows_of(third) == [("0", "三")]
    write(folder, "p_20261001.csv", "一", at=1_790_000_200)
    write(folder, "p_20261002.csv", "二", at=1_790_000_100)
    first = open_at(resource, place, tmp_path, known=known(third, "b1"))
    (second,) = first.following
    assert (rows_of(first), rows_of(second)) == ([("0", "一")], [("0", "二")])
    assert [len([n for n in d.report.notes if "补报" in n]) for d in (first, second)] == [1, 1]
    with pytest.raises(NothingDelivered):
        open_at(resource, place, tmp_path, known=[*known(third, "b1"), *known(first, "b2"), *known(second, "b3")])


def test_nothing_there_and_nothing_new_are_nothing_delivered(
    way: tuple[str, Path], place: Settings, tmp_path: Path
) -> None:
    kind, folder = way
    with pytest.raises(NothingDelivered, match="no file matches"):
        open_at(drop(kind), place, tmp_path)
    write(folder, "p_20261002.csv", "张三")
    first = open_at(drop(kind), place, tmp_path)
    write(folder, "p_20261001.csv", "迟到的旧文件")
    with pytest.raises(NothingDelivered, match="none new") as caught:
        open_at(drop(kind), place, tmp_path, known=known(first, "b1"))
    assert caught.value.context["known_batch"] == "b1"
    probe(drop(kind), place)


def test_f35_the_same_content_under_another_name_is_a_redelivery(
    way: tuple[str, Path], place: Settings, tmp_path: Path
) -> None:
    kind, folder = way
    write(folder, "p_20261001.csv", "张三")
    first = open_at(drop(kind), place, tmp_path)
    write(folder, "p_20261002.csv", "张三")
    again = open_at(drop(kind), place, tmp_path, known=known(first, "b1"))
    assert (again.redelivered_of, again.fingerprint != first.fingerprint) == ("b1", True)
    write(folder, "p_20261002.csv", "李四", at=1_790_000_300)
    changed = open_at(drop(kind), place, tmp_path, known=[*known(first, "b1"), *known(again, "b2")])
    assert (changed.redelivered_of, rows_of(changed)) == (None, [("0", "李四")])


def test_f35_in_a_series_what_was_taken_is_known_for_itself(
    way: tuple[str, Path], place: Settings, tmp_path: Path
) -> None:
    kind, folder = way
    resource = drop(kind, load="incremental")
    write(folder, "p_20261001.csv", "张三")
    first = open_at(resource, place, tmp_path)
    write(folder, "p_20261002.csv", "张三")
    write(folder, "p_20261003.csv", "李四")
    copy = open_at(resource, place, tmp_path, known=known(first, "b1"))
    (new,) = copy.following
    assert (copy.redelivered_of, [f.path for f in copy.files]) == ("b1", ["p_20261002.csv"])
    assert (new.redelivered_of, rows_of(new)) == (None, [("0", "李四")])


def test_a_held_file_is_not_taken_again_but_its_content_may_be(
    way: tuple[str, Path], place: Settings, tmp_path: Path
) -> None:
    kind, folder = way
    write(folder, "p_20261001.csv", "张三")
    held = [dataclasses.replace(f, status="held") for f in known(open_at(drop(kind), place, tmp_path), "b1")]
    with pytest.raises(NothingDelivered) as caught:
        open_at(drop(kind), place, tmp_path, known=held)
    assert caught.value.context["known_batch"] == "b1"
    write(folder, "p_20261002.csv", "张三")
    again = open_at(drop(kind), place, tmp_path, known=held)
    assert (again.redelivered_of, rows_of(again)) == (None, [("0", "张三")])


def test_f33_one_half_file_of_a_series_does_not_stop_the_others(
    way: tuple[str, Path], place: Settings, tmp_path: Path
) -> None:
    kind, folder = way
    for day, name in (("01", "一"), ("02", "二")):
        path = write(folder, f"p_202610{day}.csv", name)
        (folder / f"p_202610{day}.csv.ok").write_text("3" if day == "01" else str(path.stat().st_size))
    first = open_at(drop(kind, load="incremental", complete={"mode": "ok_file"}), place, tmp_path)
    with pytest.raises(DeliveryRefused) as caught:
        rows_of(first)
    assert (caught.value.rule_id, caught.value.context["fingerprint"]) == ("delivery.half_a_file", first.fingerprint)
    assert [rows_of(d) for d in first.following] == [[("0", "二")]]


def test_a_backfill_takes_the_files_of_its_window_known_or_not(
    way: tuple[str, Path], place: Settings, tmp_path: Path
) -> None:
    kind, folder = way
    resource = drop(kind, load="incremental")
    for name in ("20260930", "20261001", "20261031", "20261101"):
        write(folder, f"p_{name}.csv", name)
    everything = open_at(resource, place, tmp_path, now=datetime(2026, 12, 1, tzinfo=TIME_ZONE))
    again = open_at(resource, place, tmp_path, explicit=True, known=known(everything, "b1"))
    assert [rows_of(d) for d in (again, *again.following)] == [[("0", "20261001")], [("0", "20261031")]]
    september = Window(datetime(2026, 9, 1, tzinfo=TIME_ZONE), datetime(2026, 9, 30, tzinfo=TIME_ZONE))
    with pytest.raises(NothingDelivered):
        open_at(resource, place, tmp_path, explicit=True, window=september)


def test_f33_unfinished_names_are_never_deliveries(way: tuple[str, Path], place: Settings, tmp_path: Path) -> None:
    kind, folder = way
    for suffix in (".part", ".tmp", ".filepart", ".PART"):
        write(folder, f"p_20261001.csv{suffix}", "x")
    with pytest.raises(NothingDelivered):
        open_at(drop(kind, pattern=r"p_.*"), place, tmp_path)


def test_f33_a_growing_file_is_never_taken(way: tuple[str, Path], place: Settings, tmp_path: Path) -> None:
    kind, folder = way
    content = write(folder, "p_20261001.csv", *[f"人{i}" for i in range(200)]).read_bytes()
    stop = threading.Event()

    def dribble() -> None:
        with (folder / "p_20261001.csv").open("wb") as f:
            for start in range(0, len(content), 50):
                f.write(content[start : start + 50])
                f.flush()
                if stop.wait(0.05):
                    f.write(content[start + 50 :])
                    return

    writer = threading.Thread(target=dribble)
    writer.start()
    time.sleep(0.1)
    for _ in range(2):
        with pytest.raises(NothingDelivered, match="not complete yet"):
            open_at(drop(kind, seconds=0.3), place, tmp_path)
    stop.set()
    writer.join()
    assert len(rows_of(open_at(drop(kind, seconds=0.3), place, tmp_path))) == 200


def test_f33_a_marker_file_says_when_and_how_much(way: tuple[str, Path], place: Settings, tmp_path: Path) -> None:
    kind, folder = way
    resource = drop(kind, complete={"mode": "ok_file", "suffix": ".ok"})
    path = write(folder, "p_20261001.csv", "张三")
    with pytest.raises(NothingDelivered):
        open_at(resource, place, tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for marker in (
        "",
        str(path.stat().st_size),
        f"{digest}  p_20261001.csv",
        hashlib.md5(path.read_bytes()).hexdigest(),
    ):
        (folder / "p_20261001.csv.ok").write_text(marker)
        assert rows_of(open_at(resource, place, tmp_path)) == [("0", "张三")]
    for marker in ("17", "0" * 64, "0" * 32):
        (folder / "p_20261001.csv.ok").write_text(marker)
        with pytest.raises(DeliveryRefused) as caught:
            open_at(resource, place, tmp_path)
        assert caught.value.rule_id == "delivery.half_a_file"


def test_a_date_that_is_none_is_refused(way: tuple[str, Path], place: Settings, tmp_path: Path) -> None:
    kind, folder = way
    write(folder, "p_20261399.csv", "x")
    with pytest.raises(DeliveryRefused, match="20261399"):
        open_at(drop(kind), place, tmp_path)


def test_nothing_is_left_in_the_scratch_folder(way: tuple[str, Path], place: Settings, tmp_path: Path) -> None:
    kind, folder = way
    write(folder, "p_20261001.csv", "张三")
    scratch = tmp_path / "scratch"
    assert rows_of(open_at(drop(kind), place, scratch)) == [("0", "张三")]
    assert list(scratch.iterdir()) == []


def test_a_department_file_in_the_future_waits(way: tuple[str, Path], place: Settings, tmp_path: Path) -> None:
    kind, folder = way
    write(folder, "p_20990101.csv", "x")
    with pytest.raises(NothingDelivered):
        open_at(drop(kind), place, tmp_path, now=NOW)


# --- names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "gbk"])
@pytest.mark.parametrize("kind", ["sftp", "ftp"])
def test_f40_names_in_gbk_or_utf8(
    kind: str, encoding: str, place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    write(folder.parent, "x")
    (folder / "人口").mkdir(parents=True)
    write(folder / "人口", "户籍_20261001.csv", "张三")
    serve = (servers.serve_sftp if kind == "sftp" else servers.serve_ftp)(folder, encoding=encoding)
    with serve as server:
        monkeypatch.setenv("AIRFLOW_CONN_DROP", plain(server, extra={"encoding": encoding}).to_json())
        source = {
            "kind": kind,
            "connection": "drop",
            "directory": "/人口",
            "pattern": r"户籍_(?P<date>\d{8})\.csv",
            "complete": {"seconds": 0},
        }
        delivery = open_at(make_resource(source, ["编号", "姓名"]), place, tmp_path)
        assert ([f.path for f in delivery.files], rows_of(delivery)) == (["户籍_20261001.csv"], [("0", "张三")])


def test_f40_names_in_gbk_on_disk(place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUIJI_TEST_DROP", str(tmp_path))
    Path(os.fsdecode(os.fsencode(tmp_path) + "/户籍.csv".encode("gbk"))).write_text("编号,姓名\n1,张三\n")
    assert rows_of(open_at(drop("files", pattern="户籍.csv"), place, tmp_path / "s")) == [("1", "张三")]


@pytest.mark.parametrize("directory", ["${GUIJI_NOT_SET_ANYWHERE}/x", "relative", "/tmp/../etc"])
def test_a_directory_that_leads_astray_is_a_catalog_error(place: Settings, tmp_path: Path, directory: str) -> None:
    resource = make_resource({"kind": "files", "directory": directory, "pattern": "."}, ["编号"])
    with pytest.raises(UsageError):
        open_at(resource, dataclasses.replace(place, real_data=None), tmp_path)


# --- transfers that fail ------------------------------------------------------------------------------


@pytest.fixture(params=["sftp", "ftp", "ftps"])
def server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    folder = tmp_path / "out"
    with serve(request.param if request.param == "sftp" else f"old {request.param}", folder) as found:
        monkeypatch.setenv("AIRFLOW_CONN_DROP", plain(found).to_json())
        write(folder, "p_20261001.csv", *["张三" * 20] * 4000)
        yield found


@pytest.mark.parametrize("fault", [{"size_lie": 10}, {"close_after_bytes": 50_000}, {"stall_after_bytes": 50_000}])
def test_f34_a_transfer_that_breaks_off_is_never_a_delivery(
    server: Any, place: Settings, tmp_path: Path, fault: dict[str, int]
) -> None:
    for name, value in fault.items():
        setattr(server.faults, name, value)
    scratch = tmp_path / "scratch"
    with pytest.raises(SourceUnavailable, match="Nothing was staged"):
        open_at(drop(kind_of(server)), place, scratch)
    assert list(scratch.iterdir()) == []
    server.faults.clear()
    assert len(rows_of(open_at(drop(kind_of(server)), place, scratch))) == 4000


@pytest.mark.parametrize("fault", [{"close_after_bytes": 50_000}, {"stall_after_bytes": 50_000}])
def test_f34_a_single_break_is_mended_by_trying_again(
    server: Any, place: Settings, tmp_path: Path, fault: dict[str, int]
) -> None:
    server.faults.times = 1
    for name, value in fault.items():
        setattr(server.faults, name, value)
    assert len(rows_of(open_at(drop(kind_of(server)), place, tmp_path))) == 4000


def test_wrong_password_is_refused_and_not_shown(
    server: Any, place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_DROP", plain(server, password="falsch-geheim").to_json())
    for attempt in (
        lambda: open_at(drop(kind_of(server)), place, tmp_path),
        lambda: probe(drop(kind_of(server)), place),
    ):
        with pytest.raises(SourceRefused, match="mend connection drop") as caught:
            attempt()
        assert "falsch-geheim" not in f"{caught.value!r}{caught.value.context}{caught.value.__cause__!r}"


def test_unreachable_and_missing_directory_are_unavailable(
    server: Any, place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = make_resource(
        {"kind": kind_of(server), "connection": "drop", "directory": "/nowhere", "pattern": "."}, ["编号"]
    )
    with pytest.raises(SourceUnavailable):
        open_at(nowhere, place, tmp_path)
    monkeypatch.setenv("AIRFLOW_CONN_DROP", plain(server, port=1).to_json())
    with pytest.raises(SourceUnavailable, match="can't be reached"):
        open_at(drop(kind_of(server)), place, tmp_path)


# --- F-69 host keys -----------------------------------------------------------------------------------


def test_f69_a_changed_host_key_is_refused_with_both_fingerprints(
    sftp_server: Any, place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(sftp_server.root, "p_20261001.csv", "张三")
    pinned = plain(sftp_server)
    monkeypatch.setenv("AIRFLOW_CONN_DROP", pinned.to_json())
    assert rows_of(open_at(drop("sftp"), place, tmp_path)) == [("0", "张三")]
    _, before = fetch_host_key(pinned)
    new = sftp_server.change_host_key()
    key, after = fetch_host_key(pinned)
    with pytest.raises(SourceRefused, match="doctor enroll-host-key drop") as caught:
        open_at(drop("sftp"), place, tmp_path)
    assert before in str(caught.value)
    assert after in str(caught.value)
    assert key.split()[:2] == new.split()[:2]
    monkeypatch.setenv("AIRFLOW_CONN_DROP", plain(sftp_server, extra={"host_key": key}).to_json())
    assert rows_of(open_at(drop("sftp"), place, tmp_path)) == [("0", "张三")]


@pytest.mark.parametrize(
    "extra",
    [{"host_key": None}, {"no_host_key_check": True}, {"allow_host_key_change": "true"}, {"host_key": "?"}],
    ids=["none", "no check", "allow change", "garbage"],
)
def test_f69_without_a_pinned_key_nothing_is_read(
    sftp_server: Any, place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_DROP", plain(sftp_server, extra=extra).to_json())
    with pytest.raises(SourceRefused, match="enroll-host-key drop"):
        open_at(drop("sftp"), place, tmp_path)


def test_f69_airflows_form_without_key_type_works(
    sftp_server: Any, place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(sftp_server.root, "p_20261001.csv", "张三")
    key = sftp_server.extra["host_key"].split()[1]
    monkeypatch.setenv("AIRFLOW_CONN_DROP", plain(sftp_server, extra={"host_key": key}).to_json())
    assert rows_of(open_at(drop("sftp"), place, tmp_path)) == [("0", "张三")]
