"""The monthly report: every indicator equals a plain recount, a frozen month never changes, B = 0 is never 100 %."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import re
from collections import defaultdict
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from ledger_rows import Conn, Ledger, at, make_catalog, make_department, make_library, make_resource, rule

from guiji.errors import GuijiError, UsageError
from guiji.report import build_report, freeze_month
from guiji.report.facts import make_period
from guiji.report.figures import INDICATORS, RANKED
from guiji.report.freeze import canonical
from guiji.report.words import say_hours, say_percent, say_score
from guiji.settings import Settings

GAJ = make_department("gaj", "市公安局")
WJW = make_department("wjw", "市卫生健康委员会")
TJJ = make_department("tjj", "市统计局")
SFTP = {"kind": "sftp", "connection": "c", "directory": "/", "pattern": "x"}
DAILY = make_resource(GAJ, "household", "户籍人口", update_cycle="每日")
CHANGES = make_resource(WJW, "records", "健康档案", load="incremental", source=SFTP)
SILENT = make_resource(WJW, "births", "出生医学证明")
FIGURES = make_resource(TJJ, "gdp", "地区生产总值", demanded=False, load="incremental")
POPULATION = make_library("population", "人口库", "person", ["gaj.household", "wjw.records", "jyj.pupils"])
CATALOG = make_catalog([GAJ, WJW, TJJ], [DAILY, CHANGES, SILENT, FIGURES], [POPULATION])
START, STOP = at("2026-10-01"), at("2026-10-25")
CUTOFF = STOP


@pytest.fixture
def ledger(conn: Conn) -> Ledger:
    return Ledger(conn)


@pytest.fixture
def october(settings: Settings) -> Settings:
    return settings.at(at("2026-11-20 09:00"))


def fill(ledger: Ledger, seed: int = 1) -> None:
    """Two months of a small city: snapshots that repeat themselves, changes, late and missed windows, tickets."""
    rnd = random.Random(seed)
    for n in range(-20, 31):
        day = at("2026-10-01") + timedelta(days=n)
        for resource, every in ((DAILY, 1), (CHANGES, 3), (FIGURES, 9)):
            if n % every:
                continue
            due = day + timedelta(hours=18)
            if rnd.random() < 0.15:
                who = rnd.choice(["department", "front_end"])
                ledger.window(resource.id, day, day + timedelta(1), due, "missed", responsible=who)
                continue
            moment = day + timedelta(hours=rnd.choice([9, 12, 30]))
            status = rnd.choice(["published"] * 6 + ["held", "refused", "failed"])
            bad = rnd.randint(0, 6)
            counts = {k: rnd.randint(0, 50) for k in ("new", "changed", "unchanged", "duplicate", "superseded")}
            if status == "held":
                counts = {"held": rnd.randint(10, 90)}
            if status in ("refused", "failed"):
                counts, bad = {"read": rnd.randint(0, 9)}, 0
            else:
                counts |= {"rejected": bad, "deleted": rnd.randint(0, 2)}
            judged = rnd.randint(50, 90)
            batch_id = ledger.batch(
                resource.id,
                moment,
                status=status,
                staged=rnd.random() < 0.7,
                window=(day, day + timedelta(1)),
                rules=[
                    rule("a", "姓名应填写", rows=judged, failed=rnd.randint(0, 9), unjudged=2, indicator="0201"),
                    rule("b", "校验码", rows=judged, failed=rnd.randint(0, 9), indicator="0301"),
                ],
                **counts,
            )
            for k in range(bad):
                key = None if k == 5 else f"key{rnd.randint(0, 3)}"
                ledger.rejected(batch_id, k, rnd.choice([["b"], ["a", "b"], ["b", "a"]]), key)
            if status == "published":
                state = "met" if moment <= due else "late"
                ledger.window(resource.id, day, day + timedelta(1), due, state, met=moment, batch_id=batch_id)
                if rnd.random() < 0.4:
                    closed = moment + timedelta(days=rnd.randint(1, 9)) if rnd.random() < 0.7 else None
                    ledger.ticket(resource.id, f"r{n}", moment, moment + timedelta(days=5), closed=closed)
    for resource, days in ((DAILY, (-9, 3, 9)), (FIGURES, (-4, 28)), (CHANGES, (5,))):
        for day in days:
            front_end = None if resource is CHANGES else 100  # files: nobody asked the front-end again
            moment = at("2026-10-01 22:00") + timedelta(days=day)
            ledger.reconciliation(resource.id, moment, rnd.random() < 0.5, front_end)


def recount(ledger: Ledger) -> dict[str, dict[str, tuple[int, int]]]:
    """Every indicator per resource and for the city, from whole tables, in plain Python."""
    batches = ledger.all("SELECT * FROM ops.batch ORDER BY batch_no")
    rejected = ledger.all("SELECT * FROM ops.rejected_row")
    windows = ledger.all("SELECT * FROM ops.delivery_window")
    tickets = ledger.all("SELECT * FROM ops.ticket")
    compared = ledger.all("SELECT * FROM ops.reconciliation ORDER BY started_at")
    catalog = set(CATALOG.resources)
    demand = {r for r in catalog if CATALOG.resources[r].model.demanded} | set(POPULATION.demand)
    result: dict[str, dict[str, tuple[int, int]]] = {}
    for resource_id in sorted(catalog | demand):
        own = [b for b in batches if b["resource_id"] == resource_id]
        ever = [b for b in own if b["status"] == "published" and b["published_at"] < CUTOFF]
        inside = [b for b in own if START <= (b["published_at"] or b["started_at"]) < STOP]
        published = sorted((b for b in inside if b["status"] == "published"), key=lambda b: b["published_at"])
        held = [b for b in inside if b["status"] == "held"]
        good = bad = 0
        versions: dict[tuple[str, tuple[str, ...]], int] = {}
        unkeyed = []
        for b in inside:
            rows = [r for r in rejected if r["batch_id"] == b["batch_id"]]
            seen: dict[tuple[str, tuple[str, ...]], int] = defaultdict(int)
            for r in rows:
                if r["key_hmac"]:
                    seen[(r["key_hmac"], tuple(sorted(r["rules"])))] += 1
            for version, n in seen.items():
                versions[version] = max(versions.get(version, 0), n)
            if b["rows_rejected"]:
                unkeyed.append(b["rows_rejected"] - sum(seen.values()))
        if resource_id in (CHANGES.id, FIGURES.id):
            for b in published:
                good += b["rows_new"] + b["rows_changed"] + b["rows_superseded"] + b["rows_tombstone"]
            good += sum(b["rows_held"] for b in held)
            bad = sum(versions.values()) + sum(unkeyed)
        else:
            for position, b in enumerate(published):
                good += b["rows_new"] + b["rows_changed"]
                if position == 0:
                    good += b["rows_unchanged"] + b["rows_superseded"] + b["rows_tombstone"]
            if not published and held:
                good = max(b["rows_held"] for b in held)
            bad = sum(versions.values()) + max(unkeyed, default=0)
        due_windows = [w for w in windows if w["resource_id"] == resource_id and START <= w["due_at"] < STOP]
        due_tickets = [t for t in tickets if t["resource_id"] == resource_id and START <= t["due_at"] < STOP]
        done = [t for t in due_tickets if t["closed_at"] and t["closed_at"] < CUTOFF]
        required = [r for b in published + held for r in b["rules"] if r["indicator"] == "0201"]
        comparisons = [
            c["agrees"]
            for c in compared
            if c["resource_id"] == resource_id and START <= c["started_at"] < STOP and c["rows_front_end"] is not None
        ]
        result[resource_id] = {
            "bound": (
                int(resource_id in catalog and sum(b["rows_new"] - b["rows_deleted"] for b in ever) > 0),
                int(resource_id in catalog),
            ),
            "gathered": (int(resource_id in demand and bool(ever)), int(resource_id in demand)),
            "timely": (sum(bool(w["met_at"] and w["met_at"] <= w["due_at"]) for w in due_windows), len(due_windows)),
            "qualified": (good, good + bad),
            "complete": (
                sum(r["rows"] - r["unjudged"] - r["failed"] for r in required),
                sum(r["rows"] - r["unjudged"] for r in required),
            ),
            # of those that nobody compared, the incremental table ought to have been
            "reconciled": (
                int(bool(comparisons) and comparisons[-1]),
                int(bool(comparisons) or (resource_id == FIGURES.id and bool(ever))),
            ),
            "comparisons": (len(comparisons), 0),
            "mended": (len(done), len(due_tickets)),
            "in_time": (sum(t["closed_at"] <= t["due_at"] for t in done), len(due_tickets)),
        }
    return result


def add_up(recounted: dict[str, dict[str, tuple[int, int]]], chosen: Any) -> dict[str, tuple[int, int]]:
    summed = {
        name: (
            sum(v[name][0] for k, v in recounted.items() if chosen(k)),
            sum(v[name][1] for k, v in recounted.items() if chosen(k)),
        )
        for name in [*(i.key for i in INDICATORS), "comparisons"]
    }
    if summed.pop("comparisons")[0] == 0:
        summed["reconciled"] = (0, 0)  # 未对账
    return summed


def pairs(figures: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {k: (v["a"], v["b"]) for k, v in figures.items()}


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_every_indicator_equals_an_independent_recount(
    conn: Conn, ledger: Ledger, october: Settings, seed: int
) -> None:
    fill(ledger, seed)
    r = freeze_month(conn, october, CATALOG, "2026-10", date(2026, 10, 24), assess=False).figures
    counted = recount(ledger)

    assert pairs(r["headline"]) == add_up(counted, lambda _: True)
    assert {d["id"]: pairs(d["figures"]) for d in r["departments"]} == {
        d: add_up(counted, lambda k, d=d: k.startswith(d)) for d in ("gaj", "wjw", "tjj", "jyj")
    }
    assert {x["name"]: pairs(x["figures"]) for x in r["ways"]} == {
        "库表": add_up(counted, lambda k: k in (DAILY.id, SILENT.id, FIGURES.id)),
        "SFTP 文件": add_up(counted, lambda k: k == CHANGES.id),
    }
    assert pairs(r["libraries"][0]["figures"]) == add_up(counted, lambda k: k in POPULATION.demand)
    assert all(
        min(b for _, b in [v["timely"], v["qualified"], v["complete"]]) > 0 for k, v in counted.items() if k == DAILY.id
    )


def test_a_snapshot_that_repeats_itself_counts_each_version_once(conn: Conn, ledger: Ledger, october: Settings) -> None:
    for n in range(10):
        batch_id = ledger.batch(DAILY.id, at("2026-10-02 09:00") + timedelta(days=n), rejected=2, unchanged=98)
        ledger.rejected(batch_id, 1, ["b"], "key1")
        ledger.rejected(batch_id, 2, ["b"], None)
    r = freeze_month(conn, october, CATALOG, "2026-10", date(2026, 10, 31), assess=False).figures
    assert pairs(r["headline"])["qualified"] == (98, 100)


def test_what_a_demand_list_names_is_shown_by_that_name(conn: Conn, october: Settings, tmp_path: Path) -> None:
    names = {"jyj": "市教育局", "jyj.pupils": "中小学学籍"}
    library = POPULATION.model_copy(update={"demand_names": names})
    catalog = make_catalog([GAJ, WJW, TJJ], [DAILY, CHANGES, SILENT, FIGURES], [library])
    r = freeze_month(conn, october, catalog, "2026-10", None, assess=False).figures
    assert {d["id"]: d["name"] for d in r["departments"]} == {
        "gaj": "市公安局",
        "wjw": "市卫生健康委员会",
        "tjj": "市统计局",
        "jyj": "市教育局（未登记）",
    }
    assert [x["name"] for x in r["resources"] if x["id"] == "jyj.pupils"] == ["中小学学籍（需求清单所列，尚未编目）"]


def test_undelivered_counts_and_nothing_to_divide_by_is_never_100_percent(
    conn: Conn, ledger: Ledger, october: Settings, tmp_path: Path
) -> None:
    ledger.window(SILENT.id, at("2026-09-01"), at("2026-10-01"), at("2026-10-15 18:00"), "missed")
    files = build_report(conn, october, CATALOG, "2026-10", date(2026, 10, 31), tmp_path, assess=False)
    r = freeze_month(conn, october, CATALOG, "2026-10", None, assess=False).figures
    assert pairs(r["headline"]) == {
        "bound": (0, 4),
        "gathered": (0, 4),  # three in the catalog, one on the demand list that nobody has catalogued
        "timely": (0, 1),
        "qualified": (0, 0),
        "complete": (0, 0),
        "reconciled": (0, 0),
        "mended": (0, 0),
        "in_time": (0, 0),
    }
    page = files.html.read_text(encoding="utf-8")
    assert "100.00%" not in page
    assert page.count("无法评价") > 20
    assert [x["name"] for x in r["unmeasurable"]] == ["共享响应及时率", "异议处理率", "使用排行"]
    for missing in ("共享申请与答复记录", "异议受理与处理记录", "接口调用与数据订阅日志", "部门台账的应有记录数"):
        assert f"{missing}" in page


def test_req36_what_was_not_compared_is_said_to_be_so_and_is_never_100_percent(
    conn: Conn, ledger: Ledger, october: Settings, tmp_path: Path
) -> None:
    """Six batches came in and every row is accounted for; nobody asked the front-ends."""
    for n in range(6):
        ledger.batch(FIGURES.id, at("2026-10-02 09:00") + timedelta(days=n), new=10)
    ledger.reconciliation(FIGURES.id, at("2026-09-30 22:00"), True)  # another month
    ledger.reconciliation(FIGURES.id, at("2026-10-09 22:00"), True, front_end=None)  # source layer and library only
    r = freeze_month(conn, october, CATALOG, "2026-10", date(2026, 10, 20), assess=False).figures
    assert {k: v for k, v in r["headline"]["reconciled"].items() if k != "trace"} == {"a": 0, "b": 0, "none": "未对账"}
    (trace,) = [t for t in r["traces"] if t["id"] == r["headline"]["reconciled"]["trace"]]
    assert (trace["name"], trace["counted"], trace["none"]) == ("对账一致率", 0, "未对账")
    page = build_report(conn, october, CATALOG, "2026-10", date(2026, 10, 20), tmp_path).html.read_text("utf-8")
    assert re.search(r"对账一致率</b><a class=\"big none\" href=\"#F\d+\">未对账</a>", page)

    ledger.reconciliation(DAILY.id, at("2026-10-10 22:00"), False)
    ledger.reconciliation(DAILY.id, at("2026-10-12 22:00"), True)  # mended
    r = freeze_month(conn, october, CATALOG, "2026-10", date(2026, 10, 31), assess=False).figures
    assert pairs(r["headline"])["reconciled"] == (1, 2)  # the incremental table ought to have been compared
    assert {d["id"]: d["figures"]["reconciled"].get("none") for d in r["departments"]}["tjj"] == "未对账"


def test_f61_a_month_waits_for_no_event_and_names_what_did_not_come(
    conn: Conn, ledger: Ledger, october: Settings, tmp_path: Path
) -> None:
    """No run, no batch, no event of 出生医学证明: the report comes all the same, and says so by name."""
    fill(ledger)
    ledger.window(SILENT.id, at("2026-09-01"), at("2026-10-01"), at("2026-10-15 18:00"), "missed")
    files = build_report(conn, october, CATALOG, "2026-10", date(2026, 10, 31), tmp_path, assess=False)
    r = freeze_month(conn, october, CATALOG, "2026-10", None, assess=False).figures
    assert [w["state"] for w in r["windows"] if w["resource"] == SILENT.model.name] == ["未交付"]
    (line,) = [x for x in r["resources"] if x["id"] == SILENT.id]
    assert (line["batches"], line["missed"], line["figures"]["timely"]) == (0, 1, {"a": 0, "b": 1})
    assert SILENT.model.name in files.html.read_text(encoding="utf-8")


def test_the_report_on_the_24th_is_frozen_hashed_and_identical_when_run_again(
    conn: Conn, ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    fill(ledger)
    on_24th = settings.at(at("2026-10-24 08:00"))
    first = build_report(conn, on_24th, CATALOG, "2026-10", None, tmp_path / "a", assess=False)
    assert first.as_of == date(2026, 10, 24)
    (row,) = ledger.all("SELECT month, as_of, sha256, frozen_at, figures FROM ops.report")
    assert (row["month"], row["as_of"], row["frozen_at"]) == ("2026-10", date(2026, 10, 24), at("2026-10-24 08:00"))
    assert row["sha256"] == hashlib.sha256(canonical(row["figures"])).hexdigest() == first.sha256

    # the world moves on; the frozen month doesn't
    ledger.batch(DAILY.id, at("2026-10-24 07:00"), new=10**6)
    again = build_report(conn, settings.at(at("2027-01-01 00:00")), CATALOG, "2026-10", None, tmp_path / "b")
    other = make_catalog([GAJ], [])
    third = build_report(conn, settings, other, "2026-10", date(2026, 10, 24), tmp_path / "c")

    for files in (again, third):
        assert files.sha256 == first.sha256
        assert files.html.read_bytes() == first.html.read_bytes()
        assert files.xlsx.read_bytes() == first.xlsx.read_bytes()
    assert first.sha256 in first.html.read_text(encoding="utf-8")
    assert "当月尚未结束" in first.html.read_text(encoding="utf-8")


def test_the_whole_month_is_an_issue_of_its_own(conn: Conn, ledger: Ledger, october: Settings, tmp_path: Path) -> None:
    fill(ledger)
    part = build_report(conn, october, CATALOG, "2026-10", date(2026, 10, 24), tmp_path, assess=False)
    whole = build_report(conn, october, CATALOG, "2026-10", date(2026, 10, 31), tmp_path, assess=False)
    assert part.html != whole.html
    assert "当月尚未结束" not in whole.html.read_text(encoding="utf-8")
    assert [str(r["as_of"]) for r in ledger.all("SELECT as_of FROM ops.report ORDER BY 1")] == [
        "2026-10-24",
        "2026-10-31",
    ]
    assert build_report(conn, october, CATALOG, "2026-10", None, tmp_path).sha256 == whole.sha256


def test_the_trend_is_what_former_months_froze(conn: Conn, ledger: Ledger, october: Settings) -> None:
    fill(ledger)
    september = freeze_month(conn, october, CATALOG, "2026-09", date(2026, 9, 30), assess=False).figures
    r = freeze_month(conn, october, CATALOG, "2026-10", date(2026, 10, 31), assess=False).figures
    assert [t["month"] for t in r["trend"]] == ["2026-09", "2026-10"]
    assert pairs(r["trend"][0]["headline"]) == pairs(september["headline"])
    assert pairs(r["trend"][1]["headline"]) == pairs(r["headline"])


def test_figures_that_were_altered_after_freezing_are_not_rendered(
    conn: Conn, ledger: Ledger, october: Settings, tmp_path: Path
) -> None:
    build_report(conn, october, CATALOG, "2026-10", None, tmp_path, assess=False)
    conn.execute("UPDATE ops.report SET figures = jsonb_set(figures, '{totals,batches}', '7')")
    conn.commit()
    with pytest.raises(GuijiError, match="altered after"):
        build_report(conn, october, CATALOG, "2026-10", None, tmp_path)


@pytest.mark.parametrize(
    ("month", "as_of"), [("2026-12", None), ("2026-11", date(2026, 11, 21)), ("2026-11", date(2026, 10, 1))]
)
def test_a_month_that_is_still_to_come_is_not_frozen(
    conn: Conn, october: Settings, tmp_path: Path, month: str, as_of: date | None
) -> None:
    with pytest.raises(UsageError, match="Nothing was frozen"):
        build_report(conn, october, CATALOG, month, as_of, tmp_path)


def test_every_number_on_the_page_leads_to_its_trace(
    conn: Conn, ledger: Ledger, october: Settings, tmp_path: Path
) -> None:
    fill(ledger)
    files = build_report(conn, october, CATALOG, "2026-10", None, tmp_path, assess=False)
    page = files.html.read_text(encoding="utf-8")
    used, kept = set(re.findall(r'href="#(F\d+)"', page)), set(re.findall(r'id="(F\d+)"', page))
    assert len(used) >= 5 * len(INDICATORS)
    assert used <= kept
    book = openpyxl.load_workbook(BytesIO(files.xlsx.read_bytes()))
    lines = list(book["溯源"].iter_rows(min_row=3, values_only=True))
    assert {x[0] for x in lines} == kept
    queries = {x[0] for x in book["查询"].iter_rows(min_row=3, values_only=True)}
    for line in lines:
        assert set(str(line[7]).split(", ")) <= queries
        without = "未对账" if line[2] == "对账一致率" else "无法评价"
        assert line[6] == (without if line[5] == 0 else pytest.approx(line[4] / line[5]))
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=\"(?!#)", page)


def test_page_and_workbook_say_the_same(conn: Conn, ledger: Ledger, october: Settings, tmp_path: Path) -> None:
    fill(ledger)
    files = build_report(conn, october, CATALOG, "2026-10", None, tmp_path, assess=False)
    r = freeze_month(conn, october, CATALOG, "2026-10", None).figures
    book = openpyxl.load_workbook(BytesIO(files.xlsx.read_bytes()))
    page = files.html.read_text(encoding="utf-8")
    rows = list(book["部门指标"].iter_rows(min_row=3, max_row=2 + len(r["departments"]), values_only=True))
    for row, d in zip(rows, r["departments"], strict=True):
        assert row[1] == d["name"]
        assert [(row[4 + 3 * n], row[5 + 3 * n]) for n in range(8)] == [pairs(d["figures"])[i.key] for i in INDICATORS]
        assert d["name"] in page
    batches = list(book["批次"].iter_rows(min_row=3, values_only=True))
    assert len(batches) == r["totals"]["batches"]
    assert sum(int(str(b[5])) for b in batches) == r["totals"]["rows_read"]
    assert len(book["部门指标"]._charts) + len(book["月度趋势"]._charts) + len(book["每日归集"]._charts) == 3


def test_departments_are_ranked_by_the_mean_of_what_can_be_judged(
    conn: Conn, ledger: Ledger, october: Settings
) -> None:
    fill(ledger)
    r = freeze_month(conn, october, CATALOG, "2026-10", None, assess=False).figures
    expected = []
    for d in r["departments"]:
        ratios = [d["figures"][k]["a"] / d["figures"][k]["b"] for k in RANKED if d["figures"][k]["b"]]
        # a department that only a demand list names was never asked: it is listed, not ranked
        known = d["id"] in CATALOG.departments
        expected.append(round(sum(ratios) / len(ratios) * 10_000) if ratios and known else None)
    assert {d["id"] for d in r["departments"]} - set(CATALOG.departments), "the demand list names one more"
    assert (
        [d["score"] for d in r["departments"]] == expected == sorted(expected, key=lambda s: -s if s is not None else 1)
    )
    assert r["departments"][0]["rank"] == 1


def test_late_and_missed_windows_are_listed_with_who_is_responsible(
    conn: Conn, ledger: Ledger, october: Settings
) -> None:
    window = (at("2026-10-01"), at("2026-10-02"), at("2026-10-02 18:00"))
    ledger.window(DAILY.id, *window, "late", met=at("2026-10-03 20:00"), responsible="front_end")
    ledger.window(CHANGES.id, *window, "missed", responsible="department")
    ledger.window(FIGURES.id, *window, "late", met=at("2026-11-02 20:00"), responsible="ours")  # after the cut-off
    r = freeze_month(conn, october, CATALOG, "2026-10", date(2026, 10, 31), assess=False).figures
    assert [(w["resource"], w["state"], w["responsible"], w["hours"]) for w in r["windows"]] == [
        ("户籍人口", "逾期交付", "前置机或接口", 26),
        ("地区生产总值", "未交付", "平台", 29 * 24 + 6),
        ("健康档案", "未交付", "部门", 29 * 24 + 6),
    ]


def test_a_window_due_later_today_is_not_yet_missed(conn: Conn, ledger: Ledger, settings: Settings) -> None:
    ledger.window(DAILY.id, at("2026-10-23"), at("2026-10-24"), at("2026-10-24 18:00"), "not_due")
    r = freeze_month(conn, settings.at(at("2026-10-24 09:00")), CATALOG, "2026-10", None, assess=False).figures
    assert r["headline"]["timely"]["b"] == 0


def test_f09_the_month_ends_at_midnight_in_shanghai(conn: Conn, ledger: Ledger, october: Settings) -> None:
    for moment in ("2026-09-30 23:59:59", "2026-10-01 00:00:00", "2026-10-31 23:59:59", "2026-11-01 00:00:00"):
        ledger.batch(DAILY.id, at(moment), new=1)
    r = freeze_month(conn, october, CATALOG, "2026-10", date(2026, 10, 31), assess=False).figures
    assert r["totals"]["batches"] == 2
    assert [d["day"] for d in r["days"] if d["batches"]] == ["2026-10-01", "2026-10-31"]
    assert len(r["days"]) == 31
    assert make_period("2028-02", date(2028, 2, 29), at("2030-01-01")).is_complete
    assert make_period("2026-12", date(2026, 12, 31), at("2030-01-01")).end == at("2027-01-01")


def test_building_brings_the_delivery_windows_up_to_date(conn: Conn, ledger: Ledger, settings: Settings) -> None:
    now = settings.at(at("2026-10-24 09:00"))
    r = freeze_month(conn, now, CATALOG, "2026-10", None).figures
    assert r["headline"]["timely"]["b"] > 0  # nothing was delivered and nobody had assessed anything before


def test_the_frozen_figures_are_exact_in_json(conn: Conn, ledger: Ledger, october: Settings) -> None:
    fill(ledger)
    figures = freeze_month(conn, october, CATALOG, "2026-10", None, assess=False).figures

    def kinds(value: Any) -> set[type]:
        if isinstance(value, dict):
            return set().union(*map(kinds, value.values())) if value else set()
        if isinstance(value, list):
            return set().union(*map(kinds, value)) if value else set()
        return {type(value)}

    assert kinds(figures) == {int, str, bool, type(None)}  # no float: nothing to round on the way
    assert canonical(json.loads(canonical(figures))) == canonical(copy.deepcopy(figures))


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (0, 0, "无法评价"),
        (0, 7, "0.00%"),
        (1, 3, "33.33%"),
        (2, 3, "66.67%"),
        (1, 8, "12.50%"),
        (12345, 100000, "12.35%"),
        (999_999, 1_000_000, ">99.99%"),
        (1, 1_000_000, "<0.01%"),
        (3, 3, "100.00%"),
    ],
)
def test_percent(a: int, b: int, said: str) -> None:
    assert say_percent(a, b) == said


def test_words() -> None:
    assert [say_hours(h) for h in (0, 5, 24, 53)] == ["0 小时", "5 小时", "1 天", "2 天 5 小时"]
    assert [say_score(s) for s in (None, 0, 9951, 10000)] == ["—", "0.00", "99.51", "100.00"]
