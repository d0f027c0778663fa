"""Decisions on held batches that come late: after the catalog changed, after newer data came, twice, or both ways."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bad_input import connection_json, write_catalog
from test_guards import FIELDS, City, exports, sexes_serving
from test_watermark import NOW

from guiji.errors import GuijiError, UsageError
from guiji.pipeline import check_resource, decide_held, publish_resource, run_resource, stage_resource
from guiji.records import BatchRecord, Window
from guiji.settings import Settings
from guiji.warehouse import connect

__all__ = ["exports"]

BAND = {"deleted": 0.1}
MEN_ONLY = [{"id": "men", "title": "只收男性", "expr": "sex = '1'", "severity": "reject", "mend": "请核对性别"}]


def ask(conn: Any, query: str, *values: object) -> list[tuple[object, ...]]:
    conn.rollback()
    return [tuple(r.values()) for r in conn.execute(query, values or None)]


def approve(city: City, batch: BatchRecord) -> BatchRecord:
    return decide_held(city.settings, batch.batch_id, approve=True, who="li", why="已核实")


def hold(city: City) -> BatchRecord:
    """A hundred men serve; the half of them, ten written otherwise, waits for a person."""
    assert city.deliver(["男"] * 100).rows_new == 100
    held = city.deliver(["男"] * 40 + ["女"] * 10)
    assert (held.status, held.rows_held) == ("held", 50)
    return held


def test_a_batch_is_judged_by_the_rules_of_the_day_it_is_approved(conn: Any, settings: Settings, exports: Path) -> None:
    """What a new rule rejects is kept, told and not published, and its key goes on serving."""
    city = City(settings, exports, BAND)
    held = hold(city)
    city.more["rules"] = MEN_ONLY
    city.declare(BAND)
    record = approve(city, held)
    assert (record.rows_rejected, record.rows_unchanged, record.rows_changed, record.rows_deleted) == (10, 40, 0, 50)
    assert sexes_serving(conn) == Counter({"1": 50})
    kept = "SELECT count(*) AS kept, count(DISTINCT row_no) AS rows FROM ops.rejected_row WHERE batch_id = %s"
    assert ask(conn, kept, held.batch_id) == [(10, 10)]
    assert ask(conn, "SELECT rule_id, rows_open FROM ops.ticket WHERE closed_at IS NULL") == [("men", 10)]
    assert ask(conn, "SELECT kind FROM ops.outbox WHERE kind = 'failed_rows'") == [("failed_rows",)]


def test_rules_that_change_between_check_and_publish_judge_every_row(
    conn: Any, settings: Settings, exports: Path
) -> None:
    """Airflow runs the steps as tasks: the catalog can change between two of them."""
    city = City(settings, exports, {})
    city.deliver(["男"] * 3)
    city.day += 1
    text = (exports / "people_20261001.csv").read_text()
    (exports / "people_20261002.csv").write_text(text.replace("男", "女", 1))
    batch_id = stage_resource("ab.people", city.settings, None, "task")
    check_resource(city.settings, "ab.people", batch_id)
    city.more["rules"] = MEN_ONLY
    city.declare({})
    held = publish_resource(city.settings, "ab.people", batch_id, run_key="task")
    assert (held.status, held.rows_rejected) == ("held", 1)  # a third of the rows
    record = approve(city, held)
    assert (record.rows_rejected, record.rows_unchanged, record.rows_changed) == (1, 2, 0)
    assert sexes_serving(conn) == Counter({"1": 3})


def test_a_batch_that_lacks_what_the_catalog_demands_now_stays_held(
    conn: Any, settings: Settings, exports: Path
) -> None:
    city = City(settings, exports, BAND)
    held = hold(city)
    city.more["fields"] = [*FIELDS, {"name": "job", "title": "职业", "nullable": False}]
    city.declare(BAND)
    with pytest.raises(GuijiError):
        approve(city, held)
    assert sexes_serving(conn) == Counter({"1": 100})
    assert ask(conn, "SELECT status FROM ops.batch WHERE batch_id = %s", held.batch_id) == [("held",)]
    # the lease is free again: the decision can be taken otherwise, and the next delivery comes in
    city.more["fields"] = FIELDS
    city.declare(BAND)
    assert approve(city, held).status == "published"
    assert sexes_serving(conn) == Counter({"1": 40, "2": 10})


def test_what_was_rejected_may_be_delivered_again(conn: Any, settings: Settings, exports: Path) -> None:
    """With a bad row in it, which was kept when the batch was held for the first time."""
    city = City(settings, exports, BAND)
    city.deliver(["男"] * 100)
    first = city.deliver(["男"] * 49 + ["外"])
    decide_held(city.settings, first.batch_id, approve=False, who="li", why="先核对")
    again = city.deliver(["男"] * 49 + ["外"])
    assert (again.status, again.rows_rejected) == ("held", 1)
    kept = (
        "SELECT (SELECT count(*) FROM ops.rejected_row) AS rows,"
        " (SELECT count(*) FROM ops.finding WHERE verdict = 'rejected') AS found"
    )
    assert ask(conn, kept) == [(1, 1)]
    record = approve(city, again)
    assert (record.rows_rejected, record.rows_unchanged, record.rows_deleted) == (1, 49, 50)
    actions = "SELECT action FROM ops.audit WHERE object = %s ORDER BY audit_id"
    assert [a for (a,) in ask(conn, actions, first.batch_id)] == [
        "batch.held",
        "batch.rejected",
        "batch.held",
        "batch.approved",
    ]


def test_of_two_decisions_at_once_one_holds(conn: Any, settings: Settings, exports: Path) -> None:
    city = City(settings, exports, BAND)
    held = hold(city)
    said: list[str] = []

    def decide(yes: bool) -> None:
        try:
            said.append(decide_held(city.settings, held.batch_id, approve=yes, who="li", why="已核实").status)
        except GuijiError as error:
            said.append(type(error).__name__)

    people = [threading.Thread(target=decide, args=(yes,)) for yes in (True, False, True, True)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    status = ask(conn, "SELECT status FROM ops.batch WHERE batch_id = %s", held.batch_id)[0][0]
    decisions = "SELECT action FROM ops.audit WHERE object = %s AND action <> 'batch.held'"
    assert len(said) == len(people)  # nobody got an internal error
    assert (status, ask(conn, decisions, held.batch_id)) in [
        ("published", [("batch.approved",)]),
        ("refused", [("batch.rejected",)]),
    ]
    assert status in said
    expected = {"published": Counter({"1": 40, "2": 10}), "refused": Counter({"1": 100})}
    assert sexes_serving(conn) == expected[str(status)]


# --- pulls -------------------------------------------------------------------------------------------

PULLED: list[dict[str, Any]] = [
    {"name": "no", "title": "编号", "column": "id", "nullable": False},
    {"name": "title", "title": "名称", "column": "title"},
    {"name": "gone", "title": "注销", "column": "gone"},
    {"name": "seq", "title": "序号", "column": "seq", "type": "int64"},
]


class Front:
    """A table of a department's database and the resource that reads it."""

    def __init__(self, settings: Settings, url: str, **more: Any) -> None:
        self.url = url
        self.run(
            "CREATE TABLE t (id text PRIMARY KEY, title text, gone text, seq bigint)",
            "INSERT INTO t SELECT 'k' || n, '甲', '0', 1 FROM generate_series(1, 20) n",
        )
        source = {"kind": "database", "connection": "fep_ab", "table": "t", **more.pop("source", {})}
        body = {"fields": PULLED, "key": ["no"], "order": [], "source": source, "tolerance": BAND, **more}
        self.settings = write_catalog(settings, body).at(NOW)

    def run(self, *statements: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as conn:
            for statement in statements:
                conn.execute(statement.encode())

    def gather(self, hour: int, window: Window | None = None) -> BatchRecord:
        return run_resource("ab.people", self.settings.at(NOW + timedelta(hours=hour)), window)

    def approve(self, batch: BatchRecord) -> BatchRecord:
        return decide_held(self.settings, batch.batch_id, approve=True, who="li", why="已核实")

    def serving(self) -> Counter[tuple[str, str]]:
        with connect(self.settings) as conn:
            found = conn.execute("SELECT title, gone FROM source.ab__people WHERE _deleted_at IS NULL").fetchall()
        return Counter((r["title"], r["gone"]) for r in found)


@pytest.fixture
def url(fep_postgres: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AIRFLOW_CONN_FEP_AB", connection_json(fep_postgres, "fep_ab"))
    return str(fep_postgres.admin_url)


def test_an_increment_that_waited_sets_no_newer_row_back(settings: Settings, url: str) -> None:
    """Without an order, what was fetched later is newer. A key that only the held batch has is published."""
    front = Front(settings, url, load="incremental", source={"cursor": "seq"}, tombstone="gone = '1'")
    assert front.gather(0).rows_new == 20
    front.run(
        "UPDATE t SET gone = '1', seq = 2 WHERE substr(id, 2)::int <= 4",
        "UPDATE t SET title = '乙', seq = 2 WHERE id = 'k5'",
        "INSERT INTO t VALUES ('k21', '丁', '0', 2)",
    )
    held = front.gather(1)
    assert held.status == "held"
    front.run(
        "DELETE FROM t WHERE id = 'k21'",
        "UPDATE t SET gone = '0', title = '丙', seq = 3 WHERE substr(id, 2)::int <= 5",
    )
    assert (newer := front.gather(2)).status == "published", newer.reason
    served = Counter({("甲", "0"): 15, ("丙", "0"): 5})
    assert front.serving() == served
    record = front.approve(held)
    assert (record.status, record.rows_new, record.rows_changed, record.rows_deleted) == ("published", 1, 0, 0)
    assert front.serving() == served + Counter({("丁", "0"): 1})


def test_a_pull_of_an_earlier_window_is_newer_than_what_was_held_before_it(settings: Settings, url: str) -> None:
    """A snapshot reads what the table holds now, whatever the window is called."""
    front = Front(settings, url)
    front.gather(0)
    front.run("DELETE FROM t WHERE substr(id, 2)::int <= 10")
    held = front.gather(1)
    assert held.status == "held"
    front.run("INSERT INTO t SELECT 'k' || n, '乙', '0', 2 FROM generate_series(1, 10) n")
    past = datetime(2026, 10, 1, tzinfo=NOW.tzinfo)
    newer = front.gather(2, Window(past, past + timedelta(days=1)))
    assert newer.status == "published"
    served = front.serving()
    assert served == Counter({("甲", "0"): 10, ("乙", "0"): 10})
    with pytest.raises(UsageError, match=f"older state of ab.people than batch {newer.batch_id}"):
        front.approve(held)
    assert front.serving() == served
