"""F-08: a naive time becomes the instant it means, or is named; zoneinfo is the oracle."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from staged_package import make_resource, make_settings, read_accepted, read_findings, read_rejected, stage_rows

from guiji.local_time import find_last_change
from guiji.quality import check_batch
from guiji.records import CheckedBatch

SKIPPED, AMBIGUOUS = "value.skipped_time", "value.ambiguous_time"
#: (zone, the years in which its clocks were moved)
ZONES = (
    "Asia/Shanghai",
    "Asia/Urumqi",
    "Asia/Hong_Kong",
    "America/Los_Angeles",
    "Europe/London",
    "Australia/Lord_Howe",
)


def check_moments(home: Path, cells: list[Any], *, zone: str = "Asia/Shanghai", **field: Any) -> CheckedBatch:
    """A package with one moment per row under ``value``."""
    types = field.pop("types", None)
    resource = make_resource([{"name": "id"}, {"name": "value", "type": "timestamp", **field}], time_zone=zone)
    settings = make_settings(home)
    rows = [{"id": str(n), "value": cell} for n, cell in enumerate(cells, 1)]
    return check_batch(resource, settings, stage_rows(settings, resource, rows, types=types))


def instants_of(local: datetime, zone: str) -> set[datetime]:
    """The instants at which the clocks of the zone showed ``local``."""
    place = ZoneInfo(zone)
    both = (local.replace(tzinfo=place, fold=fold).astimezone(UTC) for fold in (0, 1))
    return {i for i in both if i.astimezone(place).replace(tzinfo=None) == local}


def outcome_of(checked: CheckedBatch, rows: int) -> list[datetime | str]:
    """Per row its instant, or the rule that it broke."""
    values = {int(k): v.astimezone(UTC) for k, v in read_accepted(checked, "id", "value") if v is not None}
    broken = {n: " ".join(rules) for n, rules in read_rejected(checked).items()}
    return [broken.get(n) or values[n] for n in range(1, rows + 1)]


def expected_of(local: datetime, zone: str) -> datetime | str:
    instants = instants_of(local, zone)
    if len(instants) == 1:
        return instants.pop()
    return AMBIGUOUS if instants else SKIPPED


def near_changes(zone: str) -> list[datetime]:
    """Local times around every change of the zone's clocks since 1900, both sides and in between."""
    place, found = ZoneInfo(zone), []
    moment, hour = datetime(1900, 1, 2, tzinfo=UTC), timedelta(hours=1)
    offset = moment.astimezone(place).utcoffset()
    while moment < datetime(2036, 1, 1, tzinfo=UTC):
        later = moment + 24 * hour
        if later.astimezone(place).utcoffset() != offset:
            local = moment.astimezone(place).replace(tzinfo=None)  # then on by the hand of a clock that nobody moves
            found += [local + h * hour + timedelta(minutes=m) for h in range(26) for m in (0, 30)]
            offset = later.astimezone(place).utcoffset()
        moment = later
    return found


@pytest.mark.parametrize("zone", ZONES)
def test_f08_around_every_change_of_the_clocks_a_time_is_exact_or_named(tmp_path: Path, zone: str) -> None:
    times = near_changes(zone)
    expected = [expected_of(t, zone) for t in times]
    if zone != "Asia/Urumqi":
        assert {SKIPPED, AMBIGUOUS} < set(map(str, expected))
    checked = check_moments(tmp_path, [t.isoformat(sep=" ") for t in times], zone=zone)
    assert outcome_of(checked, len(times)) == expected


@hypothesis_settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    times=st.lists(st.datetimes(datetime(1901, 1, 2), datetime(2100, 1, 1)), min_size=1, max_size=200),
    zone=st.sampled_from(ZONES[:2]),
)
@example(
    times=[datetime(1986, 5, 4, 2), datetime(1986, 5, 4, 1, 59, 59, 999999), datetime(1986, 5, 4, 3)], zone=ZONES[0]
)
@example(times=[datetime(1991, 9, 15, 1), datetime(1991, 9, 15, 2), datetime(1991, 9, 15, 0, 59, 59)], zone=ZONES[0])
def test_f08_any_time_is_what_zoneinfo_says(
    tmp_path_factory: pytest.TempPathFactory, times: list[datetime], zone: str
) -> None:
    cells = [t.isoformat(sep=" ") for t in times]
    checked = check_moments(tmp_path_factory.mktemp("any"), cells, zone=zone)
    assert outcome_of(checked, len(times)) == [expected_of(t, zone) for t in times]


@pytest.mark.parametrize(
    ("field", "cells"),
    [
        ({}, ["1986-05-04 02:30:00", "1986-09-14 01:30:00", "1986-07-01 08:00:00"]),
        ({}, ["1986-05-04T02:30", "1986-09-14T01:30:00.000", "1986-07-01 08:00"]),
        ({"formats": ["%Y%m%d%H%M%S"]}, ["19860504023000", "19860914013000", "19860701080000"]),
        (
            {"formats": ["%d/%m/%Y %H:%M", "%Y年%m月%d日%H时"]},
            ["1986年05月04日02时", "14/09/1986 01:30", "1986年07月01日08时"],
        ),
        (
            {"types": {"value": pa.timestamp("us")}},
            [datetime(1986, 5, 4, 2, 30), datetime(1986, 9, 14, 1, 30), datetime(1986, 7, 1, 8)],
        ),
        (
            {"types": {"value": pa.timestamp("ns")}},
            [datetime(1986, 5, 4, 2, 30), datetime(1986, 9, 14, 1, 30), datetime(1986, 7, 1, 8)],
        ),
        (
            {"code_map": {}, "null_tokens": ["无"]},
            ["1986-05-04 02:30:00", "1986-09-14 01:30:00", "1986-07-01 08:00:00"],
        ),
    ],
)
def test_f08_a_skipped_or_doubled_time_is_named_in_whatever_form_it_comes(
    tmp_path: Path, field: dict[str, Any], cells: list[Any]
) -> None:
    checked = check_moments(tmp_path, cells, nullable=False, **field)
    assert read_rejected(checked) == {1: [SKIPPED], 2: [AMBIGUOUS]}
    assert read_accepted(checked, "value") == [(datetime(1986, 6, 30, 23, tzinfo=UTC),)]


def test_f08_a_time_with_its_offset_is_never_doubted(tmp_path: Path) -> None:
    cells = ["1986-09-14 01:30:00+09:00", "1986-09-14 01:30:00+08:00", "1986-05-03T18:30:00Z", "1986-05-04 02:30+0800"]
    checked = check_moments(tmp_path, cells)
    instants = [datetime(1986, 9, 13, 16, 30), datetime(1986, 9, 13, 17, 30), *[datetime(1986, 5, 3, 18, 30)] * 2]
    assert outcome_of(checked, 4) == [t.replace(tzinfo=UTC) for t in instants]
    formats = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S%z"]
    zoned = check_moments(tmp_path / "z", ["1986-09-14 01:30:00", "1986-09-14 01:30:00+09:00"], formats=formats)
    assert outcome_of(zoned, 2) == [AMBIGUOUS, datetime(1986, 9, 13, 16, 30, tzinfo=UTC)]
    typed = check_moments(
        tmp_path / "t", [datetime(1986, 9, 13, 16, 30, tzinfo=UTC)], types={"value": pa.timestamp("us", tz="UTC")}
    )
    assert outcome_of(typed, 1) == [datetime(1986, 9, 13, 16, 30, tzinfo=UTC)]


def test_f08_days_have_no_clock_and_are_never_doubted(tmp_path: Path) -> None:
    checked = check_moments(tmp_path, ["1940-06-01", "1949-05-01 00:00:00"], type="date32")
    assert [str(v) for (v,) in read_accepted(checked, "value")] == ["1940-06-01", "1949-05-01"]


def test_f08_where_a_field_only_warns_the_row_stays_without_the_value(tmp_path: Path) -> None:
    checked = check_moments(tmp_path, ["1986-05-04 02:30:00", None], severity="warn")
    assert read_accepted(checked, "id", "value") == [("1", None), ("2", None)]
    assert {f[1:] for f in read_findings(checked)} == {(SKIPPED, "suspicious")}


def test_f08_only_a_broken_rule_is_told_and_says_what_to_write(tmp_path: Path) -> None:
    checked = check_moments(tmp_path, ["1986-05-04 02:30:00", "2026-01-01 08:00:00"])
    told = {r.rule_id: r for r in checked.rules}
    assert {k for k in told if k.endswith("_time")} == {SKIPPED}
    assert (told[SKIPPED].failed, told[SKIPPED].rows) == (1, 2)
    assert "夏令时" in told[SKIPPED].title
    assert "+09:00" in told[SKIPPED].mend


@pytest.mark.parametrize(
    ("field", "text", "microsecond", "cut"),
    [
        ({}, "2026-01-01 00:00:00.123456789", 123456, True),
        ({}, "2026-01-01 00:00:00.1234560", 123456, False),
        ({}, "2026-01-01 00:00:00.999999999", 999999, True),
        ({}, "2026-01-01 00:00:00.0000001+08:00", 0, True),
        ({}, "2026-01-01 00:00:00.000000000+08:00", 0, False),
        ({"formats": ["%Y%m%d %H%M%S.%n"]}, "20260101 000000.123456700", 123456, True),
        ({"formats": ["%Y%m%d %H%M%S.%n"]}, "20260101 000000.123456000", 123456, False),
        ({"types": {"value": pa.timestamp("ns")}}, 1_767_225_600_123_456_789, 123456, True),
        ({"types": {"value": pa.timestamp("ns")}}, 1_767_225_600_123_456_000, 123456, False),
    ],
)
def test_f08_what_is_finer_than_a_microsecond_is_cut_and_told(
    tmp_path: Path, field: dict[str, Any], text: Any, microsecond: int, cut: bool
) -> None:
    checked = check_moments(tmp_path, [text], **field)
    ((value,),) = read_accepted(checked, "value")
    assert value.microsecond == microsecond
    assert {f[1:] for f in read_findings(checked)} == ({("value.fraction", "mended")} if cut else set())


@hypothesis_settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fractions=st.lists(st.text("0123456789", min_size=1, max_size=9), min_size=1, max_size=100))
def test_f08_a_fraction_is_whole_or_told(tmp_path_factory: pytest.TempPathFactory, fractions: list[str]) -> None:
    checked = check_moments(tmp_path_factory.mktemp("fr"), [f"2026-01-01 08:00:00.{f}" for f in fractions])
    values = {int(k): v for k, v in read_accepted(checked, "id", "value")}
    told = {f[0] for f in read_findings(checked)}
    for n, fraction in enumerate(fractions, 1):
        exact = Decimal(f"0.{fraction}") * 1_000_000
        assert values[n].microsecond == int(exact)
        assert (n in told) is (exact != int(exact))


def test_the_last_change_of_a_zones_clocks() -> None:
    settled = {zone: find_last_change(zone) for zone in ZONES}
    assert settled["America/Los_Angeles"] is settled["Europe/London"] is settled["Australia/Lord_Howe"] is None
    shanghai = settled["Asia/Shanghai"]
    assert shanghai is not None
    assert datetime(1991, 9, 15, tzinfo=UTC) < shanghai < datetime(1991, 10, 1, tzinfo=UTC)
