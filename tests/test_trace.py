"""Tracing: every field of a library row leads to a department, a batch, a date and a line, now and as it was."""

from __future__ import annotations

import time
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from packages import START, SmallCatalog, at_day, deliver, make_library, make_resource

from guiji import ledger
from guiji.errors import UsageError
from guiji.library.resolve import resolve
from guiji.library.trace import TraceField, TraceLoser, render_card, trace
from guiji.settings import Settings
from guiji.warehouse import connect

CITIZEN = "110105199001010017"
PERSON = make_library(
    fields=[
        {"name": "name", "title": "姓名", "sensitivity": 3, "authority": ["gaj", "wjw"]},
        {"name": "phone", "title": "联系电话", "strategy": "newest_non_null", "sensitivity": 3},
        {"name": "town", "title": "乡镇", "authority": ["gaj"]},
    ]
)
POLICE = make_resource(
    "gaj.household",
    fields={"id_no": "string", "name": "string", "town": "string"},
    mappings=[{"library": "population", "key": ["id_no"], "fields": {"name": "name", "town": "town"}}],
)
HEALTH = make_resource(
    "wjw.health",
    fields={"card": "string", "id_no": "string", "name": "string", "phone": "string"},
    mappings=[{"library": "population", "key": ["id_no"], "fields": {"name": "name", "phone": "phone"}}],
)
CATALOG = SmallCatalog({r.id: r for r in (POLICE, HEALTH)}, {"population": PERSON})


@pytest.fixture
def city(conn: Any, settings: Settings) -> Settings:
    """Two departments that disagree on a name; the police correct theirs on day 3, and drop the person on day 5."""
    deliver(conn, at_day(settings, 1), POLICE, [{"id_no": CITIZEN, "name": "张三", "town": "东胜"}], batch="p1")
    deliver(
        conn,
        at_day(settings, 2),
        HEALTH,
        [{"card": "k1", "id_no": CITIZEN, "name": "张叁", "phone": "13800138000"}],
        batch="h1",
        day=2,
    )
    resolve(conn, at_day(settings, 2), "population", CATALOG)
    return settings


def test_each_field_says_who_when_and_where(conn: Any, city: Settings) -> None:
    card = trace(conn, city, PERSON, CITIZEN)
    assert (card.key, card.valid_to, card.deleted_at) == ("1101************17", None, None)
    assert card.fields == (
        TraceField(
            "name",
            "姓名",
            "张*",
            "权威部门优先",
            "gaj局",
            "gaj.household",
            "gaj.household 资源",
            "p1",
            at_day(city, 1).now(),
            "public.t:1",
            (TraceLoser("wjw局", "wjw.health 资源", "张*"),),
        ),
        TraceField(
            "phone",
            "联系电话",
            "1380*****00",
            "最新非空值优先",
            "wjw局",
            "wjw.health",
            "wjw.health 资源",
            "h1",
            at_day(city, 2).now(),
            "public.t:1",
        ),
        TraceField(
            "town",
            "乡镇",
            "东胜",
            "权威部门优先",
            "gaj局",
            "gaj.household",
            "gaj.household 资源",
            "p1",
            at_day(city, 1).now(),
            "public.t:1",
        ),
    )


def test_values_are_shown_in_clear_only_when_asked_and_the_audit_knows(conn: Any, city: Settings) -> None:
    card = trace(conn, city, PERSON, CITIZEN, reveal=True)
    assert [f.value for f in card.fields] == ["张三", "13800138000", "东胜"]
    assert card.fields[0].losers[0].value == "张叁"
    entry = conn.execute("SELECT object, detail::text FROM ops.audit WHERE action = 'trace.reveal'").fetchone()
    assert entry["object"] == "population"
    assert CITIZEN not in entry["detail"]


def test_a_day_in_the_past_shows_what_was_valid_then(conn: Any, city: Settings) -> None:
    day3, day5 = at_day(city, 3), at_day(city, 5)
    deliver(conn, day3, POLICE, [{"id_no": CITIZEN, "name": "张珊", "town": "康巴什"}], batch="p2", day=3)
    resolve(conn, day3, "population", CATALOG)
    deliver(conn, day5, POLICE, [{"id_no": "2", "name": "李", "town": None}], batch="p3", day=5)
    deliver(conn, day5, HEALTH, [{"card": "k2", "id_no": "2", "name": "李", "phone": None}], batch="h2", day=5)
    resolve(conn, day5, "population", CATALOG)

    def seen(day: int) -> list[tuple[str | None, str | None]]:
        as_of = date(2026, 10, day)
        card = trace(conn, city, PERSON, CITIZEN, as_of, reveal=True)
        return [(f.value, f.batch_id) for f in card.fields]

    assert seen(2) == [("张三", "p1"), ("13800138000", "h1"), ("东胜", "p1")]
    assert seen(3) == [("张珊", "p2"), ("13800138000", "h1"), ("康巴什", "p2")]
    assert seen(4) == seen(3)
    with pytest.raises(UsageError, match="no row"):
        seen(5)
    with pytest.raises(UsageError, match="no row"):
        seen(1)
    gone = trace(conn, city, PERSON, CITIZEN)
    assert gone.deleted_at == day5.now()
    assert trace(conn, city, PERSON, CITIZEN, date(2026, 10, 2)).fields[0].locator == "public.t:1"


def test_an_unknown_key_is_named_masked(conn: Any, city: Settings) -> None:
    with pytest.raises(UsageError) as caught:
        trace(conn, city, PERSON, "110105199001019999")
    assert "110105199001019999" not in str(caught.value)
    assert "1101************99" in str(caught.value)


def test_a_library_that_was_never_resolved_says_so(conn: Any, settings: Settings) -> None:
    with pytest.raises(UsageError, match="guiji resolve population"):
        trace(conn, settings, PERSON, CITIZEN)


def test_the_card_is_chinese_and_masked(conn: Any, city: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    text = render_card(trace(conn, city, PERSON, CITIZEN))
    assert capsys.readouterr().out == text
    for word in ("姓名", "gaj局", "p1", "2026-10-01 09:00", "public.t:1", "权威部门优先", "wjw局：张*"):
        assert word in text
    for secret in (CITIZEN, "13800138000", "张三", "张叁"):
        assert secret not in text


def test_a_trace_takes_at_most_fifty_milliseconds(conn: Any, city: Settings) -> None:
    trace(conn, city, PERSON, CITIZEN)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        trace(conn, city, PERSON, CITIZEN)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05


# --- vintages ----------------------------------------------------------------------------------------

INDICATOR = make_library(
    name="economy",
    table="indicator",
    title="经济指标库",
    key=[{"name": "code", "title": "指标"}, {"name": "period", "title": "时期"}],
    fields=[{"name": "value", "title": "数值", "type": "decimal128(18,4)", "authority": ["tjj"]}],
    vintages=True,
)
STATISTICS = make_resource(
    "tjj.monthly",
    fields={"code": "string", "period": "string", "value": "decimal128(18,4)"},
    key=["code", "period"],
    mappings=[{"library": "economy", "key": ["code", "period"], "fields": {"value": "value"}}],
)
ECONOMY = SmallCatalog({STATISTICS.id: STATISTICS}, {"economy": INDICATOR})


def publish_value(conn: Any, settings: Settings, day: int, *values: tuple[str, str]) -> None:
    rows: list[dict[str, object]] = [{"code": "gdp", "period": p, "value": Decimal(v)} for p, v in values]
    at = at_day(settings, day)
    deliver(conn, at, STATISTICS, rows, day=day, batch=f"v{day}")
    resolve(conn, at, "economy", ECONOMY)


def test_a_revision_is_a_new_vintage_and_nothing_is_overwritten(conn: Any, settings: Settings) -> None:
    publish_value(conn, settings, 1, ("2026-08", "100"), ("2026-09", "50"))
    publish_value(conn, settings, 2, ("2026-08", "101.5"), ("2026-09", "50"))
    publish_value(conn, settings, 3, ("2026-08", "101.5"), ("2026-09", "50"))
    publish_value(conn, settings, 4, ("2026-08", "100"), ("2026-09", "50"))
    found = conn.execute(
        "SELECT period, _vintage, value, _published_at FROM library.indicator ORDER BY period, _vintage"
    ).fetchall()
    assert [tuple(r.values()) for r in found] == [
        ("2026-08", 1, Decimal("100.0000"), at_day(settings, 1).now()),
        ("2026-08", 2, Decimal("101.5000"), at_day(settings, 2).now()),
        ("2026-08", 3, Decimal("100.0000"), at_day(settings, 4).now()),
        ("2026-09", 1, Decimal("50.0000"), at_day(settings, 1).now()),
    ]
    current = conn.execute("SELECT period, value FROM library.indicator__current ORDER BY 1").fetchall()
    assert [tuple(r.values()) for r in current] == [("2026-08", Decimal(100)), ("2026-09", Decimal(50))]
    history = conn.execute(
        "SELECT _vintage, valid_from, valid_to FROM library.indicator__history ORDER BY 1"
    ).fetchall()
    assert [tuple(r.values()) for r in history] == [
        (1, at_day(settings, 1).now(), at_day(settings, 2).now()),
        (2, at_day(settings, 2).now(), at_day(settings, 4).now()),
    ]


def test_a_vintage_is_traced_as_it_was_known(conn: Any, settings: Settings) -> None:
    publish_value(conn, settings, 1, ("2026-08", "100"))
    publish_value(conn, settings, 2, ("2026-08", "101.5"))
    now = trace(conn, settings, INDICATOR, "gdp|2026-08")
    then = trace(conn, settings, INDICATOR, "gdp|2026-08", date(2026, 10, 1))
    assert [(c.vintage, c.fields[0].value, c.fields[0].batch_id) for c in (now, then)] == [
        (2, "101.5000", "v2"),
        (1, "100.0000", "v1"),
    ]
    with pytest.raises(UsageError, match=r"write 指标\|时期"):
        trace(conn, settings, INDICATOR, "gdp")


def test_a_value_that_disappears_and_returns_is_the_same_vintage(conn: Any, settings: Settings) -> None:
    publish_value(conn, settings, 1, ("2026-08", "100"), ("2026-09", "50"))
    publish_value(conn, settings, 2, ("2026-09", "50"))
    gone = conn.execute("SELECT _deleted_at FROM library.indicator WHERE period = '2026-08'").fetchall()
    assert [g["_deleted_at"] for g in gone] == [at_day(settings, 2).now()]
    publish_value(conn, settings, 3, ("2026-08", "100"), ("2026-09", "50"))
    back = conn.execute("SELECT _vintage, _deleted_at FROM library.indicator WHERE period = '2026-08'").fetchall()
    assert back == [{"_vintage": 1, "_deleted_at": None}]


def test_geometry_keeps_its_bytes_and_its_reference_system(conn: Any, settings: Settings) -> None:
    lakes = make_resource(
        "lcj.lake",
        fields={"code": "string", "shape": "geometry"},
        mappings=[{"library": "nature", "key": ["code"], "fields": {"shape": "shape"}}],
    )
    parks = make_resource(
        "cgj.park",
        fields={"code": "string", "shape": "geometry"},
        mappings=[{"library": "nature", "key": ["code"], "fields": {"shape": "shape"}}],
    )
    nature = make_library(
        name="nature",
        table="natural_resource",
        title="自然资源库",
        key=[{"name": "code", "title": "编码"}],
        fields=[
            {"name": "shape", "title": "范围", "type": "geometry", "crs": "EPSG:4490", "authority": ["lcj", "cgj"]}
        ],
    )
    catalog = SmallCatalog({r.id: r for r in (lakes, parks)}, {"nature": nature})
    point = bytes.fromhex("0101000000000000000000f03f0000000000000040")
    other = bytes.fromhex("0101000000000000000000f03f0000000000000041")
    deliver(conn, settings, lakes, [{"code": "a", "shape": point}])
    deliver(conn, settings, parks, [{"code": "a", "shape": other}, {"code": "b", "shape": other}])
    resolve(conn, settings, nature, catalog)
    rows = conn.execute("SELECT code, shape FROM library.natural_resource ORDER BY 1").fetchall()
    assert [tuple(r.values()) for r in rows] == [("a", point), ("b", other)]
    comment = conn.execute(
        "SELECT col_description('library.natural_resource'::regclass, 2) AS c, col_description('source.lcj__lake'::regclass, 2) AS s"
    ).fetchone()
    assert ("EPSG:4490" in comment["c"], "EPSG:4490" in comment["s"]) == (True, True)
    card = trace(conn, settings, nature, "a")
    assert (card.fields[0].value, len(card.fields[0].losers)) == ("几何数据 21 字节", 1)


def test_times_are_shown_in_shanghai(conn: Any, city: Settings) -> None:
    card = trace(conn, city, PERSON, CITIZEN)
    when = card.fields[0].batch_at
    assert isinstance(when, datetime)
    assert when.utcoffset() == timedelta(hours=8)
    assert when == START + timedelta(hours=9)
    assert ledger.verify_audit(conn) is None


# --- what the library said on any date ----------------------------------------------------------------

TWO = make_library(
    fields=[
        {"name": "name", "title": "姓名", "authority": ["gaj", "wjw"]},
        {"name": "phone", "title": "联系电话", "strategy": "newest_non_null"},
    ]
)
PARTS = {
    f"{d}.part": make_resource(
        f"{d}.part",
        fields={"id_no": "string", "name": "string", "phone": "string", "at": "timestamp"},
        order=["at"],
        mappings=[{"library": "population", "key": ["id_no"], "fields": {"name": "name", "phone": "phone"}}],
    )
    for d in ("gaj", "wjw")
}
HISTORY = SmallCatalog(PARTS, {"population": TWO})
Row = dict[str, Any]
#: field -> (value, department, batch, who disagrees with what)
Said = dict[str, tuple[str | None, str | None, str | None, frozenset[tuple[str, str]]]]


def say(rows: dict[str, tuple[Row, str]]) -> Said:
    """What the library says of one person: department -> (its row, the batch that brought the row)."""
    said: Said = {}
    for field in ("name", "phone"):
        able = [(d, rows[d][0]) for d in ("gaj", "wjw") if d in rows and rows[d][0][field] is not None]
        if field == "phone" and able:
            able = [max(able, key=lambda x: x[1]["at"])]
        department, row = able[0] if able else (None, None)
        value = row[field] if row else None
        others = {(f"{d}局", r[field]) for d, (r, _) in rows.items() if r[field] not in (None, value)}
        said[field] = (
            value,
            f"{department}局" if department else None,
            rows[department][1] if department else None,
            frozenset(others),
        )
    return said


PERSONS = ("1", "2")
CONTENT = st.fixed_dictionaries(
    {
        "name": st.sampled_from([None, "甲", "乙"]),
        "phone": st.sampled_from([None, "1", "2"]),
        "at": st.sampled_from([START - timedelta(days=3), START - timedelta(days=2)]),
    }
)
DELIVERIES = st.lists(
    st.tuples(st.sampled_from(sorted(PARTS)), st.dictionaries(st.sampled_from(PERSONS), CONTENT)),
    min_size=1,
    max_size=8,
)


@hypothesis_settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
    phases=[Phase.generate],
)
@given(deliveries=DELIVERIES)
def test_any_day_shows_what_the_library_said_then(
    settings: Settings, deliveries: list[tuple[str, dict[str, Row]]]
) -> None:
    """Corrections, deletions and returns, replayed day by day against what each day's card must have said."""
    with connect(settings) as conn:
        clear_warehouse(conn)
        serving: dict[str, dict[str, tuple[Row, str]]] = {}
        told: list[dict[str, Said]] = []
        for n, (resource_id, rows) in enumerate(deliveries):
            at, batch, department = at_day(settings, n + 1), f"b{n}", resource_id.split(".")[0]
            deliver(
                conn,
                at,
                PARTS[resource_id],
                [{"id_no": p, **row} for p, row in sorted(rows.items())],
                day=n + 1,
                batch=batch,
            )
            resolve(conn, at, "population", HISTORY)
            former = serving.get(department, {})
            serving[department] = {
                p: former[p] if p in former and former[p][0] == row else (row, batch) for p, row in rows.items()
            }
            told.append(
                {
                    p: say({d: rows[p] for d, rows in serving.items() if p in rows})
                    for p in PERSONS
                    if any(p in rows for rows in serving.values())
                }
            )
        for n, expected in enumerate(told):
            for person in PERSONS:
                assert card_of(conn, settings, person, date(2026, 10, n + 1)) == expected.get(person)


def test_another_supplier_of_the_same_value_is_another_version(conn: Any, settings: Settings) -> None:
    older, newer = START - timedelta(days=3), START - timedelta(days=2)

    def send(day: int, department: str, at: datetime) -> None:
        rows = [{"id_no": "1", "name": None, "phone": "1", "at": at}]
        deliver(conn, at_day(settings, day), PARTS[f"{department}.part"], rows, day=day, batch=f"b{day}")
        resolve(conn, at_day(settings, day), "population", HISTORY)

    send(1, "gaj", older)
    send(2, "wjw", newer)
    nobody = (None, None, None, frozenset[tuple[str, str]]())
    for day, phone in ((1, ("1", "gaj局", "b1", frozenset())), (2, ("1", "wjw局", "b2", frozenset()))):
        assert card_of(conn, settings, "1", date(2026, 10, day)) == {"name": nobody, "phone": phone}


def card_of(conn: Any, settings: Settings, person: str, day: date) -> Said | None:
    try:
        card = trace(conn, settings, TWO, person, day)
    except UsageError:
        return None
    return {
        f.name: (f.value, f.department, f.batch_id, frozenset((x.department, x.value) for x in f.losers))
        for f in card.fields
    }


def clear_warehouse(conn: Any) -> None:
    for schema in ("source", "library"):
        conn.execute(f"DROP SCHEMA {schema} CASCADE")
        conn.execute(f"CREATE SCHEMA {schema}")
    tables = conn.execute(
        "SELECT string_agg(format('ops.%I', tablename), ', ') AS all FROM pg_tables"
        " WHERE schemaname = 'ops' AND tablename <> 'migration'"
    ).fetchone()
    conn.execute(f"TRUNCATE {tables['all']} CASCADE")
    conn.commit()


def test_a_gap_in_a_series_stays_a_gap(conn: Any, settings: Settings) -> None:
    publish_value(conn, settings, 1, ("2026-08", "100"), ("2026-09", "50"))
    publish_value(conn, settings, 2, ("2026-09", "50"))
    publish_value(conn, settings, 4, ("2026-08", "100"), ("2026-09", "50"))
    publish_value(conn, settings, 5, ("2026-09", "50"))
    publish_value(conn, settings, 6, ("2026-08", "100"), ("2026-09", "50"))
    publish_value(conn, settings, 7, ("2026-08", "101"), ("2026-09", "50"))

    def seen(day: int) -> tuple[int | None, str | None] | None:
        try:
            card = trace(conn, settings, INDICATOR, "gdp|2026-08", date(2026, 10, day))
        except UsageError:
            return None
        return card.vintage, card.fields[0].value

    first, second = (1, "100.0000"), (2, "101.0000")
    assert [seen(day) for day in range(1, 9)] == [first, None, None, first, None, first, second, second]
