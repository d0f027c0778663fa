"""Names in a file that are values of its rows: a list per citizen's number, a sheet per person. A draft is committed, so
such a name does not stand in it: an identifier refuses the file, what may be a person is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from guiji.errors import UsageError
from guiji.masking import looks_like_name, scrub, show_name

#: names in one note
_SHOWN = 20


def is_identifier(name: str) -> bool:
    """Whether a name holds a citizen's, phone or card number."""
    return scrub(name) != name


def refuse_identifiers(names: Iterable[str], what: str, kind: str) -> None:
    """Raises UsageError where ``names``, those of ``kind``, are values. The pipeline could not read the next file either:
    its names are others."""
    found = [n for n in names if is_identifier(n)]
    if found:
        shown = ", ".join(dict.fromkeys(map(scrub, found[:3])))
        raise UsageError(
            f"{what} has {len(found)} {kind} named by values ({shown}): an object keyed by values is no table, and the "
            "next file's names are others. Nothing was written; ask the department for a list of records with the value "
            "in a field of its own."
        )


def may_be_person(names: Iterable[str]) -> bool:
    """Whether one of the names may be a person's: then none of them is written, and the place is asked for."""
    return any(looks_like_name(n) or is_identifier(n) for n in names)


def ask_names(place: str, names: Sequence[str]) -> str:
    """The question where names were not written."""
    return f"{place}：{list_names(names)} 可能是人名，未写入；不是的请照原文填写，是的请部门改为一列"


def list_names(names: Sequence[str], by: str = "、") -> str:
    """Names of lists and sheets as a draft may show them."""
    shown = by.join(show_name(n) for n in names[:_SHOWN])
    return shown + (f" 等 {len(names)} 个" if len(names) > _SHOWN else "")
