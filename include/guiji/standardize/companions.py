"""What a row says elsewhere about the holder of its identifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guiji.catalog.models import FieldSpec

_BIRTH_TITLES = {"出生日期", "出生年月日", "生日"}
_BIRTH_NAMES = {"birth", "birth_date", "birthday", "date_of_birth", "csrq"}
_SEX_TITLES = {"性别", "性别代码"}


def find_companions(fields: Sequence[FieldSpec]) -> dict[str, tuple[tuple[str, int, str], ...]]:
    """What the row says elsewhere about the holder of its identifier, by identifier; only where it is beyond doubt.

    ``birth`` and ``sex`` beside the one citizen id of a resource, ``credit_code`` beside its one registration number.
    """
    found: dict[str, tuple[tuple[str, int, str], ...]] = {}

    def only(chosen: list[int]) -> int | None:
        return chosen[0] if len(chosen) == 1 else None

    def text_of(i: int) -> str:
        return f"_m{i}" if fields[i].code_map.fixable or fields[i].code_map.ignored else f"_t{i}"

    if only([i for i, f in enumerate(fields) if f.identifier == "citizen_id"]) is not None:
        dated = [i for i, f in enumerate(fields) if f.type in ("date32", "timestamp")]
        birth = only([i for i in dated if fields[i].title in _BIRTH_TITLES or fields[i].name in _BIRTH_NAMES])
        texts = [i for i, f in enumerate(fields) if f.type == "string"]
        sex = only([i for i in texts if fields[i].codes == "sex" or fields[i].title in _SEX_TITLES])
        found["citizen_id"] = tuple(
            c
            for c in (
                ("birth", birth, f"_c{birth}::DATE") if birth is not None else None,
                ("sex", sex, text_of(sex)) if sex is not None else None,
            )
            if c is not None
        )
    if only([i for i, f in enumerate(fields) if f.identifier == "registration_number"]) is not None:
        credit = only([i for i, f in enumerate(fields) if f.identifier == "credit_code" and f.type == "string"])
        if credit is not None:
            found["registration_number"] = (("credit_code", credit, text_of(credit)),)
    return found
