"""FTP servers of every age, and files that are written while we look: whole files, or none yet."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from delivering import make_resource, open_at, plain_settings, rows_of
from dropping import drop, kind_of, plain, serve, write

from guiji.errors import DeliveryRefused, NothingDelivered, SourceRefused, SourceUnavailable
from guiji.ledger import KnownFile
from guiji.settings import Settings
from guiji.sources import archive_delivered
from guiji.sources.files import LocalFolder
from guiji.sources.ftp import FtpFolder
from guiji.sources.ftp_list import parse_list
from guiji.sources.remote_folder import ATTEMPTS, Listed, fetch_whole

KINDS = ["ftp", "old ftp", "bare ftp", "windows ftp", "ftps", "implicit ftps", "ragged ftps"]


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    return plain_settings(tmp_path / "home")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_listing_shows_the_same_files(kind: str, tmp_path: Path) -> None:
    names = ["户籍_20261019.csv", "with blank.csv", " lead.csv", "-dash.csv", "a;b=c.csv", "empty.csv"]
    folder = tmp_path / "out"
    with serve(kind, folder) as server:
        inner = folder / "出 口"
        (inner / "sub").mkdir(parents=True)
        (folder / "nothing").mkdir()
        truth = set()
        for i, name in enumerate(names):
            content = b"" if name == "empty.csv" else os.urandom(100_000 + i)
            (inner / name).write_bytes(content)
            os.utime(inner / name, (1_790_000_040, 1_790_000_040))  # a whole minute: LIST has no seconds
            truth.add(
                (name, len(content), datetime.fromtimestamp(1_790_000_040, UTC), hashlib.sha256(content).hexdigest())
            )
        ftp = FtpFolder(plain(server), "/出 口")
        found = {
            (f.name, f.size, f.modified_at, fetch_whole(ftp, f, tmp_path / "scratch" / "one")[1])
            for f in ftp.list_files()
        }
        ftp.close()
        assert found == truth
        for directory, seen in (("/nothing", 0), ("出 口", len(names))):
            ftp = FtpFolder(plain(server), directory)
            assert len(ftp.list_files()) == len(ftp.list_files()) == seen
            ftp.close()
        with pytest.raises(SourceUnavailable, match="check the directory"):
            FtpFolder(plain(server), "/absent").list_files()


@pytest.mark.parametrize("kind", ["old ftp"])
def test_a_file_that_has_no_size_is_no_directory(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with serve(kind, folder) as server:
        os.symlink(folder / "away.csv", folder / "p_20261001.csv")
        ftp = FtpFolder(plain(server), "/")
        assert [f.name for f in ftp.list_files()] == ["p_20261001.csv"]
        with pytest.raises((SourceUnavailable, SourceRefused), match=r"p_20261001\.csv"):
            fetch_whole(ftp, ftp.list_files()[0], tmp_path / "scratch" / "one")
        ftp.close()


NOVEMBER = datetime(2026, 11, 30, 1, tzinfo=UTC)
FORMS = {
    "-rw-r--r--   1 owner group      1234 Oct 19 09:00 a b.csv": (
        "a b.csv",
        1234,
        datetime(2026, 10, 19, 9, tzinfo=UTC),
        False,
    ),
    "-rw-r--r--   1 owner group      1234 Dec 31 09:00  a.csv": (
        " a.csv",
        1234,
        datetime(2025, 12, 31, 9, tzinfo=UTC),
        False,
    ),
    "-rw-r--r--   1 owner group      1234 Dec  1 00:30 a.csv": (
        "a.csv",
        1234,
        datetime(2026, 12, 1, 0, 30, tzinfo=UTC),
        False,
    ),
    "-rw-r--r-- 1 ftp 99 Jan  3  2020 7 Oct 1 2020 x": ("7 Oct 1 2020 x", 99, datetime(2020, 1, 3, tzinfo=UTC), True),
    "-rw-r--r--. 1 a domain users 3 2026-10-19 09:05 x": ("x", 3, datetime(2026, 10, 19, 9, 5, tzinfo=UTC), False),
    "-rw-r--r-- 1 a b 3 10月 19 09:00 x": ("x", 3, datetime(2026, 10, 19, 9, tzinfo=UTC), False),
    "-rw-r--r-- 1 a b 3 Feb 29 09:00 x": ("x", 3, datetime(2024, 2, 29, 9, tzinfo=UTC), False),
    "10-19-26  12:05AM                 1234 a b.csv": (
        "a b.csv",
        1234,
        datetime(2026, 10, 19, 0, 5, tzinfo=UTC),
        False,
    ),
    "10-19-2026  12:05PM                 1,234 -a.csv": (
        "-a.csv",
        1234,
        datetime(2026, 10, 19, 12, 5, tzinfo=UTC),
        False,
    ),
    "10-19-26  21:05                 0  a": (" a", 0, datetime(2026, 10, 19, 21, 5, tzinfo=UTC), False),
    "10-19-26  09:00AM       <DIR>          sub": None,
    "drwxr-xr-x   2 owner group  4096 Oct 19 09:00 sub": None,
    "lrwxrwxrwx 1 a b 3 Oct 19 09:00 l -> x": None,
    "total 12": None,
}


@pytest.mark.parametrize(("line", "file"), FORMS.items())
def test_listings_for_people_are_read(line: str, file: tuple[str, int, datetime, bool] | None) -> None:
    found = list(parse_list([line.encode().decode("latin-1")], NOVEMBER))
    assert found == ([file] if file else [])


def test_a_listing_of_another_form_is_an_error() -> None:
    with pytest.raises(ValueError, match="no known form"):
        list(parse_list(["a.csv 1234 yesterday"], NOVEMBER))


# --- F-35: LIST says the clock of a young file and only the day of an old one -----------------------------


def aged(folder: Path, name: str, person: str, clock: int = 8, days: int = 400) -> KnownFile:
    """A file that is ``days`` old, written at ``clock``; as the ledger knows it that took it while the clock was said."""
    day = (datetime.now(UTC) - timedelta(days=days)).replace(hour=clock, minute=0, second=0, microsecond=0)
    path = write(folder, name, person, at=int(day.timestamp()))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return KnownFile(name, path.stat().st_size, day, digest, "2026-10-01", batch_id="b1")


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a server that knows LIST only."""
    with serve("bare ftp", tmp_path / "out") as server:
        monkeypatch.setenv("AIRFLOW_CONN_DROP", plain(server).to_json())
        yield tmp_path / "out"


@pytest.mark.parametrize("load", ["snapshot", "incremental"])
def test_f35_a_file_that_only_grew_old_is_no_new_delivery(
    bare: Path, place: Settings, tmp_path: Path, load: str
) -> None:
    taken = aged(bare, "p_20261001.csv", "甲")
    resource = drop("ftp", load=load, seconds=0.1)
    with pytest.raises(NothingDelivered, match="none new"):
        open_at(resource, place, tmp_path / "s", known=[taken])
    # read again on demand, it is still that file
    again = open_at(resource, place, tmp_path / "s", known=[taken], explicit=True)
    assert (rows_of(again), again.files[0].modified_at) == ([("0", "甲")], taken.modified_at)


@pytest.mark.parametrize("change", ["day", "size"])
def test_f35_an_old_file_of_another_day_or_size_is_a_new_delivery(
    bare: Path, place: Settings, tmp_path: Path, change: str
) -> None:
    taken = aged(bare, "p_20261001.csv", "甲")
    aged(bare, "p_20261001.csv", "乙" if change == "day" else "甲甲", days=399 if change == "day" else 400)
    delivery = open_at(drop("ftp"), place, tmp_path / "s", known=[taken])
    assert rows_of(delivery) == [("0", "乙" if change == "day" else "甲甲")]


def test_f35_of_two_files_of_one_day_the_later_stays_the_newest_when_their_clocks_are_gone(
    bare: Path, place: Settings, tmp_path: Path
) -> None:
    taken = aged(bare, "a.csv", "晚", clock=15)
    aged(bare, "b.csv", "早", clock=8)
    with pytest.raises(NothingDelivered, match="none new"):
        open_at(drop("ftp", pattern=r"[ab]\.csv"), place, tmp_path / "s", known=[taken])


def test_an_old_published_file_is_moved_to_the_archive_and_stays_there(
    bare: Path, place: Settings, tmp_path: Path
) -> None:
    taken = aged(bare, "p_20261001.csv", "甲")
    source = {"kind": "ftp", "connection": "drop", "directory": "/", "pattern": r"p_(?P<date>\d{8})\.csv"}
    resource = make_resource({**source, "complete": {"seconds": 0}, "archive": "done"}, ["编号", "姓名"])
    assert archive_delivered(resource, place, [taken]) == []
    assert [str(f.relative_to(bare)) for f in bare.rglob("*.csv")] == ["done/p_20261001.csv"]


# --- what is written while we look ----------------------------------------------------------------------


def marked(kind: str, seconds: float = 0.4) -> dict[str, object]:
    return {"complete": {"mode": "ok_file", "suffix": ".ok", "seconds": seconds}}


@pytest.mark.parametrize("kind", ["sftp", "ftp"])
def test_f33_a_marker_from_before_does_not_vouch_for_a_file_that_is_uploaded_again(
    kind: str, place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    with serve(kind, folder) as server:
        monkeypatch.setenv("AIRFLOW_CONN_DROP", plain(server).to_json())
        resource = drop(kind_of(server), **marked(kind))  # type: ignore[arg-type]
        path = folder / "p_20261001.csv"
        (folder / "p_20261001.csv.ok").touch()
        os.utime(folder / "p_20261001.csv.ok", (1_790_000_000, 1_790_000_000))
        stop = threading.Event()

        def dribble() -> None:
            with path.open("w", encoding="utf-8") as f:
                f.write("编号,姓名\n")
                for i in range(100_000):
                    f.write(f"{i},人{i}\n")
                    f.flush()
                    if stop.wait(0.02):
                        return

        writer = threading.Thread(target=dribble)
        writer.start()
        try:
            time.sleep(0.2)
            with pytest.raises(NothingDelivered, match="not complete yet"):
                open_at(resource, place, tmp_path / "scratch")
        finally:
            stop.set()
            writer.join()
        # marker first, file after it, and nothing moves any more: read, and said
        delivery = open_at(resource, place, tmp_path / "scratch")
        count = len(path.read_text(encoding="utf-8").splitlines()) - 1
        assert rows_of(delivery) == [(str(i), f"人{i}") for i in range(count)]
        assert delivery.report.notes == [
            "完成标志文件 p_20261001.csv.ok 早于文件 p_20261001.csv，不能说明文件已传完；请在文件传完之后再上传完成标志文件"
        ]


def test_f33_a_marker_as_old_as_its_file_is_believed_at_once(
    place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUIJI_TEST_DROP", str(tmp_path))
    path = write(tmp_path, "p_20261001.csv", "甲")
    (tmp_path / "p_20261001.csv.ok").touch()
    os.utime(tmp_path / "p_20261001.csv.ok", (path.stat().st_mtime, path.stat().st_mtime))
    began = time.monotonic()
    delivery = open_at(drop("files", **marked("files", seconds=30)), place, tmp_path / "scratch")  # type: ignore[arg-type]
    assert (rows_of(delivery), delivery.report.notes) == ([("0", "甲")], [])
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("kind", ["sha256", "sha256sum", "md5", "size"])
def test_f33_a_marker_from_before_that_proves_the_file_accuses_nobody(
    place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("GUIJI_TEST_DROP", str(tmp_path))
    content = write(tmp_path, "p_20261001.csv", "甲").read_bytes()
    says = {
        "sha256": hashlib.sha256(content).hexdigest().upper(),
        "sha256sum": f"{hashlib.sha256(content).hexdigest()} *p_20261001.csv\n",
        "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        "size": f"{len(content)}\r\n",
    }
    (tmp_path / "p_20261001.csv.ok").write_text(says[kind])
    os.utime(tmp_path / "p_20261001.csv.ok", (1_780_000_000, 1_780_000_000))
    delivery = open_at(drop("files", **marked("files", seconds=0.1)), place, tmp_path / "scratch")  # type: ignore[arg-type]
    assert (rows_of(delivery), delivery.report.notes) == ([("0", "甲")], [])


@pytest.mark.parametrize("said", ["", "ok", "done 2026-10-01"])
def test_f33_a_marker_from_before_that_states_nothing_is_told(
    place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv("GUIJI_TEST_DROP", str(tmp_path))
    write(tmp_path, "p_20261001.csv", "甲")
    (tmp_path / "p_20261001.csv.ok").write_text(said)
    os.utime(tmp_path / "p_20261001.csv.ok", (1_780_000_000, 1_780_000_000))
    delivery = open_at(drop("files", **marked("files", seconds=0.1)), place, tmp_path / "scratch")  # type: ignore[arg-type]
    assert rows_of(delivery) == [("0", "甲")]
    assert delivery.report.notes == [
        "完成标志文件 p_20261001.csv.ok 早于文件 p_20261001.csv，不能说明文件已传完；请在文件传完之后再上传完成标志文件"
    ]


def test_f33_a_marker_from_before_with_another_hash_refuses_the_file_that_stands_still(
    place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUIJI_TEST_DROP", str(tmp_path))
    write(tmp_path, "p_20261001.csv", "甲")
    (tmp_path / "p_20261001.csv.ok").write_text("0" * 64)
    os.utime(tmp_path / "p_20261001.csv.ok", (1_780_000_000, 1_780_000_000))
    with pytest.raises(DeliveryRefused, match="完成标志文件"):
        open_at(drop("files", **marked("files", seconds=0.1)), place, tmp_path / "scratch")  # type: ignore[arg-type]


class OverwrittenFolder(LocalFolder):
    """Whose file is overwritten with as many bytes whenever it has been read, so many times."""

    def __init__(self, directory: Path, times: int) -> None:
        super().__init__(directory, "ab.things")
        self.times = times

    def fetch(self, file: Listed, target: Path, attempt: int) -> None:
        super().fetch(file, target, attempt)
        if self.times:
            self.times -= 1
            time.sleep(0.01)  # the clock of the file system
            (self.directory / file.name).write_bytes(b"new")


def test_f34_a_file_that_is_overwritten_while_it_is_fetched_is_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"old")
    folder = OverwrittenFolder(tmp_path, times=1)
    path, _ = fetch_whole(folder, folder.list_files()[0], tmp_path / "scratch" / "one")
    assert path.read_bytes() == b"new"
    folder = OverwrittenFolder(tmp_path, times=ATTEMPTS)
    with pytest.raises(SourceUnavailable, match="written again"):
        fetch_whole(folder, folder.list_files()[0], tmp_path / "scratch" / "two")
    assert [p.name for p in (tmp_path / "scratch").iterdir()] == ["one"]
