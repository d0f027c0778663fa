"""The synthetic city's three months, replayed on real servers: everything ends as the story says, every planted error
is found and nothing else. (Today's deliveries through the scheduler: ``test_scheduler`` and ``./guiji demo``.)"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from psycopg import sql
from rich.console import Console

from guiji.catalog import load_catalog
from guiji.demo.city import run_city
from guiji.demo.planting import KINDS
from guiji.demo.population import City, make_persons, make_units
from guiji.demo.replay import NOW, story
from guiji.demo.run import replay
from guiji.demo.score import score
from guiji.identifiers import check_citizen_id, check_credit_code, check_registration_number
from guiji.settings import Settings


def test_the_city_grows_the_same_from_the_same_seed_in_any_slice() -> None:
    city = City(1000, seed=7)
    whole = make_persons(city, 0, 1000, month=2)
    assert make_persons(city, 300, 400, month=2).equals(whole.slice(300, 100).combine_chunks())
    assert not make_persons(City(1000, seed=8), 0, 1000, month=2).equals(whole)
    assert len(set(whole["person_id"].to_pylist())) == 1000


def test_the_city_s_identifiers_are_beyond_doubt() -> None:
    city = City(5000)
    persons, units = make_persons(city, 0, 5000), make_units(city)
    ids = check_citizen_id(
        persons["person_id"].combine_chunks(),
        persons["birth_date"].combine_chunks(),
        persons["sex"].combine_chunks(),
        today=NOW.date(),
    )
    assert set(np.asarray(ids.verdict)) == {0}
    assert set(np.asarray(check_credit_code(units["credit_code"].combine_chunks()).verdict)) == {0}
    numbers = check_registration_number(
        units["registration_number"].combine_chunks(), units["credit_code"].combine_chunks()
    )
    assert set(np.asarray(numbers.verdict)) == {0}


@pytest.mark.timeout(900)
def test_three_months_end_as_the_story_says_and_every_planted_error_is_found(
    settings: Settings, conn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUIJI_EXPORTS", "set by the city")
    settings = replace(settings, fixed_now=NOW)
    batches: dict[tuple[str, str], str] = {}
    with run_city(settings, City(4000)) as running:
        assert running.mariadb, "MariaDB must be installed for this test: apt-get install mariadb-server"
        steps = story(running)
        assert replay(Console(file=io.StringIO()), running, steps, batches) == []
        assert set(batches) == {(s.resource_id, s.delivery) for s in steps if s.expect == "published"}
        scores = score(conn, running.truth, batches)
        senders = {m.message["subject"] for m in running.mail.messages}
    assert len({k.name for kinds in KINDS.values() for k in kinds}) >= 25
    assert {(s.kind.resource_id, s.kind.name) for s in scores} == {
        (k.resource_id, k.name) for ks in KINDS.values() for k in ks
    }
    wrong = [
        (s.kind.resource_id, s.kind.name, s.planted, s.found, s.right)
        for s in scores
        if not s.planted == s.found == s.right
    ]
    assert wrong == []
    assert any("整改办结" in s for s in senders), "a department whose data are right again is told"
    assert any("逾期未交付" in s for s in senders), "a department that sent nothing is reminded"
    reports = sorted(p.name for p in (settings.home / "reports").rglob("*.html"))
    assert [name[7:14] for name in reports] == ["2026-08", "2026-09", "2026-10"]
    catalog = load_catalog(settings.catalog)
    assert {s.resource_id for s in steps} == set(catalog.resources), "the city delivers whatever the catalog has"
    rows = {
        name: conn.execute(
            sql.SQL("SELECT count(*) AS n FROM {}").format(sql.Identifier("library", library.table))
        ).fetchone()["n"]
        for name, library in catalog.libraries.items()
    }
    assert [name for name, n in rows.items() if n < 20] == []
    disagreed = conn.execute("SELECT field, winner, loser FROM ops.conflict WHERE library = 'economy'").fetchall()
    assert [tuple(r.values()) for r in disagreed] == [("value", "czj.fiscal_revenue", "swj.tax_revenue")]
    linked = conn.execute(
        "SELECT count(*) AS n FROM source.scjg__inspection i JOIN source.scjg__enterprise e USING (registration_no)"
        " JOIN library.legal_person p ON p.credit_code = e.credit_code"
        " WHERE i.credit_code IS NULL AND p.latest_inspection IS NOT NULL"
    ).fetchone()
    assert linked["n"] >= 3, "an inspection is found by the unit's former number"
    vintages = conn.execute(
        "SELECT count(*) AS n FROM library.indicator__history WHERE indicator_code = '社会消费品零售总额'"
    ).fetchone()
    assert vintages["n"] >= 1, "a revised figure keeps its former value"
