"""Great Expectations has the verdict; it sees flags and counts, never a person's value."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from staged_package import make_resource, make_settings, stage_rows

from guiji.catalog.models import Resource
from guiji.quality import check_batch, judge_batch, load_quality
from guiji.records import QualityReport, RuleResult

FIELDS = [{"name": "id"}, {"name": "value", "length": 3}]


def judge(
    home: Path, resource: Resource, rows: list[dict[str, Any]], previous_rows: int | None = None
) -> QualityReport:
    settings = make_settings(home)
    staged = stage_rows(settings, resource, rows)
    checked = check_batch(resource, settings, staged)
    report = judge_batch(resource, settings, staged, checked, previous_rows=previous_rows)
    assert load_quality(settings, staged) == report
    return report


def things(good: int, bad: int) -> list[dict[str, Any]]:
    return [{"id": str(n), "value": "abcd" if n < bad else "abc"} for n in range(good + bad)]


def test_a_clean_batch_passes(tmp_path: Path) -> None:
    report = judge(tmp_path, make_resource(FIELDS), things(10, 0))
    assert (report.outcome, report.reasons, report.failed) == ("passed", (), 0)
    assert report.expectations >= 8


@pytest.mark.parametrize(
    ("tolerance", "good", "bad", "outcome"),
    [
        (0, 999, 0, "passed"),
        (0, 999, 1, "held"),
        (0.01, 990, 10, "warning"),
        (0.01, 989, 11, "held"),
        (0.07, 93, 7, "warning"),
        (0.07, 92, 8, "held"),
        (1, 0, 50, "warning"),
    ],
)
def test_f29_a_batch_is_held_beyond_its_tolerated_share(
    tmp_path: Path, tolerance: float, good: int, bad: int, outcome: str
) -> None:
    report = judge(tmp_path, make_resource(FIELDS, tolerance={"rejected": tolerance}), things(good, bad))
    assert report.outcome == outcome
    assert bool(report.reasons) is (outcome == "held")


def test_a_rule_has_its_own_tolerance_and_the_reason_is_chinese_with_a_and_b(tmp_path: Path) -> None:
    fields = [{"name": "id"}, {"name": "value", "title": "名称", "column": "value", "length": 3, "tolerance": 0.1}]
    report = judge(tmp_path, make_resource(fields, tolerance={"rejected": 1}), things(8, 2))
    assert report.outcome == "held"
    assert report.reasons == ("“名称”不得超过3个字：2行不符合，占20.00%，超过允许的10.00%。",)


def test_warnings_never_hold_a_batch(tmp_path: Path) -> None:
    fields = [{"name": "id"}, {"name": "value", "length": 3, "severity": "warn"}]
    report = judge(tmp_path, make_resource(fields), things(0, 10))
    assert (report.outcome, report.reasons) == ("warning", ())
    assert report.failed == 1


def test_row_count_and_completeness_have_bounds(tmp_path: Path) -> None:
    many = judge(tmp_path / "a", make_resource(FIELDS, tolerance={"max_rows": 5}), things(6, 0))
    assert many.reasons == ("行数为6，超出允许的1 至 5。",)
    rows = [{"id": str(n), "value": "abc" if n else None} for n in range(4)]
    half = judge(tmp_path / "b", make_resource(FIELDS, tolerance={"completeness": 0.9}), rows)
    assert half.reasons == ("数据元素完整率为87.50%，超出允许的90.00%。",)
    exact = judge(tmp_path / "c", make_resource(FIELDS, tolerance={"completeness": 0.875}), rows)
    assert exact.outcome == "passed"


def test_growth_against_the_last_batch_is_recorded_but_decides_nothing(tmp_path: Path) -> None:
    report = judge(tmp_path, make_resource(FIELDS), things(10, 0), previous_rows=100)
    assert (report.outcome, report.failed) == ("passed", 1)


def test_very_many_bad_rows_are_judged_a_few_rules_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = things(50, 50)
    whole = judge(tmp_path / "a", make_resource(FIELDS), rows)
    monkeypatch.setattr("guiji.quality.judge.CELLS_AT_ONCE", 1)
    parted = judge(tmp_path / "b", make_resource(FIELDS), rows)
    assert (parted.outcome, parted.reasons, parted.expectations) == (whole.outcome, whole.reasons, whole.expectations)


def test_the_judge_and_the_check_agree_on_every_rule(tmp_path: Path) -> None:
    """The scaled share over flagged rows says the same as A and B over all rows."""
    from guiji.quality.judge import allowed_failures

    settings = make_settings(tmp_path)
    resource = make_resource(
        [{"name": "id"}, *({"name": f"f{n}", "type": "int64", "tolerance": n / 10} for n in range(9))],
        tolerance={"rejected": 1},
    )
    rows = [{"id": str(n), **{f"f{k}": "x" if n < 3 else "1" for k in range(9)}} for n in range(10)]
    staged = stage_rows(settings, resource, rows)
    checked = check_batch(resource, settings, staged)
    report = judge_batch(resource, settings, staged, checked, previous_rows=None)
    results = json.loads(Path(report.result_path).read_text("utf-8"))["results"]
    said = {r["expectation_config"]["meta"]["rule_id"]: r["success"] for r in results}
    rules: dict[str, RuleResult] = {r.rule_id: r for r in checked.rules}
    assert {k: v for k, v in said.items() if k in rules} == {
        k: rules[k].failed <= allowed_failures(rules[k]) for k in said if k in rules
    }
    assert {k for k in said if k.endswith(".type") and not said[k]} == {f"f{n}.type" for n in range(3)}


def test_f67_the_result_and_the_page_hold_no_value_of_a_row(tmp_path: Path) -> None:
    canary = "金丝雀13900008888"
    resource = make_resource([{"name": "id"}, {"name": "value", "length": 3, "sensitivity": 3}])
    report = judge(tmp_path, resource, [{"id": canary, "value": canary}, {"id": "2", "value": canary[:2]}])
    page = tmp_path / "data_docs" / "ab.things" / "b1.html"
    for path in (Path(report.result_path), page, Path(report.result_path).with_name("quality.json")):
        text = path.read_text("utf-8")
        assert "value.length" in text or path.name == "quality.json"
        assert "13900008888" not in text
        assert "金丝雀" not in text
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_titles_are_text_on_the_page(tmp_path: Path) -> None:
    fields = [{"name": "id"}, {"name": "value", "title": "<script>alert(1)</script>", "column": "value", "length": 3}]
    judge(tmp_path, make_resource(fields), things(1, 1))
    page = (tmp_path / "data_docs" / "ab.things" / "b1.html").read_text("utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_judging_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert judge(tmp_path, make_resource(FIELDS), things(3, 0)).outcome == "passed"


def test_the_warm_up_leaves_no_shared_package_half_imported() -> None:
    """Great Expectations is imported beside the first steps; what those import too must be whole before it starts."""
    program = (
        "import sys, guiji.quality.judge as judge\n"
        "judge._import_quietly = lambda: None\n"
        "assert 'shapely' not in sys.modules\n"
        "judge.warm_up()\n"
        "for name in ('numpy', 'pyarrow', 'shapely.geometry', 'sqlalchemy'):\n"
        "    assert not sys.modules[name].__spec__._initializing, name\n"
    )
    path = os.pathsep.join([str(Path(__file__).parents[1] / "include"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
