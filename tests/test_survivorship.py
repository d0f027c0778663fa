"""Strategies against a plain oracle: whatever rows serve, in doubt or not, in whatever order they came."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from packages import START, SmallCatalog, compare, deliver, make_library, make_resource, stage
from staged_package import make_resource as make_staged
from staged_package import stage_rows

from guiji import ledger
from guiji.catalog.models import Resource
from guiji.library.current import fetch_current
from guiji.library.difference import compare as compare_batches
from guiji.library.publish import publish
from guiji.library.resolve import resolve
from guiji.library.strategies import STRATEGIES
from guiji.quality import check_batch
from guiji.records import QualityReport
from guiji.settings import Settings
from guiji.warehouse import connect

#: department -> its resource; the order in which a tie is decided
DEPARTMENTS = ("gaj", "mzj", "rsj", "wjw")
NAMED = ["wjw", "gaj"]
FIELDS = {
    "a": {"strategy": "authority", "authority": NAMED},
    "n": {"strategy": "newest_non_null"},
    "f": {"strategy": "most_frequent"},
    "l": {"strategy": "longest", "authority": NAMED},
    "u": {"strategy": "union", "authority": NAMED, "separator": "、"},
}
LIBRARY = make_library(fields=[{"name": n, "title": n, **spec} for n, spec in FIELDS.items()])


def feed(department: str) -> Resource:
    """All its values may be in doubt: a rule about each of them only warns."""
    return make_resource(
        f"{department}.part",
        fields={"id_no": "string", "value": "string", "at": "timestamp"},
        order=["at"],
        rules=[{"id": "odd", "title": "值应常见", "expr": "value <> '?'", "severity": "warn", "mend": "请核对"}],
        mappings=[{"library": "population", "key": ["id_no"], "fields": dict.fromkeys(FIELDS, "value")}],
    )


CATALOG = SmallCatalog({f"{d}.part": feed(d) for d in DEPARTMENTS}, {"population": LIBRARY})


@dataclass(frozen=True)
class Said:
    """What one department says of one person."""

    value: str | None
    at: datetime
    doubted: bool


def choose(name: str, said: Mapping[str, Said]) -> str | None:
    """One field in plain Python."""
    spec = FIELDS[name]
    named: list[str] = list(spec.get("authority", []))
    order = [d for d in named if d in said] + sorted(d for d in said if d not in named)
    if spec["strategy"] == "authority":
        order = [d for d in order if d in named]
    able = [said[d] for d in order if said[d].value is not None]
    able = [s for s in able if not s.doubted] or able
    if not able:
        return None
    values = [s.value or "" for s in able]
    if spec["strategy"] == "newest_non_null":
        return max(able, key=lambda s: s.at).value  # the first of the newest
    if spec["strategy"] == "most_frequent":
        return max(values, key=values.count)
    if spec["strategy"] == "longest":
        return max(values, key=len)
    if spec["strategy"] == "union":
        return "、".join(dict.fromkeys(values))
    return values[0]


def oracle(world: Mapping[str, Mapping[str, Said]]) -> set[tuple[object, ...]]:
    """The library from what serves: department -> person -> what it says."""
    people = {p for rows in world.values() for p in rows}
    return {
        (p, *(choose(name, {d: rows[p] for d, rows in world.items() if p in rows}) for name in FIELDS)) for p in people
    }


def library_rows(conn: Any) -> set[tuple[object, ...]]:
    found = conn.execute("SELECT citizen_id, a, n, f, l, u FROM library.person WHERE _deleted_at IS NULL").fetchall()
    conn.commit()
    return {tuple(r.values()) for r in found}


def send(
    conn: Any,
    settings: Settings,
    department: str,
    rows: Mapping[str, Said],
    number: int,
    catalog: SmallCatalog = CATALOG,
) -> None:
    """One snapshot, with its doubts as the check step writes them."""
    resource = catalog.resources[f"{department}.part"]
    token = ledger.acquire_lease(conn, settings, resource.id, "run")
    plain = [{"id_no": p, "value": s.value, "at": s.at} for p, s in sorted(rows.items())]
    package = stage(conn, settings, resource, plain, day=number + 1, batch=f"{department}{number}")
    doubts = pa.array(["{value}" if s.doubted else None for _, s in sorted(rows.items())], pa.string())
    accepted = pq.read_table(package.checked.accepted)
    pq.write_table(accepted.append_column("_suspect", doubts), package.checked.accepted)
    difference = compare(conn, settings, resource, package)
    publish(conn, resource, settings, package.staged, package.checked, package.quality, difference, token)


SAID = st.builds(
    Said,
    value=st.sampled_from([None, "甲", "乙", "甲乙", "丙丁戊"]),
    at=st.integers(1, 3).map(lambda n: START - timedelta(days=10) + timedelta(hours=n)),
    doubted=st.booleans(),
)
DELIVERY = st.tuples(st.sampled_from(DEPARTMENTS), st.dictionaries(st.sampled_from("123"), SAID, max_size=3))
STEPS = st.lists(st.tuples(DELIVERY, st.booleans()), min_size=1, max_size=7)


@hypothesis_settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
    phases=[Phase.generate],
)
@given(steps=STEPS)
def test_any_deliveries_corrections_and_deletions_give_what_the_oracle_says(
    settings: Settings, steps: Sequence[tuple[tuple[str, dict[str, Said]], bool]]
) -> None:
    """Each delivery replaces what its department said; now and then somebody resolves in between."""
    with connect(settings) as conn:
        clear(conn)
        world: dict[str, dict[str, Said]] = {}
        for number, ((department, rows), resolves) in enumerate(steps):
            send(conn, settings, department, rows, number)
            world[department] = rows
            if resolves:
                resolve(conn, settings, "population", CATALOG, chunk_keys=2)
        resolve(conn, settings, "population", CATALOG)
        assert library_rows(conn) == oracle(world)


def clear(conn: Any) -> None:
    for schema in ("source", "library"):
        conn.execute(f"DROP SCHEMA {schema} CASCADE")
        conn.execute(f"CREATE SCHEMA {schema}")
    tables = conn.execute(
        "SELECT string_agg(format('ops.%I', tablename), ', ') AS all FROM pg_tables"
        " WHERE schemaname = 'ops' AND tablename <> 'migration'"
    ).fetchone()
    conn.execute(f"TRUNCATE {tables['all']} CASCADE")
    conn.commit()


def test_every_order_of_arrival_gives_the_same_rows(conn: Any, settings: Settings) -> None:
    at = START - timedelta(days=9)
    world = {
        "gaj": {"1": Said("甲", at, True), "2": Said("甲", at, False)},
        "mzj": {"1": Said("乙", at, False), "2": Said("乙", at, False)},
        "rsj": {"1": Said("乙", at, False), "2": Said(None, at, False)},
        "wjw": {"1": Said("甲乙", at, True), "2": Said("丙丁戊", at, True)},
    }
    expected = {("1", "甲乙", "乙", "乙", "乙", "乙"), ("2", "甲", "甲", "甲", "甲", "甲、乙")}
    assert oracle(world) == expected
    for number, order in enumerate(itertools.islice(itertools.permutations(DEPARTMENTS), 0, 24, 9)):
        clear(conn)
        for department in order:
            send(conn, settings, department, world[department], number)
            resolve(conn, settings, "population", CATALOG)
        assert library_rows(conn) == expected


def test_a_row_that_comes_into_doubt_without_changing_loses_its_place(conn: Any, settings: Settings) -> None:
    """A rule that is new, or time that passes, puts a value into doubt or takes it out again."""
    at = START - timedelta(days=9)
    police, health = Said("甲", at, False), Said("乙", at, False)
    send(conn, settings, "wjw", {"1": health}, 1)
    send(conn, settings, "gaj", {"1": police, "9": police}, 1)
    resolve(conn, settings, "population", CATALOG)
    assert {r[1] for r in library_rows(conn) if r[0] == "1"} == {"乙"}
    send(conn, settings, "wjw", {"1": dataclasses.replace(health, doubted=True)}, 2)
    assert resolve(conn, settings, "population", CATALOG).rows_changed == 1
    assert {r[1] for r in library_rows(conn) if r[0] == "1"} == {"甲"}
    send(conn, settings, "wjw", {"1": health}, 3)
    assert resolve(conn, settings, "population", CATALOG).rows_changed == 1
    assert {r[1] for r in library_rows(conn) if r[0] == "1"} == {"乙"}
    batch = conn.execute("SELECT rows_unchanged FROM ops.batch WHERE batch_id = 'wjw3'").fetchone()
    assert batch == {"rows_unchanged": 1}


def test_every_strategy_of_the_catalog_has_its_place_in_the_table() -> None:
    allowed = type(LIBRARY.fields[0]).model_fields["strategy"].annotation
    assert set(getattr(allowed, "__args__", ())) == set(STRATEGIES)
    assert len({s.title for s in STRATEGIES.values()}) == len(STRATEGIES)


# --- numbers -----------------------------------------------------------------------------------------


def economy(tolerance: Mapping[str, float]) -> SmallCatalog:
    def resource(department: str) -> Resource:
        return make_resource(
            f"{department}.value",
            fields={"code": "string", "value": "decimal128(18,4)"},
            mappings=[{"library": "economy", "key": ["code"], "fields": {"value": "value"}}],
        )

    library = make_library(
        name="economy",
        table="indicator",
        key=[{"name": "code", "title": "指标"}],
        fields=[
            {"name": "value", "title": "数值", "type": "decimal128(18,4)", "authority": ["tjj", "czj"], **tolerance}
        ],
        vintages=True,
    )
    return SmallCatalog({f"{d}.value": resource(d) for d in ("tjj", "czj")}, {"economy": library})


@pytest.mark.parametrize(
    ("tolerance", "disagree"),
    [
        ({}, {"same+0.05", "same+0.06", "tenth"}),
        ({"tolerance": 0.05}, {"same+0.06", "tenth"}),
        ({"tolerance_share": 0.1}, set()),
        ({"tolerance": 0.01, "tolerance_share": 0.001}, {"tenth"}),
    ],
)
def test_numbers_disagree_only_beyond_the_declared_tolerance(
    conn: Any, settings: Settings, tolerance: Mapping[str, float], disagree: set[str]
) -> None:
    catalog = economy(tolerance)
    ours = {"same": "100", "same+0.05": "100", "same+0.06": "100", "tenth": "100"}
    theirs = {"same": "100", "same+0.05": "100.05", "same+0.06": "99.94", "tenth": "110"}
    for department, values in (("tjj", ours), ("czj", theirs)):
        rows: list[dict[str, object]] = [{"code": c, "value": Decimal(v)} for c, v in values.items()]
        deliver(conn, settings, catalog.resources[f"{department}.value"], rows)
    resolve(conn, settings, "economy", catalog)
    found = conn.execute("SELECT key_masked, winner, loser, winner_value, tied FROM ops.conflict").fetchall()
    assert {tuple(r.values()) for r in found} == {(c, "tjj.value", "czj.value", "100.0000", False) for c in disagree}
    values = conn.execute("SELECT code, value FROM library.indicator").fetchall()
    assert {tuple(r.values()) for r in values} == {(c, Decimal(100)) for c in ours}


# --- through the real check step ----------------------------------------------------------------------


def bring(conn: Any, settings: Settings, resource: Resource, rows: Sequence[Mapping[str, object]], number: int) -> None:
    """One snapshot through check, comparison and publish as the product does them, without the judge."""
    token = ledger.acquire_lease(conn, settings, resource.id, "run")
    staged = stage_rows(settings, resource, rows, batch_id=f"{resource.id}.{number}")
    ledger.begin_batch(conn, resource, staged, settings.now())
    checked = check_batch(resource, settings, staged)
    difference = compare_batches(resource, settings, staged, checked, fetch_current(conn, resource, settings, checked))
    quality = QualityReport("passed", (), 1, 0, "", 0.0)
    publish(conn, resource, settings, staged, checked, quality, difference, token)


def checked_resource(department: str, **more: Any) -> Resource:
    made = make_staged(
        [
            {"name": "id_no", "identifier": "citizen_id", "sensitivity": 4},
            {"name": "phone"},
            {"name": "name", "severity": "warn", "pattern": "[张李].*"},
        ],
        key=("id_no",),
        mappings=[{"library": "population", "key": ["id_no"], "fields": {"phone": "phone", "name": "name"}}],
        **more,
    )
    model = made.model.model_copy(update={"id": f"{department}.people"})
    return made.model_copy(update={"model": model})


def test_a_number_of_15_digits_and_its_18_meet_in_one_person_and_what_is_doubtful_loses(
    conn: Any, settings: Settings
) -> None:
    phone_rule = {"id": "phone_long", "title": "电话应为11位", "expr": "length(phone) = 11", "severity": "warn"}
    police = checked_resource("gaj", rules=[{**phone_rule, "mend": "请核对"}])
    health = checked_resource("wjw")
    library = make_library(
        fields=[
            {"name": "phone", "title": "电话", "authority": ["gaj", "wjw"]},
            {"name": "name", "title": "姓名", "authority": ["gaj", "wjw"]},
        ]
    )
    catalog = SmallCatalog({r.id: r for r in (police, health)}, {"population": library})
    former, present = "150602900101001", "150602199001010016"
    bring(conn, settings, police, [{"id_no": former, "phone": "138", "name": "王五"}], 1)
    bring(conn, settings, health, [{"id_no": present, "phone": "13800138000", "name": "张五"}], 1)
    resolve(conn, settings, "population", catalog)

    def found() -> list[tuple[object, ...]]:
        rows = conn.execute("SELECT citizen_id, phone, name FROM library.person WHERE _deleted_at IS NULL").fetchall()
        conn.commit()
        return [tuple(r.values()) for r in rows]

    assert found() == [(present, "13800138000", "张五")]
    suspect = conn.execute("SELECT _suspect FROM source.gaj__people").fetchone()
    assert sorted(suspect["_suspect"]) == ["name", "phone"]
    relaxed = checked_resource("gaj", rules=[{**phone_rule, "expr": "length(phone) = 3", "mend": "请核对"}])
    bring(conn, settings, relaxed, [{"id_no": former, "phone": "138", "name": "王五"}], 2)
    resolve(conn, settings, "population", SmallCatalog({r.id: r for r in (relaxed, health)}, {"population": library}))
    assert found() == [(present, "138", "张五")]
