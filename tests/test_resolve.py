"""Resolving: which department's value wins, whoever came first; who disagrees; what was valid when."""

from __future__ import annotations

import itertools
import random
import threading
from datetime import datetime, timedelta
from typing import Any

from packages import START, SmallCatalog, at_day, deliver, make_library, make_resource

from guiji import ledger
from guiji.catalog.models import LibraryModel, Resource
from guiji.library.resolve import resolve
from guiji.settings import Settings
from guiji.warehouse import connect

PERSON = make_library(
    fields=[
        {"name": "name", "title": "姓名", "sensitivity": 3, "authority": ["gaj", "wjw"]},
        {"name": "phone", "title": "联系电话", "strategy": "newest_non_null", "sensitivity": 3},
        {"name": "job", "title": "职业", "authority": ["rsj"]},
    ]
)


def police() -> Resource:
    return make_resource(
        "gaj.household",
        fields={"id_no": "string", "name": "string", "phone": "string", "updated": "timestamp"},
        order=["updated"],
        mappings=[
            {"library": "population", "key": ["id_no"], "fields": {"name": "name", "phone": "phone"}},
        ],
    )


def health() -> Resource:
    return make_resource(
        "wjw.health",
        fields={"id_no": "string", "name": "string", "phone": "string", "job": "string", "seen": "timestamp"},
        order=["seen"],
        mappings=[
            {"library": "population", "key": ["id_no"], "fields": {"name": "name", "phone": "phone", "job": "job"}},
        ],
    )


def work() -> Resource:
    """Several rows a person, keyed by contract; the person is not part of the key."""
    return make_resource(
        "rsj.contract",
        fields={"contract_no": "string", "id_no": "string", "job": "string", "phone": "string", "since": "date32"},
        order=["since"],
        mappings=[
            {
                "library": "population",
                "key": ["id_no"],
                "fields": {"job": "job", "phone": "phone"},
                "where": "job <> '无'",
            },
        ],
    )


def catalog_of(*resources: Resource, library: LibraryModel = PERSON) -> SmallCatalog:
    return SmallCatalog({r.id: r for r in resources}, {library.name: library})


def moment(n: int) -> datetime:
    return START - timedelta(days=100) + timedelta(hours=n)


def library_rows(conn: Any) -> set[tuple[object, ...]]:
    found = conn.execute("SELECT citizen_id, name, phone, job FROM library.person WHERE _deleted_at IS NULL").fetchall()
    conn.commit()
    rows = {tuple(r.values()) for r in found}
    assert len(rows) == len(found)
    return rows


def test_the_authority_wins_and_a_department_not_named_supplies_nothing(conn: Any, settings: Settings) -> None:
    catalog = catalog_of(police(), health())
    deliver(
        conn,
        settings,
        catalog.resources["gaj.household"],
        [{"id_no": "1", "name": "张三", "phone": None, "updated": None}],
    )
    deliver(
        conn,
        settings,
        catalog.resources["wjw.health"],
        [
            {"id_no": "1", "name": "张叁", "phone": "138", "job": "工人", "seen": moment(1)},
            {"id_no": "2", "name": "李四", "phone": None, "job": "工人", "seen": moment(1)},
        ],
    )
    record = resolve(conn, settings, "population", catalog)
    assert library_rows(conn) == {("1", "张三", "138", None), ("2", "李四", None, None)}
    assert (record.rows_new, record.conflicts) == (2, 1)
    conflict = conn.execute("SELECT field, winner, loser, key_masked FROM ops.conflict").fetchall()
    assert conflict == [{"field": "name", "winner": "gaj.household", "loser": "wjw.health", "key_masked": "*"}]


def test_resolving_what_is_clean_does_nothing(conn: Any, settings: Settings) -> None:
    catalog = catalog_of(police())
    deliver(
        conn,
        settings,
        catalog.resources["gaj.household"],
        [{"id_no": "1", "name": "张三", "phone": "1", "updated": moment(1)}],
    )
    resolve(conn, settings, "population", catalog)
    before = conn.execute("SELECT xmin::text, * FROM library.person").fetchall()
    record = resolve(conn, settings, "population", catalog)
    assert record.keys == 0
    assert conn.execute("SELECT xmin::text, * FROM library.person").fetchall() == before


def test_a_changed_value_leaves_its_former_version_in_the_history(conn: Any, settings: Settings) -> None:
    catalog = catalog_of(police())
    source = catalog.resources["gaj.household"]
    day1, day2, day3 = (at_day(settings, d) for d in (1, 2, 3))
    deliver(conn, day1, source, [{"id_no": "1", "name": "张三", "phone": "1", "updated": moment(1)}])
    resolve(conn, day1, "population", catalog)
    deliver(conn, day2, source, [{"id_no": "1", "name": "张三", "phone": "2", "updated": moment(2)}], day=2)
    resolve(conn, day2, "population", catalog)
    deliver(conn, day3, source, [{"id_no": "9", "name": "王五", "phone": "9", "updated": moment(2)}], day=3)
    resolve(conn, day3, "population", catalog)
    assert library_rows(conn) == {("9", "王五", "9", None)}
    history = conn.execute(
        "SELECT citizen_id, phone, valid_from, valid_to FROM library.person__history ORDER BY valid_from"
    ).fetchall()
    assert [tuple(r.values()) for r in history] == [
        ("1", "1", day1.now(), day2.now()),
        ("1", "2", day2.now(), day3.now()),
    ]


def oracle(rows: dict[str, list[dict[str, Any]]]) -> set[tuple[object, ...]]:
    """The library in plain Python, from the rows that serve; ``_at`` is how new a row is."""
    best: dict[str, dict[str, dict[str, Any]]] = {}
    for resource, found in rows.items():
        for row in sorted(found, key=lambda r: (r["_at"], *(-ord(c) for c in str(r.get("contract_no", ""))))):
            if resource == "rsj.contract" and (row["job"] == "无" or row["job"] is None):
                continue
            if row["id_no"] is not None:
                best.setdefault(row["id_no"], {})[resource] = row
    result = set()
    for key, sources in best.items():
        name = next(
            (sources[r]["name"] for r in ("gaj.household", "wjw.health") if r in sources and sources[r]["name"]), None
        )
        job = sources["rsj.contract"]["job"] if "rsj.contract" in sources else None
        phones = [(s["_at"], s["phone"], r) for r, s in sources.items() if s["phone"]]
        phone = max(phones, key=lambda p: (p[0], [-ord(c) for c in p[2]]))[1] if phones else None
        result.add((key, name, phone, job))
    return result


def random_rows(rng: random.Random, resource: str) -> list[dict[str, Any]]:
    rows = []
    for n in range(rng.randint(0, 12)):
        common = {"phone": rng.choice([None, "1", "2", "3"])}
        when = moment(rng.randint(1, 3))
        person = str(rng.randint(1, 6))
        if resource == "rsj.contract":
            day = when.date()
            rows.append(
                {
                    "contract_no": f"c{n}",
                    "id_no": rng.choice([person, None]),
                    "job": rng.choice(["工", "农", "无", None]),
                }
                | common
                | {"since": day, "_at": datetime(day.year, day.month, day.day, tzinfo=when.tzinfo)}
            )
        elif all(r["id_no"] != person for r in rows):
            row: dict[str, Any] = {"id_no": person, "name": rng.choice([None, "甲", "乙"])} | common
            if resource == "wjw.health":
                row |= {"job": "医", "seen": when}
            else:
                row |= {"updated": when}
            rows.append(row | {"_at": when})
    return rows


def test_the_library_equals_a_plain_oracle_whatever_the_order_of_arrival(conn: Any, settings: Settings) -> None:
    catalog = catalog_of(police(), health(), work())
    served: dict[str, list[dict[str, Any]]] = {}
    for seed in range(20):
        rng = random.Random(seed)
        deliveries = [(r, random_rows(rng, r)) for r in catalog.resources]
        rng.shuffle(deliveries)
        for resource, rows in deliveries:
            served[resource] = rows
            clean = [{k: v for k, v in r.items() if k != "_at"} for r in rows]
            deliver(conn, settings, catalog.resources[resource], clean, day=seed + 1, batch=f"{resource}{seed}")
            if rng.random() < 0.5:
                resolve(conn, settings, "population", catalog, chunk_keys=rng.choice([1, 2, 1000]))
        resolve(conn, settings, "population", catalog)
        assert library_rows(conn) == oracle(served), f"seed {seed}"
        conflicts = conn.execute("SELECT count(*) AS n FROM ops.conflict WHERE settled_at IS NULL").fetchone()
        losers = conn.execute(
            "SELECT coalesce(sum((SELECT count(*) FROM jsonb_each(_losers) f, jsonb_each(f.value))), 0) AS n"
            " FROM library.person__provenance p JOIN library.person USING (citizen_id) WHERE _deleted_at IS NULL"
        ).fetchone()
        assert conflicts["n"] == losers["n"], f"seed {seed}"


def test_every_order_of_arrival_gives_the_same_library(conn: Any, settings: Settings) -> None:
    catalog = catalog_of(police(), health(), work())
    rng = random.Random(7)
    rows = {r: [{k: v for k, v in x.items() if k != "_at"} for x in random_rows(rng, r)] for r in catalog.resources}
    seen = []
    for n, order in enumerate(itertools.permutations(catalog.resources)):
        for resource in order:
            deliver(conn, settings, catalog.resources[resource], rows[resource], day=n + 1, batch=f"{n}{resource}")
            resolve(conn, settings, "population", catalog)
        seen.append(library_rows(conn))
        conn.execute("TRUNCATE library.person, library.person__provenance")
        for resource in order:
            conn.execute(f'TRUNCATE source."{resource.replace(".", "__")}"')
        conn.commit()
    assert all(s == seen[0] for s in seen)
    assert seen[0]


def test_f50_four_departments_publish_and_resolve_one_library_at_once(conn: Any, settings: Settings) -> None:
    """Four writers, eight rounds each, all dirtying the same keys and resolving the same library: no error, no loss."""
    names = ("gaj", "wjw", "mzj", "rsj")
    library = make_library(
        fields=[{"name": n, "title": n, "authority": [n]} for n in names],
    )
    resources = {
        f"{n}.part": make_resource(
            f"{n}.part",
            fields={"id_no": "string", "value": "string"},
            mappings=[{"library": "population", "key": ["id_no"], "fields": {n: "value"}}],
        )
        for n in names
    }
    catalog = SmallCatalog(resources, {"population": library})
    errors: list[BaseException] = []

    def write(resource: Resource) -> None:
        try:
            with connect(settings) as own:
                for n in range(8):
                    keys = list(range(20))
                    random.Random(n).shuffle(keys)
                    rows: list[dict[str, object]] = [{"id_no": str(k), "value": f"{n}"} for k in keys]
                    deliver(own, settings, resource, rows, day=n + 1, batch=f"{resource.id}{n}")
                    resolve(own, settings, "population", catalog, chunk_keys=7)
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=write, args=(r,)) for r in resources.values()]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []
    found = conn.execute("SELECT citizen_id, gaj, wjw, mzj, rsj FROM library.person").fetchall()
    assert {tuple(r.values()) for r in found} == {(str(k), "7", "7", "7", "7") for k in range(20)}
    assert ledger.verify_audit(conn) is None


def test_a_change_of_strategy_resolves_every_key_again(conn: Any, settings: Settings) -> None:
    before = catalog_of(police(), health())
    deliver(conn, settings, police(), [{"id_no": "1", "name": "张三", "phone": None, "updated": None}])
    deliver(conn, settings, health(), [{"id_no": "1", "name": "张叁", "phone": None, "job": None, "seen": None}])
    resolve(conn, settings, "population", before)
    assert library_rows(conn) == {("1", "张三", None, None)}
    fields = [f.model_dump() for f in PERSON.fields]
    fields[0]["authority"] = ["wjw", "gaj"]
    after = catalog_of(police(), health(), library=make_library(fields=fields))
    record = resolve(conn, settings, "population", after)
    assert (record.keys, record.rows_changed) == (1, 1)
    assert library_rows(conn) == {("1", "张叁", None, None)}
    conflicts = conn.execute("SELECT winner, loser, settled_at IS NULL AS open FROM ops.conflict ORDER BY 1").fetchall()
    assert [tuple(c.values()) for c in conflicts] == [
        ("gaj.household", "wjw.health", False),
        ("wjw.health", "gaj.household", True),
    ]


def test_one_resource_may_feed_two_people_of_one_row(conn: Any, settings: Settings) -> None:
    marriage = make_resource(
        "mzj.marriage",
        fields={
            "cert": "string",
            "husband": "string",
            "husband_name": "string",
            "wife": "string",
            "wife_name": "string",
        },
        mappings=[
            {"library": "population", "key": ["husband"], "fields": {"name": "husband_name"}},
            {"library": "population", "key": ["wife"], "fields": {"name": "wife_name"}},
        ],
    )
    library = make_library(fields=[{"name": "name", "title": "姓名", "authority": ["mzj"]}])
    catalog = SmallCatalog({marriage.id: marriage}, {"population": library})
    rows: list[dict[str, object]] = [
        {"cert": "c1", "husband": "1", "husband_name": "甲", "wife": "2", "wife_name": "乙"},
        {"cert": "c2", "husband": "3", "husband_name": "丙", "wife": None, "wife_name": None},
    ]
    deliver(conn, settings, marriage, rows)
    resolve(conn, settings, "population", catalog)
    deliver(conn, settings, marriage, [{**rows[0], "wife": "4", "wife_name": "丁"}, rows[1]], day=2)
    resolve(conn, settings, "population", catalog)
    found = conn.execute("SELECT citizen_id, name, _deleted_at IS NULL AS alive FROM library.person").fetchall()
    assert {tuple(r.values()) for r in found} == {
        ("1", "甲", True),
        ("2", "乙", False),
        ("3", "丙", True),
        ("4", "丁", True),
    }
