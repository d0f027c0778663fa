"""What could make a library say what nobody said: broken catalog files, sources that leave, votes, spellings, and
cards that name another row than the one that spoke."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from packages import START, SmallCatalog, at_day, deliver, make_library, make_resource

from guiji.catalog.models import LibraryModel, Resource
from guiji.errors import CatalogError
from guiji.library.resolve import resolve
from guiji.library.trace import trace
from guiji.settings import Settings

LONG_AGO = START - timedelta(days=10)


def library_of(**fields: dict[str, Any]) -> LibraryModel:
    return make_library(fields=[{"name": n, "title": n, **spec} for n, spec in fields.items()])


def saying(id: str, *fields: str) -> Resource:
    """One row a person, each field a text."""
    names = fields or ("value",)
    return make_resource(
        id,
        fields={"id_no": "string", **dict.fromkeys(names, "string"), "at": "timestamp"},
        order=["at"],
        mappings=[{"library": "population", "key": ["id_no"], "fields": {n: n for n in names}}],
    )


def catalog_of(library: LibraryModel, *resources: Resource) -> SmallCatalog:
    return SmallCatalog({r.id: r for r in resources}, {"population": library})


def say(conn: Any, settings: Settings, resource: Resource, *values: str) -> None:
    """One delivery: person ``0`` has the first value, ``1`` the second, and so on."""
    deliver(conn, settings, resource, [{"id_no": str(n), "value": v, "at": LONG_AGO} for n, v in enumerate(values)])


def rows(conn: Any, query: str) -> list[tuple[object, ...]]:
    found = [tuple(r.values()) for r in conn.execute(query).fetchall()]
    conn.commit()
    return found


PERSON = library_of(value={"authority": ["gaj", "wjw"]})
PEOPLE = "SELECT citizen_id, value, _deleted_at IS NULL FROM library.person ORDER BY 1"


def test_a_broken_catalog_file_takes_no_departments_values_out(conn: Any, settings: Settings) -> None:
    police, health = saying("gaj.a"), saying("wjw.b")
    say(conn, settings, police, "甲")
    say(conn, settings, health, "乙", "丙")
    resolve(conn, settings, "population", catalog_of(PERSON, police, health))
    served = [("0", "甲", True), ("1", "丙", True)]
    assert rows(conn, PEOPLE) == served
    broken = replace(catalog_of(PERSON, health), broken_resources={"gaj.a": ("gaj/a.yml:3: key: nothing here.",)})
    with pytest.raises(CatalogError, match=r"gaj.a feeds population.*gaj/a.yml:3.*mend the file, then resolve again"):
        resolve(conn, settings, "population", broken)
    assert rows(conn, PEOPLE) == served
    assert rows(conn, "SELECT resource_id FROM ops.library_source WHERE retired_at IS NOT NULL") == []
    # a file that is no source of this library is of no concern, and one that is gone has left
    elsewhere = replace(catalog_of(PERSON, police, health), broken_resources={"mzj.c": ("mzj/c.yml:1: empty.",)})
    assert resolve(conn, settings, "population", elsewhere).keys == 0
    resolve(conn, settings, "population", catalog_of(PERSON, health))
    assert rows(conn, PEOPLE) == [("0", "乙", True), ("1", "丙", True)]


def test_what_was_open_is_settled_when_only_one_source_is_left(conn: Any, settings: Settings) -> None:
    police, health = saying("gaj.a"), saying("wjw.b")
    say(conn, settings, police, "甲")
    say(conn, settings, health, "乙")
    both = catalog_of(PERSON, police, health)
    resolve(conn, settings, "population", both)
    conflicts = "SELECT winner, loser, settled_at IS NULL FROM ops.conflict"
    assert rows(conn, conflicts) == [("gaj.a", "wjw.b", True)]
    resolve(conn, settings, "population", catalog_of(PERSON, police))
    assert rows(conn, conflicts) == [("gaj.a", "wjw.b", False)]
    resolve(conn, settings, "population", both)
    assert rows(conn, conflicts) == [("gaj.a", "wjw.b", True)]


@pytest.mark.parametrize(
    ("said", "wins"),
    [
        ({"gaj.a": "甲", "gaj.b": "甲", "gaj.c": "甲", "wjw.d": "乙", "mzj.e": "乙"}, "乙"),
        ({"gaj.a": "甲", "gaj.b": "甲", "wjw.d": "乙"}, "甲"),
        ({"gaj.a": "甲", "wjw.d": "乙", "wjw.e": "乙"}, "甲"),
    ],
    ids=["three resources are one voice", "a tie goes to the named", "two resources outvote nobody"],
)
def test_a_department_has_one_vote_however_many_resources_it_delivers(
    conn: Any, settings: Settings, said: dict[str, str], wins: str
) -> None:
    library = library_of(value={"strategy": "most_frequent", "authority": ["gaj"]})
    resources = [saying(id) for id in said]
    for resource in resources:
        say(conn, settings, resource, said[resource.id])
    resolve(conn, settings, "population", catalog_of(library, *resources))
    assert rows(conn, PEOPLE) == [("0", wins, True)]


def test_nobody_is_told_to_be_wrong_for_a_blank_a_width_or_a_case(conn: Any, settings: Settings) -> None:
    police, health = saying("gaj.a"), saying("wjw.b")
    same = [
        ("ABC公司", "abc公司"),
        ("ＡＢＣ１", "ABC1"),
        ("张 三", "张三"),
        ("张三", "张\u3000三"),
        ("张\u200b三", "张三\n"),
        ("买买提·艾力", "买买提•艾力"),
        ("甲（集团）", "甲(集团)"),
    ]
    say(conn, settings, police, *(a for a, _ in same), "张三", "甲-1")
    say(conn, settings, health, *(b for _, b in same), "李四", "甲1")
    assert resolve(conn, settings, "population", catalog_of(PERSON, police, health)).conflicts == 2
    assert rows(conn, "SELECT winner_value, loser_value FROM ops.conflict ORDER BY 1") == [
        ("张三", "李四"),
        ("甲-1", "甲1"),
    ]
    # the winner's own spelling is what the library says
    assert rows(conn, "SELECT value FROM library.person ORDER BY citizen_id LIMIT 2") == [("ABC公司",), ("ＡＢＣ１",)]


CONTRACT = make_resource(
    "rsj.contract",
    fields={"no": "string", "id_no": "string", "job": "string", "phone": "string", "since": "timestamp"},
    order=["since"],
    mappings=[{"library": "population", "key": ["id_no"], "fields": {"job": "job", "phone": "phone"}}],
)
WORKER = library_of(job={"authority": ["rsj"]}, phone={"strategy": "newest_non_null"})


def contracts(*said: tuple[str, str, str, int]) -> list[dict[str, object]]:
    return [
        {"no": no, "id_no": "1", "job": job, "phone": phone, "since": LONG_AGO + timedelta(hours=hour)}
        for no, job, phone, hour in said
    ]


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ([("c1", "工", "1", 1), ("c2", "农", "2", 3), ("c3", "商", "2", 2)], 2),
        ([("c1", "农", "2", 1), ("c2", "农", "2", 2), ("c3", "农", "2", 3)], 3),
        ([("c2", "农", "2", 3), ("c1", "农", "2", 3)], 2),
    ],
    ids=["other values", "the same values, the newest", "equally new, the smallest key"],
)
def test_of_several_rows_of_one_person_the_card_names_the_one_that_spoke(
    conn: Any, settings: Settings, said: Sequence[tuple[str, str, str, int]], line: int
) -> None:
    deliver(conn, settings, CONTRACT, contracts(*said))
    resolve(conn, settings, "population", catalog_of(WORKER, CONTRACT))
    for day in (None, date(2999, 1, 1)):
        card = trace(conn, settings, WORKER, "1", day)
        assert {(f.value, f.locator) for f in card.fields} == {("农", f"public.t:{line}"), ("2", f"public.t:{line}")}


def test_a_card_of_the_past_names_the_row_that_served_then(conn: Any, settings: Settings) -> None:
    """The row that spoke on the first days said the same again later, from another line."""
    first, second, third = (at_day(settings, n) for n in (1, 3, 5))
    catalog = catalog_of(WORKER, CONTRACT)
    for day, moment, said in (
        (1, first, contracts(("c1", "农", "1", 1), ("c2", "商", "2", 2))),
        (3, second, contracts(("c1", "农", "1", 1))),
        (5, third, contracts(("c3", "工", "3", 9), ("c2", "商", "2", 2))),
    ):
        deliver(conn, moment, CONTRACT, said, day=day)
        resolve(conn, moment, "population", catalog)
    told = {
        day: {(f.value, f.locator) for f in trace(conn, settings, WORKER, "1", date(2026, 10, day)).fields}
        for day in (1, 2, 3, 4, 5)
    }
    assert told == {
        1: {("商", "public.t:2"), ("2", "public.t:2")},
        2: {("商", "public.t:2"), ("2", "public.t:2")},
        3: {("农", "public.t:1"), ("1", "public.t:1")},
        4: {("农", "public.t:1"), ("1", "public.t:1")},
        5: {("工", "public.t:1"), ("3", "public.t:1")},
    }


def test_a_field_that_the_library_gained_is_empty_until_somebody_supplies_it(conn: Any, settings: Settings) -> None:
    wider = library_of(value={"authority": ["gaj"]}, more={"authority": ["gaj"]})
    police, fuller = saying("gaj.a"), saying("gaj.a", "value", "more")
    for day, value in ((1, "甲"), (3, "乙")):
        deliver(conn, at_day(settings, day), police, [{"id_no": "1", "value": value, "at": LONG_AGO}], day=day)
        resolve(conn, at_day(settings, day), "population", catalog_of(library_of(value={"authority": ["gaj"]}), police))

    def told(day: int | None) -> list[str | None]:
        return [f.value for f in trace(conn, settings, wider, "1", date(2026, 10, day) if day else None).fields]

    assert [told(2), told(4), told(None)] == [["甲", None], ["乙", None], ["乙", None]]
    later = [{"id_no": "1", "value": "丙", "more": "丁", "at": LONG_AGO}]
    deliver(conn, at_day(settings, 5), fuller, later, day=5)
    resolve(conn, at_day(settings, 5), "population", catalog_of(wider, fuller))
    assert [told(2), told(4), told(None)] == [["甲", None], ["乙", None], ["丙", "丁"]]


ENTERPRISE = make_resource(
    "scjg.enterprise",
    fields={"code": "string", "reg_no": "string"},
    mappings=[{"library": "legal_person", "key": ["code"], "fields": {}}],
)
TAX = make_resource(
    "swj.tax",
    fields={"tax_no": "string", "code": "string", "reg_no": "string", "grade": "string"},
    mappings=[{"library": "legal_person", "key": ["code"], "by": {"reg": ["reg_no"]}, "fields": {"grade": "grade"}}],
)
COMPANY = make_library(
    name="legal_person",
    table="legal_person",
    key=[{"name": "credit_code", "title": "信用代码"}],
    fields=[{"name": "grade", "title": "等级", "authority": ["swj"]}],
    links=[{"name": "reg", "title": "注册号", "through": "scjg.enterprise", "fields": ["reg_no"], "key": ["code"]}],
)


def test_a_card_of_the_past_follows_the_links_of_that_time(conn: Any, settings: Settings) -> None:
    """The tax row had the code itself, then only the registration number, which another company took over later."""
    catalog = SmallCatalog({r.id: r for r in (ENTERPRISE, TAX)}, {"legal_person": COMPANY})
    days: dict[int, tuple[Resource, list[dict[str, object]]]] = {
        1: (TAX, [{"tax_no": "n0", "grade": "丙"}, {"tax_no": "n1", "code": "A", "reg_no": None, "grade": "甲"}]),
        2: (ENTERPRISE, [{"code": "A", "reg_no": "r1"}, {"code": "B", "reg_no": None}]),
        3: (TAX, [{"tax_no": "n1", "code": None, "reg_no": "r1", "grade": "甲"}]),
        5: (ENTERPRISE, [{"code": "A", "reg_no": None}, {"code": "B", "reg_no": "r1"}]),
    }
    for day, (resource, said) in days.items():
        deliver(conn, at_day(settings, day), resource, said, day=day, batch=f"b{day}")
        resolve(conn, at_day(settings, day), "legal_person", catalog)

    def told(code: str, day: int) -> tuple[object, ...]:
        grade = trace(conn, settings, COMPANY, code, date(2026, 10, day)).fields[0]
        return grade.value, grade.batch_id, grade.locator

    assert [told("A", day) for day in range(1, 7)] == [
        ("甲", "b1", "public.t:2"),
        ("甲", "b1", "public.t:2"),
        ("甲", "b3", "public.t:1"),
        ("甲", "b3", "public.t:1"),
        (None, None, None),
        (None, None, None),
    ]
    assert [told("B", day) for day in (2, 4, 5, 6)] == [(None, None, None)] * 2 + [("甲", "b3", "public.t:1")] * 2
