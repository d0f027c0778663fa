"""Rows without the library's key: secondary keys, probable matches that a person decides, and disagreements told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from packages import START, SmallCatalog, at_day, deliver, make_department, make_library, make_resource
from small_catalog import write_catalog
from typer.testing import CliRunner

from guiji import ledger
from guiji.catalog import check_catalog
from guiji.catalog.models import LibraryModel, Resource
from guiji.city import City
from guiji.cli import app
from guiji.errors import UsageError
from guiji.library.matching import score_pairs
from guiji.library.proposals import decide_proposal, list_proposals, render_proposals
from guiji.library.resolve import resolve
from guiji.library.trace import trace
from guiji.notices.digest import build_digest
from guiji.notices.model import Event
from guiji.settings import Settings

COMPANY = make_library(
    name="legal_person",
    table="legal_person",
    title="法人库",
    key=[{"name": "credit_code", "title": "统一社会信用代码"}],
    fields=[
        {"name": "name", "title": "名称", "authority": ["scjg", "swj"]},
        {"name": "tax_grade", "title": "纳税等级", "authority": ["swj"]},
    ],
    links=[
        {
            "name": "registration_no",
            "title": "注册号",
            "through": "scjg.enterprise",
            "fields": ["reg_no"],
            "key": ["code"],
        }
    ],
)
ENTERPRISE = make_resource(
    "scjg.enterprise",
    fields={"code": "string", "reg_no": "string", "name": "string"},
    mappings=[{"library": "legal_person", "key": ["code"], "fields": {"name": "name"}}],
)
TAX = make_resource(
    "swj.tax",
    fields={"tax_no": "string", "code": "string", "reg_no": "string", "name": "string", "grade": "string"},
    mappings=[
        {
            "library": "legal_person",
            "key": ["code"],
            "by": {"registration_no": ["reg_no"]},
            "fields": {"name": "name", "tax_grade": "grade"},
        }
    ],
)
#: knows the secondary key only
LICENCE = make_resource(
    "swj.grade",
    fields={"reg_no": "string", "grade": "string"},
    mappings=[{"library": "legal_person", "by": {"registration_no": ["reg_no"]}, "fields": {"tax_grade": "grade"}}],
)
COMPANIES = SmallCatalog({r.id: r for r in (ENTERPRISE, TAX)}, {"legal_person": COMPANY})


def companies(conn: Any) -> set[tuple[object, ...]]:
    found = conn.execute(
        "SELECT credit_code, name, tax_grade FROM library.legal_person WHERE _deleted_at IS NULL"
    ).fetchall()
    conn.commit()
    return {tuple(r.values()) for r in found}


class Town:
    """Deliveries of the two resources, day after day."""

    def __init__(self, conn: Any, settings: Settings) -> None:
        self.conn, self.settings, self.day = conn, settings, 0

    def send(self, resource: Resource, *rows: Sequence[object], resolves: bool = True) -> None:
        self.day += 1
        at = at_day(self.settings, self.day)
        names = [f.name for f in resource.model.fields]
        deliver(
            self.conn,
            at,
            resource,
            [dict(zip(names, row, strict=True)) for row in rows],
            day=self.day,
            batch=f"b{self.day}",
        )
        if resolves:
            resolve(self.conn, at, "legal_person", COMPANIES)


@pytest.fixture
def town(conn: Any, settings: Settings) -> Town:
    return Town(conn, settings)


def test_a_row_is_found_by_its_registration_number_whoever_comes_first(town: Town) -> None:
    town.send(TAX, ("t1", None, "150000", "甲", "A"), ("t2", "C2", "150002", "乙", "B"))
    assert companies(town.conn) == {("C2", "乙", "B")}
    town.send(ENTERPRISE, ("C1", "150000", "甲公司"), ("C2", "150009", "乙公司"))
    assert companies(town.conn) == {("C1", "甲公司", "A"), ("C2", "乙公司", "B")}
    town.send(TAX, ("t1", None, "150000", "甲", "M"), ("t2", "C2", "150002", "乙", "B"))
    assert companies(town.conn) == {("C1", "甲公司", "M"), ("C2", "乙公司", "B")}
    card = trace(town.conn, town.settings, COMPANY, "C1")
    assert [(f.value, f.resource_id, f.batch_id, f.locator) for f in card.fields] == [
        ("甲公司", "scjg.enterprise", "b2", "public.t:1"),
        ("M", "swj.tax", "b3", "public.t:1"),
    ]


def test_a_secondary_key_of_two_companies_links_to_neither(town: Town) -> None:
    town.send(TAX, ("t1", None, "150000", "甲", "A"))
    town.send(ENTERPRISE, ("C1", "150000", "甲公司"))
    assert companies(town.conn) == {("C1", "甲公司", "A")}
    town.send(ENTERPRISE, ("C1", "150000", "甲公司"), ("C2", "150000", "乙公司"))
    assert companies(town.conn) == {("C1", "甲公司", None), ("C2", "乙公司", None)}
    town.send(ENTERPRISE, ("C1", "150000", "甲公司"), ("C2", "150002", "乙公司"))
    assert companies(town.conn) == {("C1", "甲公司", "A"), ("C2", "乙公司", None)}
    town.send(ENTERPRISE, ("C1", "150001", "甲公司"), ("C2", "150000", "乙公司"))
    assert companies(town.conn) == {("C1", "甲公司", None), ("C2", "乙公司", "A")}
    town.send(ENTERPRISE, ("C1", "150001", "甲公司"))
    assert companies(town.conn) == {("C1", "甲公司", None)}


def test_a_row_that_gets_its_own_key_leaves_the_linked_one(town: Town) -> None:
    town.send(ENTERPRISE, ("C1", "150000", "甲公司"), ("C2", "150002", "乙公司"), resolves=False)
    town.send(TAX, ("t1", None, "150000", "甲", "A"))
    assert companies(town.conn) == {("C1", "甲公司", "A"), ("C2", "乙公司", None)}
    town.send(TAX, ("t1", "C2", "150000", "甲", "A"))
    assert companies(town.conn) == {("C1", "甲公司", None), ("C2", "乙公司", "A")}


def test_a_mark_that_stands_for_no_key_holds_up_no_other(conn: Any, settings: Settings) -> None:
    catalog = SmallCatalog({r.id: r for r in (ENTERPRISE, LICENCE)}, {"legal_person": COMPANY})
    rows = [{"code": "C1", "reg_no": "1", "name": "甲"}]
    deliver(conn, settings, ENTERPRISE, rows)
    deliver(conn, settings, LICENCE, [{"reg_no": "1", "grade": "A"}])
    resolve(conn, settings, "legal_person", catalog)
    grades: list[dict[str, object]] = [{"reg_no": str(n), "grade": "B"} for n in range(30, 0, -1)]
    deliver(conn, settings, LICENCE, grades, day=2)
    resolve(conn, settings, "legal_person", catalog, chunk_keys=3)
    assert companies(conn) == {("C1", "甲", "B")}
    left = conn.execute("SELECT count(*) AS n FROM ops.dirty_key").fetchone()
    assert left == {"n": 0}


# --- probable matches ---------------------------------------------------------------------------------

PEOPLE = make_library(
    fields=[
        {"name": "name", "title": "姓名", "sensitivity": 3, "authority": ["gaj", "wjw"]},
        {"name": "birth", "title": "出生日期", "sensitivity": 3, "authority": ["gaj", "wjw"]},
        {"name": "address", "title": "住址", "sensitivity": 3, "authority": ["gaj", "wjw"]},
        {"name": "blood", "title": "血型", "authority": ["wjw"]},
    ],
    matching={"block": ["birth"], "compare": {"name": 2, "address": 1}, "threshold": 80},
)
POLICE = make_resource(
    "gaj.person",
    fields={"id_no": "string", "name": "string", "birth": "string", "address": "string"},
    mappings=[
        {
            "library": "population",
            "key": ["id_no"],
            "fields": {"name": "name", "birth": "birth", "address": "address"},
        }
    ],
)
HEALTH = make_resource(
    "wjw.record",
    fields={
        "card": "string",
        "id_no": "string",
        "name": "string",
        "birth": "string",
        "address": "string",
        "blood": "string",
    },
    mappings=[
        {
            "library": "population",
            "key": ["id_no"],
            "fields": {"name": "name", "birth": "birth", "address": "address", "blood": "blood"},
        }
    ],
)
CITIZENS = SmallCatalog({r.id: r for r in (POLICE, HEALTH)}, {"population": PEOPLE})
ZHANG = {"id_no": "110105199001010017", "name": "张小明", "birth": "1990-01-01", "address": "民族东街12号"}
LI = {"id_no": "110105199001010025", "name": "李雷", "birth": "1990-01-01", "address": "天骄路3号"}
CHILD = {"id_no": "110105199001010033", "name": "张小明", "birth": "2015-06-01", "address": "民族东街12号"}
CARD: dict[str, object] = {
    "card": "k1",
    "id_no": None,
    "name": "张小明",
    "birth": "1990-01-01",
    "address": "民族东街12",
    "blood": "O",
}


def bloods(conn: Any) -> dict[str, str | None]:
    rows = conn.execute("SELECT citizen_id, blood FROM library.person WHERE _deleted_at IS NULL").fetchall()
    conn.commit()
    return {r["citizen_id"]: r["blood"] for r in rows}


def send_people(
    conn: Any,
    settings: Settings,
    day: int,
    police: Sequence[Mapping[str, object]],
    health: Sequence[Mapping[str, object]],
) -> None:
    at = at_day(settings, day)
    deliver(conn, at, POLICE, police, day=day, batch=f"p{day}")
    deliver(conn, at, HEALTH, health, day=day, batch=f"h{day}")
    resolve(conn, at, "population", CITIZENS)


def proposals(conn: Any) -> list[tuple[object, ...]]:
    rows = conn.execute(
        "SELECT row_key[1] AS row, key[1] AS key, status FROM ops.match_proposal ORDER BY proposal_id"
    ).fetchall()
    conn.commit()
    return [tuple(r.values()) for r in rows]


def test_what_is_alike_is_proposed_and_nothing_is_merged(conn: Any, settings: Settings) -> None:
    send_people(conn, settings, 1, [ZHANG, LI, CHILD], [CARD])
    assert proposals(conn) == [("k1", ZHANG["id_no"], "proposed")]
    assert bloods(conn) == {ZHANG["id_no"]: None, LI["id_no"]: None, CHILD["id_no"]: None}
    text = render_proposals(list_proposals(conn, CITIZENS.libraries))
    assert "姓名：张** ／ 张**" in text
    for secret in (ZHANG["id_no"], "张小明", "民族东街", "1990-01-01"):
        assert secret not in text


def test_a_person_who_comes_later_is_proposed_too(conn: Any, settings: Settings) -> None:
    send_people(conn, settings, 1, [LI], [CARD])
    assert proposals(conn) == []
    send_people(conn, settings, 2, [LI, ZHANG], [CARD])
    assert proposals(conn) == [("k1", ZHANG["id_no"], "proposed")]


def test_a_confirmed_match_joins_and_a_rejected_one_parts_again(conn: Any, settings: Settings) -> None:
    send_people(conn, settings, 1, [ZHANG, LI], [CARD])
    at = at_day(settings, 2)
    decide_proposal(conn, at, 1, approve=True, who="wang", why="电话核实")
    resolve(conn, at, "population", CITIZENS)
    assert bloods(conn) == {ZHANG["id_no"]: "O", LI["id_no"]: None}
    card = trace(conn, at, PEOPLE, str(ZHANG["id_no"]))
    assert [(f.value, f.resource_id, f.locator) for f in card.fields][3] == ("O", "wjw.record", "public.t:1")
    decide_proposal(conn, at, 1, approve=False, who="wang", why="弄错了")
    resolve(conn, at, "population", CITIZENS)
    assert bloods(conn) == {ZHANG["id_no"]: None, LI["id_no"]: None}
    send_people(conn, settings, 3, [ZHANG, LI], [CARD])
    assert proposals(conn) == [("k1", ZHANG["id_no"], "rejected")]
    entries = conn.execute(
        "SELECT actor, action, detail->>'why' AS why FROM ops.audit WHERE action LIKE 'link.%' ORDER BY audit_id"
    ).fetchall()
    assert [tuple(e.values()) for e in entries] == [
        ("wang", "link.approved", "电话核实"),
        ("wang", "link.rejected", "弄错了"),
    ]
    clear = conn.execute("SELECT count(*) AS n FROM ops.audit WHERE detail::text LIKE %s", ("%1101051990%",)).fetchone()
    assert clear == {"n": 0}
    assert ledger.verify_audit(conn) is None


def test_a_match_holds_for_the_values_it_was_confirmed_on(conn: Any, settings: Settings) -> None:
    send_people(conn, settings, 1, [ZHANG, LI], [CARD])
    decide_proposal(conn, settings, 1, approve=True, who="wang", why="核实")
    send_people(conn, settings, 2, [ZHANG, LI], [{**CARD, "blood": "A"}])
    assert bloods(conn) == {ZHANG["id_no"]: "A", LI["id_no"]: None}
    send_people(conn, settings, 3, [ZHANG, LI], [{**CARD, "name": "李雷", "address": "天骄路3号"}])
    assert bloods(conn) == {ZHANG["id_no"]: None, LI["id_no"]: None}
    assert proposals(conn) == [("k1", ZHANG["id_no"], "withdrawn"), ("k1", LI["id_no"], "proposed")]


def test_a_decision_that_is_taken_or_unknown_or_without_reason_changes_nothing(conn: Any, settings: Settings) -> None:
    send_people(conn, settings, 1, [ZHANG], [CARD])
    for number, why, message in ((1, " ", "needs a reason"), (9, "x", "is not there")):
        with pytest.raises(UsageError, match=message):
            decide_proposal(conn, settings, number, approve=True, who="wang", why=why)
    decide_proposal(conn, settings, 1, approve=False, who="wang", why="不是同一人")
    with pytest.raises(UsageError, match="is rejected already"):
        decide_proposal(conn, settings, 1, approve=True, who="wang", why="x")
    assert proposals(conn) == [("k1", ZHANG["id_no"], "rejected")]


def test_likeness_is_a_weighted_mean_and_unknown_is_half() -> None:
    rule = PEOPLE.matching
    assert rule is not None
    pairs = [
        {"c_0": "张三", "l_0": "张三", "c_1": "甲", "l_1": "甲"},
        {"c_0": "张三", "l_0": "张三", "c_1": None, "l_1": "甲"},
        {"c_0": "张三", "l_0": "李四", "c_1": "甲", "l_1": "甲"},
    ]
    assert [round(s, 2) for s in score_pairs(rule, pairs)] == [100.0, 83.33, 33.33]


def test_the_command_line_lists_and_decides(conn: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUIJI_HOME", str(settings.home))
    monkeypatch.setenv("GUIJI_WAREHOUSE", str(settings.warehouse))
    runner = CliRunner()
    assert runner.invoke(app, ["link", "list"]).output.strip() == "没有待确认的匹配。"
    result = runner.invoke(app, ["link", "approve", "7", "--why", "核实"])
    assert isinstance(result.exception, UsageError)


# --- disagreements told -------------------------------------------------------------------------------

PHONES = make_library(
    title="人口库",
    fields=[
        {"name": "name", "title": "姓名", "sensitivity": 3, "authority": ["gaj", "wjw"]},
        {"name": "job", "title": "职业", "strategy": "most_frequent"},
    ],
)


def saying(department: str) -> Resource:
    return make_resource(
        f"{department}.said",
        fields={"id_no": "string", "name": "string", "job": "string"},
        mappings=[{"library": "population", "key": ["id_no"], "fields": {"name": "name", "job": "job"}}],
    )


def test_departments_hear_of_what_differs_and_of_ties_without_blame(conn: Any, settings: Settings) -> None:
    catalog = SmallCatalog({r.id: r for r in (saying("gaj"), saying("wjw"))}, {"population": PHONES})
    people = ["110105199001010017", "110105199001010025"]

    def send(department: str, name: str, job: str, day: int) -> None:
        rows: list[dict[str, object]] = [{"id_no": p, "name": name, "job": job} for p in people]
        at = at_day(settings, day)
        deliver(conn, at, catalog.resources[f"{department}.said"], rows, day=day, batch=f"{department}{day}")
        resolve(conn, at, "population", catalog)

    send("gaj", "张三", "教师", 1)
    send("wjw", "张叁", "医生", 1)
    rows = conn.execute(
        "SELECT field, winner, loser, winner_value, loser_value, tied FROM ops.conflict WHERE settled_at IS NULL"
    ).fetchall()
    assert sorted(tuple(r.values()) for r in rows) == sorted(
        [("job", "gaj.said", "wjw.said", "教师", "医生", True), ("name", "gaj.said", "wjw.said", "张*", "张*", False)]
        * 2
    )
    events = waiting(conn)
    assert [(e.department_id, e.resource_id) for e in events] == [("gaj", "gaj.said"), ("wjw", "wjw.said")]
    told = {e.department_id: tell(conn, catalog, e) for e in events}
    assert "“姓名”有 2 处与gaj局不一致，按规则采用了gaj局的值" in told["wjw"]
    assert "“职业”有 2 处与gaj局不一致，按规则不分先后" in told["wjw"]
    assert "本部门“医生”，gaj局“教师”" in told["wjw"]
    assert "姓名" not in told["gaj"]
    assert "“职业”有 2 处与wjw局不一致，按规则不分先后" in told["gaj"]
    for text in told.values():
        assert not any(p in text for p in people)
        assert "张三" not in text
        assert "张叁" not in text
    send("wjw", "张叁", "律师", 2)
    assert len(waiting(conn)) == 2  # what waits will count what is open when it is sent
    send("wjw", "张三", "教师", 3)
    assert {tell(conn, catalog, e) for e in waiting(conn)} == {""}


def waiting(conn: Any) -> list[Event]:
    rows = conn.execute(
        "SELECT *, payload->>'responsible' AS responsible FROM ops.outbox WHERE kind = 'conflict' ORDER BY event_id"
    ).fetchall()
    conn.commit()
    return [Event.from_row(r) for r in rows]


def tell(conn: Any, small: SmallCatalog, event: Event) -> str:
    """What the digest of one event says of its resource; empty when it says nothing."""
    from guiji.catalog import Catalog

    departments = {d: make_department(d) for d in ("gaj", "wjw")}
    catalog = Catalog(resources=small.resources, departments=departments, libraries=small.libraries)
    digest = build_digest(conn, catalog, City(), event.department_id, [event], START)
    return "".join(i.what for b in digest.blocks for i in b.items)


def test_a_library_may_not_link_by_what_it_does_not_declare(conn: Any, settings: Settings) -> None:
    bare = LibraryModel.model_validate({**COMPANY.model_dump(), "links": []})
    deliver(conn, settings, TAX, [{"tax_no": "t1", "code": "C1", "reg_no": "1", "name": "甲", "grade": "A"}])
    with pytest.raises(Exception, match="the link registration_no, which the library doesn't declare"):
        resolve(conn, settings, bare, SmallCatalog({TAX.id: TAX}, {"legal_person": bare}))


# --- the catalog says so ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("library", "mapping", "message"),
    [
        (
            "links: [{name: no, title: 号, through: gaj.r9999, fields: [name], key: [id_no]}]",
            "",
            "no resource 'gaj.r9999'",
        ),
        (
            "links: [{name: no, title: 号, through: wjw.r0001, fields: [name], key: [id_no]}]",
            "",
            "doesn't feed population",
        ),
        ("links: [{name: no, title: 号, through: gaj.r0000, fields: [nam], key: [id_no]}]", "", "'nam'"),
        (
            "links: [{name: no, title: 号, through: gaj.r0000, fields: [name], key: [id_no, name]}]",
            "",
            "key has 2 fields",
        ),
        ("matching: {block: [born], compare: {name: 1}}", "", "'born'"),
        ("matching: {block: [name], compare: {born: 1}}", "", "'born' is no text field"),
        ("  - {name: n, title: 数, type: int64, strategy: longest}", "", "strategy longest is for texts, not int64"),
        ("  - {name: n, title: 字, tolerance: 1.0, authority: [gaj]}", "", "tolerance is for numbers, not string"),
        ("", "by: {no: [name]}", "has no link 'no'"),
        ("", "by: {no: [nam]}", "'nam'"),
    ],
)
def test_a_wrong_declaration_is_named(tmp_path: Path, library: str, mapping: str, message: str) -> None:
    write_catalog(tmp_path, resources=2)
    path = tmp_path / "libraries" / "population.yml"
    path.write_text(path.read_text(encoding="utf-8") + library + "\n", encoding="utf-8")
    if mapping:
        path = tmp_path / "gaj" / "r0000.yml"
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("fields: {name: name}}", f"fields: {{name: name}}, {mapping}}}"), encoding="utf-8")
    assert [str(p) for p in check_catalog(tmp_path) if message in str(p)]


def test_a_sound_declaration_has_no_problem(tmp_path: Path) -> None:
    write_catalog(tmp_path, resources=2)
    path = tmp_path / "libraries" / "population.yml"
    path.write_text(
        path.read_text(encoding="utf-8")
        + "  - {name: n, title: 数, type: int64, strategy: most_frequent, tolerance_share: 0.1}\n"
        + "links: [{name: no, title: 号, through: gaj.r0000, fields: [name], key: [id_no]}]\n"
        + "matching: {block: [name], compare: {name: 1.0}}\n",
        encoding="utf-8",
    )
    assert [str(p) for p in check_catalog(tmp_path) if not p.warning] == []
