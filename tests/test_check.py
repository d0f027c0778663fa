"""Every row of a package is accepted, rejected with its reasons, duplicate or carried; each once, none lost."""

from __future__ import annotations

import json
import random
import re
import stat
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from staged_package import (
    NOW,
    make_resource,
    make_settings,
    read_accepted,
    read_findings,
    read_rejected,
    read_rows,
    stage_rows,
)

from guiji.catalog import load_catalog, load_resource
from guiji.catalog.models import Resource
from guiji.errors import CatalogError, DeliveryRefused, GuijiError
from guiji.identifiers import citizen_check_digit
from guiji.library.difference import Current, compare
from guiji.quality import check_batch, load_checked
from guiji.records import CheckedBatch
from guiji.settings import ROOT, Settings

SHIPPED = ROOT / "include" / "catalog"
THINGS = [
    {"name": "id", "nullable": False},
    {"name": "value"},
    {"name": "changed", "title": "changed", "type": "timestamp"},
]


def check(home: Path, resource: Resource, rows: list[dict[str, Any]], **more: Any) -> CheckedBatch:
    settings = make_settings(home)
    return check_batch(resource, settings, stage_rows(settings, resource, rows, **more))


def citizen(body: str) -> str:
    return body + citizen_check_digit(body)


def test_f17_of_several_rows_of_a_key_identical_copies_are_duplicates_and_the_newest_version_wins(
    tmp_path: Path,
) -> None:
    resource = make_resource(THINGS, order=["changed"])
    rows = [
        {"id": "a", "value": "1", "changed": "2026-01-02 00:00:00"},  # newest by order
        {"id": "a", "value": "2", "changed": "2026-01-01 00:00:00"},
        {"id": "a", "value": "1", "changed": "2026-01-02 00:00:00"},  # identical
        {"id": "b", "value": "1"},
        {"id": "b", "value": "2"},  # no order: the last delivered wins
        {"id": "b", "value": "2"},
        {"id": "c", "value": "1"},
        {"id": "c", "value": "2"},
        {"id": "c", "value": "1"},  # delivered again after 2: it is the last word, and a copy of row 7
        {"id": "d", "value": "1", "changed": "2026-01-01 00:00:00"},
        {"id": "d", "value": "2"},  # null is oldest
        {"id": "e", "value": "1"},
    ]
    checked = check(tmp_path, resource, rows)
    assert read_accepted(checked, "_row_no", "id", "value") == [
        (1, "a", "1"),
        (5, "b", "2"),
        (7, "c", "1"),
        (10, "d", "1"),
        (12, "e", "1"),
    ]
    assert read_rejected(checked) == {n: ["key.duplicate"] for n in (2, 4, 8, 11)}
    assert (checked.rows_read, checked.rows_accepted, checked.rows_rejected, checked.rows_duplicate) == (12, 5, 4, 3)
    assert {f for f in read_findings(checked) if f[1] == "key.duplicate"} == {
        (n, "key.duplicate", "rejected") for n in (2, 4, 8, 11)
    }
    raw = {r["_row_no"]: json.loads(r["_raw"]) for r in read_rows(checked.rejected)}
    assert raw[2] == {"id": "a", "value": "2", "changed": "2026-01-01 00:00:00"}


def test_a_rejected_row_does_not_compete_for_its_key(tmp_path: Path) -> None:
    resource = make_resource([*THINGS, {"name": "age", "type": "int64"}])
    rows = [{"id": "a", "age": "1"}, {"id": "a", "age": "old"}, {"id": "a", "age": "old"}]
    checked = check(tmp_path, resource, rows)
    assert read_accepted(checked, "_row_no") == [(1,)]
    assert read_rejected(checked) == {2: ["age.type"], 3: ["age.type"]}
    assert [r["id"] for r in read_rows(checked.present_keys)] == ["a", "a"]


def test_f18_blank_keys_are_rejected_and_can_not_be_read(tmp_path: Path) -> None:
    resource = make_resource([{"name": "id", "type": "int64"}, {"name": "part"}, {"name": "value"}], key=["id", "part"])
    rows = [
        {"id": "1", "part": "a"},
        {"id": None, "part": "a"},
        {"id": "", "part": "a"},
        {"id": "\u3000", "part": "a"},
        {"id": "1", "part": "\u200b"},
        {"id": "x", "part": "a"},
    ]
    checked = check(tmp_path, resource, rows)
    assert read_accepted(checked, "id", "part") == [(1, "a")]
    assert read_rejected(checked) == {**{n: ["key.blank"] for n in (2, 3, 4, 5)}, 6: ["id.type"]}
    assert checked.unreadable_keys == 5
    assert read_rows(checked.present_keys) == []
    assert {r["_row_no"]: r["_key"] for r in read_rows(checked.rejected)} == dict.fromkeys(range(2, 7))


def test_f28_a_nul_byte_costs_one_row_not_the_batch(tmp_path: Path) -> None:
    resource = make_resource(THINGS)
    rows = [{"id": str(n), "value": "a\x00b" if n == 500 else "ab"} for n in range(1, 1001)]
    checked = check(tmp_path, resource, rows)
    assert read_rejected(checked) == {500: ["structure.nul"]}
    assert checked.rows_accepted == 999
    assert json.loads(read_rows(checked.rejected)[0]["_raw"])["value"] == "a\x00b"


def test_rows_the_source_could_not_read_whole_are_rejected_with_their_text(tmp_path: Path) -> None:
    resource = make_resource(THINGS)
    rows: list[dict[str, Any]] = [
        {"id": "1"},
        {"_broken": "structure.ragged", "_raw": "2,b,c,d"},
        {"id": "9", "_broken": "structure.strange", "_raw": "…"},
    ]
    checked = check(tmp_path, resource, rows)
    assert read_rejected(checked) == {2: ["structure.ragged"], 3: ["structure.strange"]}
    assert checked.unreadable_keys == 2
    assert json.loads(read_rows(checked.rejected)[0]["_raw"]) == {"_raw": "2,b,c,d"}
    failed = {r.rule_id: r.failed for r in checked.rules if r.failed}
    assert failed == {"structure.ragged": 1, "structure.strange": 1}
    assert read_findings(checked) == {(2, "structure.ragged", "rejected"), (3, "structure.strange", "rejected")}


def test_f06_f07_rows_without_a_cursor_or_with_one_in_the_future_are_set_aside(tmp_path: Path) -> None:
    resource = make_resource(
        THINGS,
        load="incremental",
        source={"kind": "database", "connection": "fep", "table": "t", "cursor": "changed"},
    )
    soon = (NOW + timedelta(minutes=5)).replace(tzinfo=None).isoformat(sep=" ")
    rows = [
        {"id": "1", "changed": "2026-10-20 08:59:59"},
        {"id": "2", "changed": None},
        {"id": "3", "changed": " "},
        {"id": "4", "changed": "2099-01-01 00:00:00"},
        {"id": "5", "changed": soon},  # two clocks are never quite the same
    ]
    checked = check(tmp_path, resource, rows)
    assert read_accepted(checked, "id") == [("1",), ("5",)]
    assert read_rejected(checked) == {2: ["cursor.blank"], 3: ["cursor.blank"], 4: ["cursor.future"]}


def test_declared_rules_reject_or_warn_and_null_counts_as_good(tmp_path: Path) -> None:
    resource = make_resource(
        [{"name": "id"}, {"name": "a", "type": "int64"}, {"name": "b", "type": "int64"}],
        rules=[
            {"id": "a_below_b", "title": "甲须小于乙", "expr": "a < b", "mend": "请核对"},
            {"id": "a_even", "title": "甲须为偶数", "expr": "a % 2 = 0", "severity": "warn", "mend": "请核对"},
            {"id": "no_overflow", "title": "溢出", "expr": "a * 9000000000000000000 >= 0", "mend": "请核对"},
            {"id": "castable", "title": "转换", "expr": "cast(id as int) > 0", "mend": "请核对"},
        ],
    )
    rows = [
        {"id": "1", "a": "2", "b": "3"},
        {"id": "2", "a": "3", "b": "3"},
        {"id": "x", "a": None, "b": "1"},
        {"id": "4", "a": "5", "b": "6"},
    ]
    checked = check(tmp_path, resource, rows)
    assert read_accepted(checked, "id") == [("1",), ("x",), ("4",)]
    assert read_rejected(checked) == {2: ["a_below_b"]}
    assert read_findings(checked) == {
        (2, "a_below_b", "rejected"),
        (2, "a_even", "suspicious"),
        (4, "a_even", "suspicious"),
    }


def test_a_rule_that_does_not_fit_its_types_is_a_catalog_error(tmp_path: Path) -> None:
    resource = make_resource(
        [{"name": "id"}, {"name": "day", "type": "date32"}],
        rules=[{"id": "odd", "title": "怪", "expr": "length(day) > 2", "mend": "-"}],
    )
    with pytest.raises(CatalogError, match=r"ab/things\.yml.*don't fit the types"):
        check(tmp_path, resource, [{"id": "1", "day": "2026-01-01"}])


def test_a_tombstone_needs_its_key_only(tmp_path: Path) -> None:
    resource = make_resource(
        [{"name": "id"}, {"name": "state"}, {"name": "value", "nullable": False}], tombstone="state = 'D'"
    )
    rows = [{"id": "1", "state": "D"}, {"id": "2"}, {"id": None, "state": "D"}]
    checked = check(tmp_path, resource, rows)
    assert read_accepted(checked, "id", "state") == [("1", "D")]
    assert read_rejected(checked) == {2: ["value.required"], 3: ["key.blank"]}


def test_identifiers_reject_doubt_mend_and_leave_open(tmp_path: Path) -> None:
    resource = make_resource(
        [
            {"name": "id", "column": "id", "title": "公民身份号码", "identifier": "citizen_id"},
            {"name": "birth", "column": "birth", "title": "出生日期", "type": "date32"},
            {"name": "sex", "column": "sex", "title": "性别", "codes": "sex"},
        ]
    )
    good = citizen("15060219800101001")
    other = citizen("15060219800101003")
    rows = [
        {"id": good, "birth": "1980-01-01", "sex": "1"},
        {"id": good[:-1] + ("1" if good[-1] != "1" else "2"), "birth": "1980-01-01", "sex": "1"},
        {"id": other, "birth": "1990-01-01", "sex": "1"},
        {"id": "150602800101005", "birth": "1980-01-01", "sex": "1"},
    ]
    checked = check(tmp_path, resource, rows)
    assert read_accepted(checked, "_row_no", "id") == [(1, good), (3, other), (4, citizen("15060219800101005"))]
    assert read_rejected(checked) == {2: ["id.identifier"]}
    assert read_findings(checked) == {
        (2, "id.identifier", "rejected"),
        (3, "id.identifier", "suspicious"),
        (4, "id.identifier", "mended"),
    }
    rule = next(r for r in checked.rules if r.rule_id == "id.identifier")
    assert (rule.rows, rule.failed, rule.suspicious, rule.unjudged, rule.mended) == (4, 1, 1, 0, 1)
    assert rule.standard is not None
    assert "GB 11643" in rule.standard


def test_f67_no_personal_value_is_left_in_findings_or_counts(tmp_path: Path) -> None:
    resource = make_resource(
        [
            {"name": "id", "column": "id", "title": "公民身份号码", "identifier": "citizen_id", "sensitivity": 4},
            {"name": "name", "column": "name", "title": "姓名", "sensitivity": 3, "length": 2},
            {"name": "note", "column": "note", "title": "备注", "length": 3},
            {"name": "code", "column": "code", "title": "性别", "codes": "sex"},
        ],
        rules=[{"id": "never", "title": "从不", "expr": "id = name", "mend": "-"}],
    )
    canary, phone, person = citizen("15060219800101001"), "13900008888", "欧阳金丝雀"
    rows = [
        {"id": canary[:-1] + "Z", "name": person, "note": f"电话{phone}", "code": "x7"},
        {"id": canary, "name": person, "note": canary, "code": phone},
        {"id": canary, "name": "张三", "note": "abc", "code": "1"},
    ]
    checked = check(tmp_path, resource, rows)
    shown = pq.read_table(checked.findings).to_pylist()
    text = json.dumps(shown, ensure_ascii=False) + (tmp_path / "staging/ab.things/b1/checked.json").read_text("utf-8")
    assert len(shown) >= 8
    assert "x7" in text, "an unknown code is told with its value"
    for secret in (canary, canary[:-1], phone, person):
        assert secret not in text
    assert re.search(r"\d{11}", text) is None


def test_findings_are_capped_and_counts_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guiji.quality.findings.FINDINGS_PER_RULE", 3)
    resource = make_resource([{"name": "id"}, {"name": "value", "length": 1}])
    checked = check(tmp_path, resource, [{"id": str(n), "value": "ab"} for n in range(1, 8)])
    assert read_findings(checked) == {(n, "value.length", "rejected") for n in (1, 2, 3)}
    assert checked.capped == ("value.length",)
    assert {r.rule_id: r.failed for r in checked.rules if r.failed} == {"value.length": 7}
    assert checked.rows_rejected == 7


def test_b_counts_the_rows_a_rule_could_judge(tmp_path: Path) -> None:
    resource = make_resource(
        [{"name": "id"}, {"name": "n", "type": "int64", "nullable": False}, {"name": "day", "type": "date32"}]
    )
    rows = [{"id": "1", "n": "1"}, {"id": "2"}, {"id": "3", "n": "x", "day": "2026-01-01"}, {"id": "4", "n": "4"}]
    checked = check(tmp_path, resource, rows)
    b = {r.rule_id: (r.rows, r.failed) for r in checked.rules}
    assert b["n.required"] == (4, 1)
    assert b["n.type"] == (3, 1)
    assert b["day.type"] == (1, 0)
    assert b["day.range"] == (1, 0)
    assert checked.assigned == (4, 2, 1)


def test_flags_name_the_rules_of_rows_that_broke_one(tmp_path: Path) -> None:
    resource = make_resource([{"name": "id"}, {"name": "n", "type": "int64", "maximum": 9}])
    rows = [{"id": "1", "n": "1"}, {"id": "2", "n": "10"}, {"id": "3", "n": "x"}, {"id": "1", "n": "2"}]
    checked = check(tmp_path, resource, rows)
    flags = {r["_row_no"]: {k for k, v in r.items() if v is True} for r in read_rows(checked.flags)}
    assert flags == {1: {"key.duplicate"}, 2: {"n.range"}, 3: {"n.type"}}


def test_f11_too_few_rows_refuse_a_snapshot_but_not_a_quiet_increment(tmp_path: Path) -> None:
    with pytest.raises(DeliveryRefused) as refused:
        check(tmp_path / "a", make_resource(THINGS), [])
    assert refused.value.rule_id == "delivery.empty"
    with pytest.raises(DeliveryRefused):
        check(tmp_path / "b", make_resource(THINGS, tolerance={"min_rows": 3}), [{"id": "1"}, {"id": "2"}])
    quiet = check(
        tmp_path / "c",
        make_resource(THINGS, load="incremental", source={"kind": "http", "connection": "c", "path": "/"}),
        [],
    )
    assert (quiet.rows_read, quiet.rows_accepted) == (0, 0)
    assert read_rows(quiet.accepted) == read_rows(quiet.rejected) == read_rows(quiet.findings) == []


def test_f54_a_row_that_vanishes_between_the_steps_stops_the_batch(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    resource = make_resource(THINGS)
    staged = stage_rows(settings, resource, [{"id": str(n)} for n in range(10)])
    with pytest.raises(GuijiError, match="11 rows were read, but 10 accounted for"):
        check_batch(resource, settings, replace(staged, rows=11))
    assert not (Path(staged.directory) / "checked.json").exists()


def test_a_second_check_answers_from_the_first_and_everything_is_the_owners_alone(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    resource = make_resource(THINGS)
    staged = stage_rows(settings, resource, [{"id": "1"}, {"id": None}])
    first = check_batch(resource, settings, staged)
    before = Path(first.accepted).stat().st_mtime_ns
    assert check_batch(resource, settings, staged) == first == load_checked(settings, staged)
    assert Path(first.accepted).stat().st_mtime_ns == before
    written = {p.name: stat.S_IMODE(p.stat().st_mode) for p in Path(staged.directory).iterdir()}
    ours = {n: m for n, m in written.items() if not n.startswith(("part-", "manifest"))}
    assert ours == dict.fromkeys(
        (
            "accepted.parquet",
            "rejected.parquet",
            "findings.parquet",
            "present_keys.parquet",
            "flags.parquet",
            "checked.json",
        ),
        0o600,
    )
    assert list((settings.home / "scratch").iterdir()) == []


def test_changed_rules_check_a_batch_anew(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    resource = make_resource(THINGS)
    staged = stage_rows(settings, resource, [{"id": "1", "value": "long"}])
    assert check_batch(resource, settings, staged).rows_rejected == 0
    stricter = make_resource([{"name": "id"}, {"name": "value", "length": 2}, THINGS[2]])
    assert check_batch(stricter, settings, staged).rows_rejected == 1


def test_hostile_names_and_values_stay_what_they_are(tmp_path: Path) -> None:
    column = "姓名\"; DROP TABLE x; --'/~{}"
    resource = make_resource(
        [{"name": "id"}, {"name": "select", "title": "o'clock", "column": column, "null_tokens": ["';--"]}],
        rules=[{"id": "group", "title": "引号", "expr": "\"select\" <> '''; --'", "mend": "-"}],
    )
    rows = [{"id": "1", column: "'; DROP TABLE x; --"}, {"id": "2", column: "';--"}, {"id": "3", column: "'; --"}]
    checked = check(tmp_path / "a'b [c] *", resource, rows)
    assert read_accepted(checked, "id", "select") == [("1", "'; DROP TABLE x; --"), ("2", None)]
    assert read_rejected(checked) == {3: ["group"]}
    assert [r["value_masked"] for r in read_rows(checked.findings)] == ["'; --"]


# --- carrying rows that already serve ------------------------------------------------------------------


PEOPLE = [
    {"name": "id", "nullable": False},
    {"name": "age", "type": "int64", "maximum": 130},
    {"name": "city", "codes": "sex", "code_map": {"fixable": {"男": "1"}}},
]


def publish(settings: Settings, resource: Resource, rows: list[dict[str, Any]], batch_id: str, current: Current) -> Any:
    """Checks with the cache of ``current``, compares, and checks once more without: (with, without, difference)."""
    staged = stage_rows(settings, resource, rows, batch_id=batch_id)
    carried = check_batch(resource, settings, staged, carry_cache=current.path)
    difference = compare(resource, settings, staged, carried, current)
    apart = stage_rows(settings, resource, rows, batch_id=batch_id + "-apart")
    plain = check_batch(resource, settings, apart)
    return carried, plain, difference


def test_carried_rows_change_nothing_but_the_time_it_takes(tmp_path: Path) -> None:
    """Random deliveries, one after the other: with and without the cache every count and every change is the same."""
    rng = random.Random(7)
    settings = make_settings(tmp_path)
    resource = make_resource(PEOPLE, tolerance={"deleted": 1, "shrink": 1, "grow": 99})
    rows = [{"id": str(n), "age": str(n % 90), "city": rng.choice("12")} for n in range(60)]
    current = Current(None, 0, complete=True)
    carried_rows = 0
    for turn in range(8):
        delivery = [dict(r) for r in rows if rng.random() > 0.05]
        for row in delivery:
            if rng.random() < 0.1:
                row["age"] = rng.choice(["x", "200", "33", None])
            if rng.random() < 0.05:
                row["city"] = "男"
            if rng.random() < 0.02:
                row["id"] = None
        delivery += [dict(rng.choice(delivery)) for _ in range(3)]  # copies, some of carried rows
        delivery += [{**rng.choice(delivery), "age": "44"} for _ in range(2)]  # other versions, some of carried rows
        rng.shuffle(delivery)
        carried, plain, difference = publish(settings, resource, delivery, f"t{turn}", current)
        carried_rows += carried.rows_carried
        for name in ("rows_read", "rows_rejected", "rows_duplicate", "unreadable_keys", "assigned"):
            assert getattr(carried, name) == getattr(plain, name), (turn, name)
        assert carried.rows_accepted + carried.rows_carried == plain.rows_accepted
        assert carried.rules == plain.rules
        assert read_rejected(carried) == read_rejected(plain)
        assert read_findings(carried) == read_findings(plain)
        without = compare(
            resource,
            replace(settings, home=settings.home / "apart"),
            stage_rows(settings, resource, delivery, batch_id=f"x{turn}"),
            plain,
            current,
        )
        for name in ("rows_new", "rows_changed", "rows_unchanged", "rows_deleted"):
            assert getattr(difference, name) == getattr(without, name), (turn, name)

        def changes(path: str) -> set[tuple[Any, ...]]:
            return {(r["id"], r["age"], r["city"], r["_op"]) for r in read_rows(path)}

        assert changes(difference.changes) == changes(without.changes)
        assert difference.cache is not None
        current = Current(difference.cache, current.rows + difference.rows_new - difference.rows_deleted, complete=True)
        assert pq.read_metadata(difference.cache).num_rows == current.rows
    assert carried_rows > 150, "the cache was never used"


def test_an_unchanged_delivery_is_carried_whole_and_a_changed_rule_carries_nothing(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    resource = make_resource(PEOPLE)
    rows = [{"id": str(n), "age": "30", "city": "1"} for n in range(20)]
    _, _, difference = publish(settings, resource, rows, "a", Current(None, 0, complete=True))
    current = Current(difference.cache, 20, complete=True)
    again, _, same = publish(settings, resource, rows, "b", current)
    assert (again.rows_carried, again.rows_accepted, same.rows_unchanged, same.cache) == (20, 0, 20, difference.cache)
    stricter = make_resource([PEOPLE[0], {"name": "age", "type": "int64", "maximum": 20}, PEOPLE[2]])
    anew = check_batch(
        stricter, settings, stage_rows(settings, stricter, rows, batch_id="c"), carry_cache=difference.cache
    )
    assert (anew.rows_carried, anew.rows_rejected) == (0, 20)
    later = settings.at(datetime.fromisoformat("2026-12-24T09:00:00+08:00"))
    old = check_batch(resource, later, stage_rows(settings, resource, rows, batch_id="d"), carry_cache=difference.cache)
    assert (old.rows_carried, old.rows_accepted) == (0, 20)


@pytest.mark.parametrize("resource_id", sorted(load_catalog(SHIPPED).resources))
def test_every_shipped_resource_can_be_checked(tmp_path: Path, resource_id: str) -> None:
    """Its rules fit its types; a row without any value breaks what must be filled in and nothing else."""
    resource = load_resource(SHIPPED, resource_id)
    settings = make_settings(tmp_path)
    columns = list(dict.fromkeys(f.source_column for f in resource.model.fields if f.constant is None))
    checked = check_batch(resource, settings, stage_rows(settings, resource, [{}], columns=columns))
    (broken,) = read_rejected(checked).values()
    assert "key.blank" in broken
    one_of_several = {r.id for r in resource.model.rules if r.indicator == "0201"}
    assert {rule.split(".")[-1] for rule in broken} <= {"blank", "required"} | one_of_several


def test_f67_a_long_number_behind_a_page_of_blanks_is_masked_whole(tmp_path: Path) -> None:
    resource = make_resource([{"name": "id"}, {"name": "note", "sensitivity": 1, "length": 2}])
    for blanks in ("\t", " ", "\u3000", "\xa0\n", "\x1c"):
        for width in (982, 985, 990, 995, 999, 1000, 1001):
            front = (blanks * 1001)[:width]
            rows = [{"id": "1", "note": front + "110105199001010015"}, {"id": "2", "note": front + "13812345678"}]
            checked = check(tmp_path / f"{ord(blanks[0])}-{width}", resource, rows)
            shown = [r["value_masked"] for r in read_rows(checked.findings) if r["rule_id"] == "note.length"]
            assert shown == ["1101************15", "1381*****78"]


def test_a_long_number_in_a_field_for_numbers_is_masked(tmp_path: Path) -> None:
    resource = make_resource(
        [{"name": "id"}, {"name": "n", "type": "int64"}, {"name": "amount", "type": "decimal128(20,2)"}]
    )
    rows = [
        {"id": "1", "n": "13812345678x", "amount": "1"},
        {"id": "2", "n": "1", "amount": "１１０１０５１９９００１０１００１５元"},
        {"id": "3", "n": "1380x", "amount": "1"},
    ]
    shown = {r["value_masked"] for r in read_rows(check(tmp_path, resource, rows).findings)}
    assert shown == {"1381******8x", "１１０１*************５元", "1380x"}
