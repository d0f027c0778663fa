"""What is kept how long: rejected rows and findings by days and open tickets; history in archives that come back equal."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from packages import Bad, SmallCatalog, at_day, deliver, make_library, make_resource
from typer.testing import CliRunner

from guiji.audit import verify_audit
from guiji.city import City, read_city
from guiji.cli import app
from guiji.errors import GuijiError, UsageError
from guiji.library import archive as archiving
from guiji.library.archive import archive_library, archive_resource, restore_archive
from guiji.library.archive_files import MANIFEST
from guiji.library.resolve import resolve
from guiji.library.retention import Swept, sweep_kept
from guiji.library.trace import trace
from guiji.settings import Settings

CITY = City(keep_rejected_days=10, keep_findings_days=20)


# --- rejected rows and findings ----------------------------------------------------------------------


def kept(conn: Any, table: str) -> set[tuple[str, int]]:
    conn.rollback()
    return {(r["batch_id"], r["row_no"]) for r in conn.execute(f"SELECT batch_id, row_no FROM ops.{table}")}


def good(*ids: str) -> list[dict[str, object]]:
    return [{"id_no": i, "name": f"名{i}", "amount": Decimal(1)} for i in ids]


@pytest.fixture
def rejected(conn: Any, settings: Settings) -> Settings:
    """b1 rejects two rows, one of which b2 mends; the other goes on waiting, since b2 rejects it again."""
    resource = make_resource()
    deliver(conn, at_day(settings, 1), resource, good("1"), bad=[Bad(("a.x",), "2"), Bad(("b.y",), "3")], batch="b1")
    rows = good("1", "3")
    deliver(conn, at_day(settings, 2), resource, rows, day=2, bad=[Bad(("a.x",), "2"), Bad(("a.x",), None)], batch="b2")
    # the hand-made batches are dated by the clock; the sweep goes by their days
    for day in (1, 2):
        conn.execute(
            "UPDATE ops.batch SET started_at = %(at)s, staged_at = %(at)s, published_at = %(at)s WHERE batch_id = %(b)s",
            {"at": at_day(settings, day).now(), "b": f"b{day}"},
        )
    conn.commit()
    return settings


def test_what_is_old_goes_and_what_an_open_ticket_waits_for_stays(conn: Any, rejected: Settings) -> None:
    assert sweep_kept(conn, at_day(rejected, 11), CITY) == Swept(0, 0)
    assert sweep_kept(conn, at_day(rejected, 13), CITY) == Swept(2, 0)
    # both rows of b1 are no longer waited for: one was mended, of the other b2 holds the newer copy
    assert kept(conn, "rejected_row") == {("b2", 3), ("b2", 4)}
    assert sweep_kept(conn, at_day(rejected, 23), CITY) == Swept(0, 1)
    # the findings of a.x are those of an open ticket that b1 opened; b.y's ticket is closed
    assert kept(conn, "finding") == {("b1", 2), ("b2", 3), ("b2", 4)}


def test_a_closed_ticket_lets_everything_go(conn: Any, rejected: Settings) -> None:
    conn.execute("UPDATE ops.ticket SET closed_at = now(), stage = 'closed'")
    conn.commit()
    assert sweep_kept(conn, at_day(rejected, 60), CITY) == Swept(4, 4)
    assert (kept(conn, "rejected_row"), kept(conn, "finding")) == (set(), set())


def test_a_held_batch_keeps_everything(conn: Any, rejected: Settings) -> None:
    conn.execute("UPDATE ops.ticket SET closed_at = now(), stage = 'closed'")
    conn.execute(
        "UPDATE ops.batch SET status = 'held', rows_held = rows_new + rows_changed + rows_unchanged, rows_new = 0,"
        " rows_changed = 0, rows_unchanged = 0 WHERE batch_id = 'b2'"
    )
    conn.commit()
    assert sweep_kept(conn, at_day(rejected, 60), CITY) == Swept(2, 2)
    assert kept(conn, "rejected_row") == {("b2", 3), ("b2", 4)}


def test_a_sweep_says_in_the_audit_trail_what_it_removed_and_no_value(conn: Any, rejected: Settings) -> None:
    sweep_kept(conn, at_day(rejected, 23), CITY)
    rows = conn.execute("SELECT object, detail FROM ops.audit WHERE action = 'retention.swept' ORDER BY 1").fetchall()
    assert [(r["object"], r["detail"]["rows"], r["detail"]["resources"]) for r in rows] == [
        ("ops.finding", 1, {"gaj.person": 1}),
        ("ops.rejected_row", 2, {"gaj.person": 2}),
    ]
    assert rows[1]["detail"]["before"].startswith("2026-10-13")
    assert verify_audit(conn) is None


def test_many_batches_are_swept_some_at_a_time(conn: Any, rejected: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    conn.execute("UPDATE ops.ticket SET closed_at = now(), stage = 'closed'")
    conn.commit()
    monkeypatch.setattr("guiji.library.retention._AT_ONCE", 1)
    assert sweep_kept(conn, at_day(rejected, 60), CITY) == Swept(4, 4)


def test_the_city_says_how_many_days(tmp_path: Path) -> None:
    (tmp_path / "city.yml").write_text("keep_rejected_days: 30\n", encoding="utf-8")
    city = read_city(tmp_path)
    assert (city.keep_rejected_days, city.keep_findings_days) == (30, 730)
    (tmp_path / "city.yml").write_text("keep_rejected_days: 0\n", encoding="utf-8")
    with pytest.raises(UsageError, match="keep_rejected_days"):
        read_city(tmp_path)


# --- archives ----------------------------------------------------------------------------------------

ODD = ["", "\\N", 'a"b,c\n\r\t\\.', "包图雅𠮷", " x "]
EVERY_TYPE = {
    "id_no": "string",
    "name": "string",
    "big": "int64",
    "real": "float64",
    "yes": "bool",
    "born": "date32",
    "at": "timestamp",
    "place": "geometry",
    "amount": "decimal128(18,4)",
}
THINGS = make_resource("gaj.things", fields=EVERY_TYPE)


def thing(n: int, day: int) -> dict[str, object]:
    return {
        "id_no": str(n),
        "name": ODD[(n + day) % len(ODD)] if n % 7 else None,
        "big": -(2**62) + n,
        "real": [0.1 + day, float("inf"), 5e-324, -0.0][n % 4],
        "yes": [True, False, None][n % 3],
        "born": date(1, 1, 1) + timedelta(days=n * 1000),
        "at": at_day(Settings.from_env({}), day).now() + timedelta(microseconds=n),
        "place": bytes(range(n % 256)),
        "amount": Decimal(n) / 10000 - day,
    }


def all_rows(conn: Any, table: str) -> list[str]:
    """Every row of a table, whole, sorted."""
    conn.rollback()
    return sorted(r["t"] for r in conn.execute(f"SELECT t::text FROM {table} t"))


@pytest.fixture
def history(conn: Any, settings: Settings) -> Settings:
    """40 things in five versions: four of each are history, superseded on the days 2 to 5."""
    for day in range(1, 6):
        deliver(conn, at_day(settings, day), THINGS, [thing(n, day) for n in range(40)], day=day, batch=f"b{day}")
        conn.execute(
            "UPDATE source.gaj__things__history SET _superseded_at = %s WHERE _superseded_by = %s",
            (at_day(settings, day).now(), f"b{day}"),
        )
    conn.commit()
    return at_day(settings, 20)


HISTORY = "source.gaj__things__history"


@pytest.mark.parametrize("sensitivity", [1, 4])
def test_an_archive_comes_back_equal(conn: Any, history: Settings, tmp_path: Path, sensitivity: int) -> None:
    before = all_rows(conn, HISTORY)
    assert len(set(before)) == 160
    resource = personal(THINGS, sensitivity)
    done = archive_resource(conn, history, resource, date(2026, 10, 4), tmp_path, who="wang")
    assert done is not None
    archive, folder = done
    after = all_rows(conn, HISTORY)
    assert (archive.rows, len(after), set(after) < set(before)) == (80, 80, True)
    sealed = ".sealed" if sensitivity == 4 else ""
    assert {p.name for p in folder.iterdir()} == {MANIFEST, f"gaj__things__history-00000.parquet{sealed}"}
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (b"PAR1" in (folder / archive.tables[0].parts[0].file).read_bytes()[:4]) is (sensitivity == 1)
    restored = restore_archive(conn, history, folder, who="zhao")
    assert restored == archive
    assert all_rows(conn, HISTORY) == before
    # and once more: the same rows have the same hash
    again = archive_resource(conn, history, resource, date(2026, 10, 4), tmp_path, who="wang")
    assert again is not None
    assert (again[0].content, again[0].rows, all_rows(conn, HISTORY)) == (archive.content, 80, after)
    said = conn.execute("SELECT actor, action, detail FROM ops.audit WHERE action LIKE 'archive.%' ORDER BY audit_id")
    assert [(r["actor"], r["action"], r["detail"]["content"]) for r in said] == [
        ("wang", "archive.written", archive.content),
        ("zhao", "archive.restored", archive.content),
        ("wang", "archive.written", archive.content),
    ]


def personal(resource: Any, sensitivity: int) -> Any:
    raw = resource.model.model_dump(by_alias=True)
    raw["fields"][1]["sensitivity"] = sensitivity
    return resource.model_copy(update={"model": resource.model.model_validate(raw)})


def test_many_parts_are_one_archive(
    conn: Any, history: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guiji.library.archive_files.PART_BYTES", 1)
    before = all_rows(conn, HISTORY)
    done = archive_resource(conn, history, THINGS, date(2026, 10, 20), tmp_path, who="wang")
    assert done is not None
    assert done[0].rows == 160
    assert all_rows(conn, HISTORY) == []
    restore_archive(conn, history, done[1], who="wang")
    assert all_rows(conn, HISTORY) == before


def test_nothing_old_and_nothing_there_leave_no_folder(conn: Any, history: Settings, tmp_path: Path) -> None:
    never = make_resource("gaj.never")
    for resource, day in ((THINGS, 2), (never, 20)):
        assert archive_resource(conn, history, resource, date(2026, 10, day), tmp_path / "a", who="wang") is None
    assert list((tmp_path / "a").iterdir()) == []
    with pytest.raises(UsageError, match="still to come"):
        archive_resource(conn, history, THINGS, date(2026, 10, 21), tmp_path, who="wang")


def _cut_file(folder: Path) -> None:
    part = next(folder.glob("*.parquet*"))
    part.write_bytes(part.read_bytes()[:-20])


def _lose_file(folder: Path) -> None:
    next(folder.glob("*.parquet*")).unlink()


def _change_manifest(folder: Path) -> None:
    path = folder / MANIFEST
    said = json.loads(path.read_text(encoding="utf-8"))
    said["tables"][0]["content"] = "0" * 64
    path.write_text(json.dumps(said), encoding="utf-8")


def _lose_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def _leave_folder(folder: Path) -> None:
    path = folder / MANIFEST
    path.write_text(path.read_text(encoding="utf-8").replace('"file": "', '"file": "../'), encoding="utf-8")


@pytest.mark.parametrize("damage", [_cut_file, _lose_file, _change_manifest, _lose_manifest, _leave_folder])
def test_a_damaged_archive_restores_nothing(
    conn: Any, history: Settings, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    done = archive_resource(conn, history, THINGS, date(2026, 10, 4), tmp_path, who="wang")
    assert done is not None
    after = all_rows(conn, HISTORY)
    damage(done[1])
    with pytest.raises(GuijiError, match=r"[Nn]othing was (deleted or )?restored"):
        restore_archive(conn, history, done[1], who="wang")
    assert all_rows(conn, HISTORY) == after


def test_an_archive_is_restored_once(conn: Any, history: Settings, tmp_path: Path) -> None:
    done = archive_resource(conn, history, THINGS, date(2026, 10, 4), tmp_path, who="wang")
    assert done is not None
    restore_archive(conn, history, done[1], who="wang")
    before = all_rows(conn, HISTORY)
    with pytest.raises(UsageError, match="already"):
        restore_archive(conn, history, done[1], who="wang")
    assert all_rows(conn, HISTORY) == before


def test_nothing_is_deleted_unless_the_files_read_back_equal(
    conn: Any, history: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = all_rows(conn, HISTORY)
    finish = archiving.finish_archive

    def damaged(archive: Any, temporary: Path, target: Path) -> None:
        finish(archive, temporary, target)
        _cut_file(target)

    monkeypatch.setattr(archiving, "finish_archive", damaged)
    with pytest.raises(UsageError, match="Nothing was deleted"):
        archive_resource(conn, history, THINGS, date(2026, 10, 4), tmp_path, who="wang")
    assert all_rows(conn, HISTORY) == before
    assert list(tmp_path.glob("*/*.parquet")) == []


def test_nothing_is_deleted_when_a_row_changes_meanwhile(
    conn: Any, history: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    finish = archiving.finish_archive

    def disturbed(archive: Any, temporary: Path, target: Path) -> None:
        finish(archive, temporary, target)
        with psycopg.connect(conn.info.dsn) as other:
            other.execute(f"UPDATE {HISTORY} SET name = 'x' WHERE id_no = '7'")

    monkeypatch.setattr(archiving, "finish_archive", disturbed)
    with pytest.raises(GuijiError, match=r"changed while it was archived\. Nothing was deleted"):
        archive_resource(conn, history, THINGS, date(2026, 10, 4), tmp_path, who="wang")
    assert len(all_rows(conn, HISTORY)) == 160
    assert list(tmp_path.glob("*/*.parquet")) == []


def test_a_folder_that_cannot_be_written_deletes_nothing(conn: Any, history: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GuijiError, match="Nothing was deleted"):
        archive_resource(conn, history, THINGS, date(2026, 10, 4), tmp_path / "file", who="wang")
    assert len(all_rows(conn, HISTORY)) == 160


def test_a_column_gained_since_stays_empty_and_one_lost_refuses(conn: Any, history: Settings, tmp_path: Path) -> None:
    done = archive_resource(conn, history, THINGS, date(2026, 10, 4), tmp_path, who="wang")
    assert done is not None
    conn.execute(f"ALTER TABLE {HISTORY} ADD COLUMN late text")
    conn.commit()
    restore_archive(conn, history, done[1], who="wang")
    assert len(all_rows(conn, HISTORY)) == 160
    conn.execute(f"DELETE FROM {HISTORY}; ALTER TABLE {HISTORY} DROP COLUMN name")
    conn.commit()
    with pytest.raises(UsageError, match=r"lacks the columns of the archive \(name text\)"):
        restore_archive(conn, history, done[1], who="wang")


# --- libraries ---------------------------------------------------------------------------------------

PERSON = make_library(fields=[{"name": "name", "title": "姓名", "sensitivity": 3, "authority": ["gaj"]}])
POLICE = make_resource(
    "gaj.household",
    fields={"id_no": "string", "name": "string"},
    mappings=[{"library": "population", "key": ["id_no"], "fields": {"name": "name"}}],
)


@pytest.mark.parametrize("vintages", [False, True])
def test_a_librarys_history_comes_back_and_answers_again(
    conn: Any, settings: Settings, tmp_path: Path, vintages: bool
) -> None:
    library = PERSON.model_copy(update={"vintages": vintages})
    catalog = SmallCatalog({POLICE.id: POLICE}, {"population": library})
    for day in range(1, 5):
        rows = [{"id_no": str(n), "name": f"名{n}第{day}天"} for n in range(30)]
        deliver(conn, at_day(settings, day), POLICE, rows, day=day)
        resolve(conn, at_day(settings, day), "population", catalog)
    settings = at_day(settings, 20)
    tables = ["library.person", "library.person__provenance", "library.person__history"]
    before = [all_rows(conn, t) for t in tables]
    card = trace(conn, settings, library, "7", date(2026, 10, 1), reveal=True)
    assert card.fields[0].value == "名7第1天"
    done = archive_library(conn, settings, library, date(2026, 10, 4), tmp_path, who="wang")
    assert done is not None
    archive, folder = done
    # versions that ended on the days 2 and 3; of vintages their provenance as well
    assert archive.rows == (120 if vintages else 60)
    assert trace(conn, settings, library, "7", reveal=True).fields[0].value == "名7第4天"
    assert trace(conn, settings, library, "7", date(2026, 10, 3), reveal=True).fields[0].value == "名7第3天"
    with pytest.raises(UsageError, match=f"archived to {folder}"):
        trace(conn, settings, library, "7", date(2026, 10, 1))
    deliver(conn, at_day(settings, 21), POLICE, [{"id_no": "7", "name": "新名"}], day=21, bad=[Bad(("a.x",), None)])
    resolve(conn, at_day(settings, 21), "population", catalog)
    now = [set(all_rows(conn, t)) for t in tables]
    restore_archive(conn, settings, folder, who="wang")
    assert [len(set(all_rows(conn, t)) - n) for t, n in zip(tables, now, strict=True)] == (
        [60, 60, 60] if vintages else [0, 0, 60]
    )
    assert set(before[2]) <= set(all_rows(conn, tables[2]))
    back = trace(conn, settings, library, "7", date(2026, 10, 1), reveal=True)
    assert back.fields == card.fields
    found = conn.execute("SELECT rows, restored_at IS NOT NULL AS back FROM ops.archive").fetchall()
    assert found == [{"rows": archive.rows, "back": True}]


def test_the_command_archives_and_restores(
    conn: Any, history: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from small_catalog import write_department, write_resource

    catalog = tmp_path / "catalog"
    write_department(catalog, "gaj", "公安局")
    write_resource(catalog, "gaj.things")
    for name, value in {"HOME": history.home, "WAREHOUSE": history.warehouse, "CATALOG": catalog}.items():
        monkeypatch.setenv(f"GUIJI_{name}", str(value))
    monkeypatch.setenv("GUIJI_NOW", "2026-10-20T09:00:00+08:00")
    out = tmp_path / "out"

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["archive", *arguments])
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    before = all_rows(conn, HISTORY)
    assert "no history that had ended" in run("gaj.things", "--before", "2026-10-01", "--out", str(out))
    said = run("gaj.things", "--before", "2026-10-04", "--out", str(out)).split()
    assert said[:4] == ["80", "rows", "of", "gaj.things"]
    (folder,) = out.iterdir()
    moved = tmp_path / "moved"
    shutil.move(folder, moved)
    assert "80 rows of gaj.things restored" in run("restore", str(moved))
    assert all_rows(conn, HISTORY) == before
    wrong = CliRunner().invoke(app, ["archive", "gaj.things"])
    assert isinstance(wrong.exception, UsageError)
