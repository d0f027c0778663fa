"""The words in which pages and mails tell windows, reasons and bounds."""

from __future__ import annotations

from datetime import datetime

import pytest

from guiji.causes import SKIPPED, join_reasons
from guiji.cells import height_of
from guiji.quality.rules import _say_bound
from guiji.records import Window
from guiji.settings import TIME_ZONE
from guiji.sources import formats


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        ("2026-10-01", "2026-11-01", "2026年10月"),
        ("2026-12-01", "2027-01-01", "2026年12月"),
        ("2026-10-01", "2027-01-01", "2026年4季度"),
        ("2026-01-01", "2026-04-01", "2026年1季度"),
        ("2026-02-01", "2026-05-01", "2026-02-01 至 2026-04-30"),
        ("2026-01-01", "2027-01-01", "2026年"),
        ("2026-07-01", "2027-07-01", "2026-07-01 至 2027-06-30"),
        ("2026-11-02", "2026-11-09", "2026-11-02 至 2026-11-08"),
        ("2026-11-05", "2026-11-06", "2026-11-05"),
        ("2026-11-05T08:00", "2026-11-05T09:30", "2026-11-05 08:00 至 2026-11-05 09:30"),
    ],
)
def test_a_window_is_told_as_people_name_it(start: str, end: str, told: str) -> None:
    begin, stop = (datetime.fromisoformat(t).replace(tzinfo=TIME_ZONE) for t in (start, end))
    assert Window(begin, stop).name() == told


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        ([], ""),
        (["行数减少"], "行数减少。"),
        (["行数减少。", "请核实。"], "行数减少；请核实。"),
        (["一；", "二", "三。"], "一；二；三。"),
    ],
)
def test_reasons_are_one_sentence_with_one_full_stop(reasons: list[str], told: str) -> None:
    assert join_reasons(reasons) == told


@pytest.mark.parametrize(
    ("bound", "told"),
    [(0.0, "0"), (720.0, "720"), (-100.0, "-100"), (1e12, "1000000000000"), (0.5, "0.5"), (0.0001, "0.0001"), ("2026-01-01", "2026-01-01"), (None, None)],
)  # fmt: skip
def test_a_bound_has_neither_an_idle_fraction_nor_an_exponent(bound: str | float | None, told: str | None) -> None:
    assert _say_bound(bound) == told


def test_every_reason_to_skip_a_line_has_words() -> None:
    """The reasons that the readers of formats write, found in their source."""
    import re
    from pathlib import Path

    folder = Path(formats.__file__).parent
    written = {
        reason
        for path in folder.glob("*.py")
        for call in re.findall(r"\bskip\(\s*[\w.]+,([^\n]*)", path.read_text(encoding="utf-8"))
        for reason in re.findall(r'"(\w+)"', call)
    }
    assert written >= {"blank", "footnote", "title", "total", "metadata", "repeated_header"}
    assert written - set(SKIPPED) == set()


@pytest.mark.parametrize(
    ("cells", "lines"),
    [
        ([], 1),
        ([("", 10)], 1),
        ([("abcdefghi", 10)], 1),
        ([("abcdefghij", 10)], 2),
        ([("四个汉字呀", 10)], 2),  # ten columns wide, nine fit
        ([("一\n二\n三", 40), ("x" * 79, 40)], 3),
        ([("字" * 40_000, 10)], 409 / 16),
    ],
)
def test_a_row_is_as_tall_as_its_longest_wrapped_text(cells: list[tuple[str, float]], lines: float) -> None:
    assert height_of(cells) == pytest.approx(16 * lines)
