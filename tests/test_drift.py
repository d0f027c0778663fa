"""F-16 Schema drift: what a department changes in its columns is refused, noted or accepted, and always told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bad_input import HEADER, FrontEnd, connection_json, files_source, serving, sound_rows, write_catalog, write_csv
from hypothesis import given
from hypothesis import strategies as st

from guiji.errors import DeliveryRefused
from guiji.ledger.schemas import compare_columns, describe_drift, fingerprint_columns
from guiji.pipeline import run_resource
from guiji.records import BatchRecord
from guiji.settings import Settings

PEOPLE = sound_rows(20)
FIELDS: list[dict[str, Any]] = [
    {"name": "person_id", "title": "公民身份号码", "nullable": False, "length": 18, "sensitivity": 3},
    {"name": "person_name", "title": "姓名", "aliases": ["人员姓名"], "sensitivity": 3},
    {"name": "birth_date", "title": "出生日期", "type": "date32", "required": False},
    {"name": "updated_at", "title": "更新时间", "type": "timestamp"},
]
ID, NAME, BIRTH, UPDATED = HEADER
MODES = ("freeze", "evolve", "discard")


def pick(*columns: str) -> list[tuple[str, ...]]:
    """The people with these columns; a column that they don't have is filled with one word."""
    as_before = {"人员姓名": NAME, "住址": NAME, "姓 名": NAME}
    meant = [as_before.get(c, c) for c in columns]
    places = [HEADER.index(c) if c in HEADER else None for c in meant]
    return [tuple("备用" if p is None else row[p] for p in places) for row in PEOPLE]


def birth_in_words() -> list[tuple[str, ...]]:
    return [(a, b, "二〇〇一年春", d) for a, b, _, d in PEOPLE]


#: drift -> header, rows, what each contract does: the rule that refuses, or what is told
DRIFTS: dict[str, tuple[tuple[str, ...], Any, dict[str, str]]] = {
    "added at the end": (
        (*HEADER, "备注"), pick(*HEADER, "备注"),
        {"freeze": "delivery.undeclared_column", "evolve": "多了列“备注”", "discard": "多了列“备注”"},
    ),
    "added in the middle": (
        (ID, "备注", NAME, BIRTH, UPDATED), pick(ID, "备注", NAME, BIRTH, UPDATED),
        {"freeze": "delivery.undeclared_column", "evolve": "多了列“备注”", "discard": "多了列“备注”"},
    ),
    "required dropped": (
        (ID, BIRTH, UPDATED), pick(ID, BIRTH, UPDATED), dict.fromkeys(MODES, "delivery.missing_column"),
    ),
    "optional dropped": (
        (ID, NAME, UPDATED), pick(ID, NAME, UPDATED), dict.fromkeys(MODES, "少了列“出生日期”"),
    ),
    "renamed": (
        (ID, "住址", BIRTH, UPDATED), pick(ID, "住址", BIRTH, UPDATED), dict.fromkeys(MODES, "delivery.missing_column"),
    ),
    "renamed to an alias": (
        (ID, "人员姓名", BIRTH, UPDATED), pick(ID, "人员姓名", BIRTH, UPDATED),
        dict.fromkeys(MODES, "多了列“人员姓名”，少了列“姓名”，“姓名”可能已改名为“人员姓名”"),
    ),
    "reordered": (
        (NAME, ID, UPDATED, BIRTH), pick(NAME, ID, UPDATED, BIRTH), dict.fromkeys(MODES, "列的顺序有变"),
    ),
    "repeated": (
        (*HEADER, NAME), pick(*HEADER, NAME), dict.fromkeys(MODES, "delivery.duplicate_column"),
    ),
    "retyped": (HEADER, birth_in_words(), dict.fromkeys(MODES, "held")),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "drop"
    path.mkdir()
    return path


def start(settings: Settings, folder: Path, contract: str) -> Settings:
    """A first delivery in the declared form has been published."""
    tolerance = {"rejected": 0.5}
    city = write_catalog(
        settings, {**files_source(folder), "fields": FIELDS, "contract": contract, "tolerance": tolerance, "order": []}
    )
    write_csv(folder / "people_20261018.csv", PEOPLE)
    assert run_resource("ab.people", city).rows_new == len(PEOPLE)
    return city


def schema_of(conn: Any, batch_id: str) -> dict[str, Any]:
    conn.rollback()
    found = conn.execute("SELECT * FROM ops.batch_schema WHERE batch_id = %s", (batch_id,)).fetchone()
    assert found is not None
    return dict(found)


def events(conn: Any) -> list[tuple[str, str]]:
    """(kind, what it says) of what waits to be sent."""
    conn.rollback()
    rows = conn.execute("SELECT kind, payload FROM ops.outbox ORDER BY event_id").fetchall()
    return [(r["kind"], json.dumps(r["payload"], ensure_ascii=False)) for r in rows]


@pytest.mark.parametrize("contract", MODES)
@pytest.mark.parametrize("drift", DRIFTS)
def test_f16_every_drift_in_every_mode(settings: Settings, conn: Any, folder: Path, drift: str, contract: str) -> None:
    header, rows, outcomes = DRIFTS[drift]
    outcome = outcomes[contract]
    city = start(settings, folder, contract)
    before = serving(conn)
    write_csv(folder / "people_20261019.csv", rows, header)
    if outcome.startswith("delivery."):
        with pytest.raises(DeliveryRefused) as caught:
            run_resource("ab.people", city)
        assert caught.value.rule_id == outcome
        record = caught.value.context["record"]
        assert isinstance(record, BatchRecord)
        assert (record.status, serving(conn)) == ("refused", before)
        said = schema_of(conn, record.batch_id)
        assert said["columns"] == [[c, ""] for c in dict.fromkeys(header)]
        if said["difference"] is not None:
            assert str(record.reason).endswith(said["difference"])
        assert [kind for kind, _ in events(conn)] == ["refused"]
        return
    record = run_resource("ab.people", city)
    told = schema_of(conn, record.batch_id)
    assert told["columns"] == [[c, ""] for c in header]
    if outcome == "held":
        assert (record.status, record.rows_rejected, serving(conn)) == ("held", len(PEOPLE), before)
        assert told["difference"] is None
        return
    assert record.status == "published"
    assert outcome in told["difference"]
    assert told["is_drift"] is (drift != "reordered")
    without_birth = {(a, b, None, d) for a, b, _, d in before}
    assert serving(conn) == (without_birth if drift == "optional dropped" else before)
    drifted = [(kind, outcome in payload) for kind, payload in events(conn)]
    assert drifted == ([] if drift == "reordered" else [("drift", True)])
    notes = conn.execute("SELECT notes FROM ops.batch WHERE batch_id = %s", (record.batch_id,)).fetchone()
    assert told["difference"] in notes["notes"]


def test_f16_a_drift_is_told_once(settings: Settings, conn: Any, folder: Path) -> None:
    city = start(settings, folder, "evolve")
    for day in (19, 20):
        rows = [(*row[:3], f"2026-10-{day} 08:00:00", "x") for row in PEOPLE]
        write_csv(folder / f"people_202610{day}.csv", rows, (*HEADER, "备注"))
        assert run_resource("ab.people", city).status == "published"
    assert [kind for kind, _ in events(conn)] == ["drift"]


@pytest.mark.parametrize("server", ["fep_postgres", "mariadb_server"])
def test_f16_a_retyped_column_of_a_table_is_told_with_both_types(
    settings: Settings, conn: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    there = request.getfixturevalue(server)
    monkeypatch.setenv("AIRFLOW_CONN_FEP_AB", connection_json(there, "fep_ab"))
    front_end = FrontEnd(there)
    try:
        city = write_catalog(settings, {"source": front_end.source, "tolerance": {"rejected": 1.0}})
        front_end.replace_all([tuple(row) for row in PEOPLE])
        first = run_resource("ab.people", city)
        mark = '"' if server == "fep_postgres" else "`"
        verb = "ALTER COLUMN {0} TYPE varchar(40)" if server == "fep_postgres" else "MODIFY {0} varchar(40)"
        front_end.run(f"ALTER TABLE {front_end.source['table']} " + verb.format(f"{mark}{UPDATED}{mark}"))
        second = run_resource("ab.people", city)
    finally:
        front_end.close()
    types = [dict(schema_of(conn, b.batch_id)["columns"])[UPDATED] for b in (first, second)]
    assert types[0] != types[1]
    assert f"列“{UPDATED}”的类型由 {types[0]} 变为 {types[1]}" in schema_of(conn, second.batch_id)["difference"]


def test_f16_typed_files_say_their_types(settings: Settings, conn: Any, folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = files_source(folder)
    source["source"] |= {"pattern": r"people_(?P<date>\d{8})\.parquet", "format": {"type": "parquet"}}
    city = write_catalog(settings, {**source, "order": [], "tolerance": {"rejected": 1.0}})
    table = pa.table({c: pa.array([row[i] for row in PEOPLE]) for i, c in enumerate(HEADER)})
    pq.write_table(table, folder / "people_20261018.parquet")
    run_resource("ab.people", city)
    typed = table.set_column(2, BIRTH, table[BIRTH].cast(pa.date32()))
    pq.write_table(typed, folder / "people_20261019.parquet")
    second = run_resource("ab.people", city)
    assert f"列“{BIRTH}”的类型由 string 变为 date32[day]" in schema_of(conn, second.batch_id)["difference"]


# --- the comparison -----------------------------------------------------------------------------------

columns = st.lists(
    st.tuples(st.sampled_from("甲乙丙丁戊"), st.sampled_from(["", "text", "date"])),
    max_size=5,
    unique_by=lambda c: c[0],
)


@given(columns, columns)
def test_a_difference_is_told_exactly_when_there_is_one(
    before: list[tuple[str, str]], now: list[tuple[str, str]]
) -> None:
    drift = compare_columns(before, now)
    old, new = dict(before), dict(now)
    assert set(drift.added) == new.keys() - old.keys()
    assert set(drift.dropped) == old.keys() - new.keys()
    assert {c for c, _, _ in drift.retyped} == {
        c for c in old.keys() & new.keys() if old[c] and new[c] and old[c] != new[c]
    }
    if fingerprint_columns(before) == fingerprint_columns(now):
        assert describe_drift(drift) == ""
    elif [c for c, _ in before] != [c for c, _ in now]:
        assert describe_drift(drift) != ""
