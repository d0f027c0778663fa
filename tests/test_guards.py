"""Bands beside deletion, shrinkage and growth: empty fields and the values of code fields. A batch outside is held, the
old data serve, a person decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from bad_input import files_source, sound_rows, write_catalog, write_csv
from hypothesis import given
from hypothesis import strategies as st
from test_watermark import NOW

from guiji.catalog import check_catalog
from guiji.library.distribution import measure_shift
from guiji.pipeline import decide_held, run_resource
from guiji.records import BatchRecord
from guiji.settings import Settings

HEADER = ("公民身份号码", "姓名", "性别", "手机")
PEOPLE = sound_rows(240)
FIELDS = [
    {"name": "person_id", "title": "公民身份号码", "nullable": False, "sensitivity": 3, "identifier": "citizen_id"},
    {"name": "person_name", "title": "姓名", "sensitivity": 3},
    {"name": "sex", "title": "性别", "codes": "sex", "code_map": {"fixable": {"男": "1", "女": "2"}}},
    {"name": "mobile", "title": "手机", "sensitivity": 3},
]
LOOSE = {"deleted": 1, "shrink": 1, "grow": 100}


class City:
    """One resource whose deliveries are files, a day each."""

    def __init__(self, settings: Settings, folder: Path, tolerance: dict[str, Any], **more: Any) -> None:
        self.folder, self.plain, self.day = folder, settings, 0
        self.more = {**files_source(folder), "fields": FIELDS, "order": [], **more}
        self.declare(tolerance)

    def declare(self, tolerance: dict[str, Any]) -> None:
        self.settings = write_catalog(self.plain, {**self.more, "tolerance": {**LOOSE, **tolerance}}).at(NOW)

    def deliver(self, sexes: Sequence[str], start: int = 0, mobiles: int | None = None) -> BatchRecord:
        """One row for each sex, from person ``start`` on; the first ``mobiles`` have a number."""
        self.day += 1
        rows = [
            (PEOPLE[start + i][0], PEOPLE[start + i][1], sex, "13912345678" if mobiles is None or i < mobiles else "")
            for i, sex in enumerate(sexes)
        ]
        write_csv(self.folder / f"people_202610{self.day:02d}.csv", rows, header=HEADER)
        return run_resource("ab.people", self.settings)


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    folder = tmp_path / "exports"
    folder.mkdir()
    return folder


def sexes_serving(conn: Any) -> Counter[str | None]:
    conn.rollback()
    return Counter(r["sex"] for r in conn.execute("SELECT sex FROM source.ab__people WHERE _deleted_at IS NULL"))


# --- distribution ------------------------------------------------------------------------------------

VALUES = st.lists(st.sampled_from(["1", "2", "9", None]), min_size=1, max_size=40)


@given(VALUES, VALUES)
def test_the_shift_is_the_share_that_would_have_to_be_written_otherwise(
    before: list[str | None], after: list[str | None]
) -> None:
    # both made equally long; what the multisets don't share must be rewritten
    a, b = Counter(before * len(after)), Counter(after * len(before))
    rewritten = sum((a - b).values()) / (len(before) * len(after))
    assert measure_shift(Counter(before), Counter(after)) == pytest.approx(rewritten)


def test_a_snapshot_that_moves_a_code_is_held_and_the_old_data_serve(
    conn: Any, settings: Settings, exports: Path
) -> None:
    city = City(settings, exports, {"distribution": {"sex": 0.1}})
    assert city.deliver(["1"] * 100 + ["2"] * 100).status == "published"
    # 9 % move: within the band; written in another way, which says the same
    assert city.deliver(["男"] * 82 + ["女"] * 118).status == "published"
    held = city.deliver(["1"] * 20 + ["2"] * 170 + [""] * 10)
    assert held.status == "held"
    assert held.reason == (
        "“性别”的取值分布突变：按本次数据更新后与现有数据相差31.0%，超过允许的10.0%，其中“1”的占比由41.0%变为10.0%，"
        "“2”的占比由59.0%变为85.0%，空值的占比由0.0%变为5.0%。请核实是否代码填错、字段错位或只提供了部分数据。"
    )
    assert sexes_serving(conn) == {"1": 82, "2": 118}
    assert decide_held(city.settings, held.batch_id, approve=True, who="wang", why="核实无误").status == "published"
    assert sexes_serving(conn) == {"1": 20, "2": 170, None: 10}
    # what serves now is what the next delivery is compared with
    assert city.deliver(["1"] * 20 + ["2"] * 170 + [""] * 10).status == "published"
    assert city.deliver(["1"] * 45 + ["2"] * 145 + [""] * 10).status == "held"


def test_rows_that_are_carried_or_rejected_count_with_the_value_that_serves(
    conn: Any, settings: Settings, exports: Path
) -> None:
    city = City(settings, exports, {"distribution": {"sex": 0.1}, "rejected": 1})
    city.deliver(["1"] * 100 + ["2"] * 100)
    # 30 rows are rejected for a code that doesn't exist: their last good rows go on serving, nothing moves
    record = city.deliver(["1"] * 100 + ["2"] * 70 + ["7"] * 30)
    assert (record.status, record.rows_rejected, record.rows_unchanged) == ("published", 30, 170)
    assert sexes_serving(conn) == {"1": 100, "2": 100}
    held = city.deliver(["1"] * 100 + ["2"] * 70 + ["1"] * 30)
    assert (held.status, held.rows_held) == ("held", 200)
    assert "相差15.0%" in str(held.reason)


def test_a_band_declared_later_is_judged_at_the_next_delivery(conn: Any, settings: Settings, exports: Path) -> None:
    city = City(settings, exports, {})
    city.deliver(["1"] * 100 + ["2"] * 100)
    city.declare({"distribution": {"sex": 0.1}})
    assert city.deliver(["1"] * 50 + ["2"] * 150).status == "held"
    assert city.deliver(["1"] * 95 + ["2"] * 105).status == "published"
    assert city.deliver(["1"] * 70 + ["2"] * 130).status == "held"
    assert sexes_serving(conn) == {"1": 95, "2": 105}


def test_few_rows_say_nothing(settings: Settings, exports: Path) -> None:
    city = City(settings, exports, {"distribution": {"sex": 0}})
    city.deliver(["1"] * 99)
    assert city.deliver(["2"] * 99).status == "published"
    assert city.deliver(["1"] * 100).status == "published"
    assert city.deliver(["2"] * 100).status == "held"


def test_changes_are_compared_with_all_that_serves(conn: Any, settings: Settings, exports: Path) -> None:
    city = City(settings, exports, {"distribution": {"sex": 0.2}}, load="incremental")
    city.deliver(["1"] * 60 + ["2"] * 60)
    assert city.deliver(["1"] * 99, start=120).status == "published"  # too few to say anything
    assert sexes_serving(conn) == {"1": 159, "2": 60}
    assert city.deliver(["1"] * 60 + ["2"] * 40, start=0).status == "published"  # 60 % against 73 %
    held = city.deliver(["2"] * 100)
    assert held.status == "held"
    assert "本次提供的数据与现有数据相差72.6%" in str(held.reason)
    kept = conn.execute("SELECT field, counts, rows FROM ops.value_count").fetchall()
    assert [(r["field"], dict(r["counts"]), r["rows"]) for r in kept] == [("sex", {"1": 159, "2": 60}, 219)]


def test_what_serves_is_counted_again_when_a_hundredth_has_changed(
    conn: Any, settings: Settings, exports: Path
) -> None:
    city = City(settings, exports, {"distribution": {"sex": 1}}, load="incremental")

    def touched() -> int:
        conn.rollback()
        return int(conn.execute("SELECT touched FROM ops.value_count").fetchone()["touched"])

    city.deliver(["1"] * 200)
    counted = []
    for sexes in (["1"] * 100, ["2"] * 2 + ["1"] * 98, ["2"] * 3 + ["1"] * 97, ["2"] * 4 + ["1"] * 96):
        city.deliver(sexes)
        counted.append(touched())
    # nothing changed; then two rows of 200, a hundredth; then one more
    assert counted == [200, 200, 200, 203]


def test_a_personal_code_is_not_named_in_the_reason(settings: Settings, exports: Path) -> None:
    fields = [*FIELDS[:2], {**FIELDS[2], "sensitivity": 3}, FIELDS[3]]
    city = City(settings, exports, {"distribution": {"sex": 0.1}}, fields=fields)
    city.deliver(["1"] * 100 + ["2"] * 100)
    reason = str(city.deliver(["1"] * 200).reason)
    assert "“性别”的取值分布突变" in reason
    assert "占比由" not in reason


# --- empty fields ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mobiles", "status"), [(95, "published"), (94, "held")])
def test_too_many_empty_cells_hold_a_batch(
    conn: Any, settings: Settings, exports: Path, mobiles: int, status: str
) -> None:
    city = City(settings, exports, {"nulls": {"mobile": 0.05}})
    record = city.deliver(["1"] * 100, mobiles=mobiles)
    assert record.status == status
    if status == "held":
        assert record.reason == "“手机”为空的行占比为6.00%，超出允许的5.00%。"
        conn.rollback()
        assert conn.execute("SELECT to_regclass('source.ab__people') AS t").fetchone()["t"] is None


def test_few_changes_may_be_empty_but_a_snapshot_is_always_judged(settings: Settings, exports: Path) -> None:
    city = City(settings, exports, {"nulls": {"mobile": 0.05}}, load="incremental")
    assert city.deliver(["1"] * 99, mobiles=0).status == "published"
    assert city.deliver(["1"] * 100, mobiles=0).status == "held"
    whole = City(settings, exports, {"nulls": {"mobile": 0.05}})
    whole.day = 10
    assert whole.deliver(["1"] * 9, mobiles=8).status == "held"


def test_a_carried_row_counts_with_its_empty_fields(settings: Settings, exports: Path) -> None:
    city = City(settings, exports, {"nulls": {"mobile": 0.05}})
    assert city.deliver(["1"] * 100, mobiles=95).status == "published"
    record = city.deliver(["1"] * 101, mobiles=95)  # 5 carried, one new
    assert (record.status, record.reason) == ("held", "“手机”为空的行占比为5.94%，超出允许的5.00%。")


# --- catalog -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tolerance", "says"),
    [
        ({"nulls": {"moblie": 0.1}}, "names 'moblie', which is no field"),
        ({"distribution": {"person_name": 0.1}}, "has neither codes nor the type bool"),
        ({"distribution": {"sex": 1.5}}, "is 1.5, but is a share of 1"),
    ],
)
def test_a_band_of_a_field_that_cannot_be_judged_is_a_catalog_error(
    settings: Settings, exports: Path, tolerance: dict[str, Any], says: str
) -> None:
    city = City(settings, exports, tolerance)
    messages = [str(p) for p in check_catalog(city.settings.catalog)]
    assert [m for m in messages if says in m] != []
