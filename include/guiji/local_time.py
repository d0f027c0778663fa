"""Times of day that a text gives without an offset, where the clocks of its zone were moved (F-08).

On a day when the clocks went forward an hour does not exist; when they went back one passed twice (China: 1940 to 1949
and 1986 to 1991, the years in which many of its citizens were born). No instant can be told from such a time: the field
has no value, and the row is told with what the department can write instead. What is finer than a microsecond has no
place in the warehouse: it is cut off, and that is told too.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from guiji.casting import cast_local
from guiji.engine import quote_text

if TYPE_CHECKING:
    from guiji.catalog.models import FieldSpec

#: last part of the rule's id -> what ``judge_local_time`` says of such a time
KINDS = {"skipped_time": 1, "ambiguous_time": 2}
#: last part of the rule's id of a time that was finer than a microsecond
FRACTION = "fraction"

#: a zone whose clocks were moved later than this may move them again
_SETTLED = datetime(2020, 1, 1, tzinfo=UTC)


def judge_local_time(local: str, moment: str, zone: str) -> str:
    """SQL: which of ``KINDS`` the naive time ``local`` is, of which the engine made ``moment``; 0 for none.

    Both are expressions; ``local`` is null where the text gave its offset itself.
    """

    def clock(instant: str) -> str:
        return f"({instant})::TIMESTAMP"

    def offset(instant: str) -> str:
        return f"(epoch_us({clock(instant)}) - epoch_us({instant}))"

    # the engine picks one of the two instants; the other is away by what the clocks were moved
    moved = f"({offset(f'({moment} - INTERVAL 24 HOUR)')} - {offset(f'({moment} + INTERVAL 24 HOUR)')})"
    twice = " OR ".join(f"{clock(f'{moment} {sign} to_microseconds({moved})')} = {local}" for sign in "+-")
    told = (
        f"CASE WHEN {clock(moment)} <> {local} THEN {KINDS['skipped_time']} "
        f"WHEN {moved} <> 0 AND ({twice}) THEN {KINDS['ambiguous_time']} ELSE 0 END"
    )
    settled = find_last_change(zone)
    if settled is None:
        return f"CASE WHEN isfinite({moment}) THEN {told} ELSE 0 END"
    # nearly every time is later than the last change: nothing is computed for it
    return f"CASE WHEN {moment} < TIMESTAMPTZ {quote_text(settled.isoformat())} AND isfinite({moment}) THEN {told} ELSE 0 END"


def read_local(spec: FieldSpec, text: str | None, column: str, arrow_type: str) -> str | None:
    """SQL: the naive time that a field's value was made of; None where the column's type holds instants.

    ``text``: the cleaned text that is cast, None where the ``column`` comes in a type of its own.
    """
    if text is not None:
        return cast_local(spec, text)
    return None if "tz=" in arrow_type.lower() else f"{column}::TIMESTAMP"


def is_cut(spec: FieldSpec, text: str) -> str:
    """SQL: whether the cleaned ``text`` says more than microseconds."""
    finer = r"[^0-9][0-9]{6}0*[1-9]"
    if not spec.formats:
        return f"CASE WHEN length({text}) > 26 THEN regexp_matches({text}, {quote_text(finer)}) ELSE false END"
    if not any("%n" in form for form in spec.formats):
        return "false"
    return f"coalesce(regexp_matches({text}, {quote_text(finer)}), false)"


def say_local_time(title: str, kind: str) -> tuple[str, str]:
    """(what is demanded, how it is mended), for the field of this title."""
    if kind == FRACTION:
        return (
            f"“{title}”的秒最多保留六位小数（微秒）",
            "已自动舍去微秒以后的数字；无需处理，如需完整保留，请申请将该信息项登记为文本。",
        )
    offsets = f"请核对“{title}”后更正；确为该时刻的，请注明时区（如 +08:00、夏令时 +09:00），只需精确到日的，请申请将该信息项登记为日期。"
    if kind == "skipped_time":
        return f"“{title}”必须是存在的时间（夏令时开始时拨快，该时刻不存在）", offsets
    return f"“{title}”必须能确定是哪一时刻（夏令时结束时拨慢，该时刻出现两次）", offsets


@lru_cache(maxsize=64)
def find_last_change(zone: str) -> datetime | None:
    """An instant after which the clocks of ``zone`` were not moved; None where they may be moved again."""
    place, week = ZoneInfo(zone), timedelta(days=7)
    moment = last = datetime(2037, 12, 28, tzinfo=UTC)
    offset = last.astimezone(place).utcoffset()
    while moment > datetime(1800, 1, 1, tzinfo=UTC):
        if moment.astimezone(place).utcoffset() != offset:
            # two days more: times are compared with what the clocks showed a day before and after
            return None if moment > _SETTLED else moment + week + timedelta(days=2)
        moment -= week
    return moment
