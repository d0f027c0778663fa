"""The declared columns of a resource against the columns of a delivery, in both directions (F-16).

A delivery's column is found by its declared name or an alias, spelled the same after normalisation (width, blanks,
invisible characters). What is emitted always carries the declared source name, so that later steps need no guess.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guiji.errors import DeliveryRefused
from guiji.masking import show_name

if TYPE_CHECKING:
    from guiji.catalog.models import FieldSpec, Layout, Resource
    from guiji.records import ReadReport

_INVISIBLE = re.compile(r"[\s\ufeff\u200b-\u200f\u2060\u00ad]+")
_LOST = re.compile("\ufffd|锟斤拷|烫烫烫|锘")
_LATIN_READ_AS = re.compile("(?:[\u00c0-\u00f7][\u0080-\u00bf]){2}")


@dataclass(frozen=True)
class Expected:
    """What a resource's delivery must look like."""

    resource_id: str
    contract: str
    columns: tuple[str, ...]  # source names to emit, in declared order
    required: frozenset[str]
    spellings: dict[str, str]  # normalised spelling -> source name
    fields: dict[str, FieldSpec]  # source name -> its (first) field
    keys: frozenset[str] = frozenset()  # source names of the key's fields
    zone: str = "Asia/Shanghai"  # of times that say no offset

    def source_name(self, name: str) -> str | None:
        return self.spellings.get(normalise_name(name))


@dataclass(frozen=True)
class HeaderMatch:
    """Where the declared columns stand in a header."""

    index: dict[str, int]  # source name -> position
    missing: tuple[str, ...]  # optional columns that are not there
    unnamed: tuple[int, ...]  # positions without a name; their cells must be empty
    pivoted: dict[int, str]  # position -> what the column name says (unpivot)
    width: int


def normalise_name(name: str) -> str:
    """A column name without blanks, invisible characters and width differences, in lower case."""
    return _INVISIBLE.sub("", unicodedata.normalize("NFKC", name)).lower()


#: columns that a message names; it counts the others
MOST_NAMED = 50
#: columns among which the nearest name is looked for
MOST_COMPARED = 1_000


def expected_columns(resource: Resource) -> Expected:
    """The columns that a delivery of ``resource`` must have; fields that are made here need none."""
    columns: list[str] = []
    required: set[str] = set()
    spellings: dict[str, str] = {}
    fields: dict[str, FieldSpec] = {}
    for field in resource.model.fields:
        if field.is_made:
            continue
        name = field.source_column
        if name not in fields:
            columns.append(name)
            fields[name] = field
        if field.required:
            required.add(name)
        for spelling in (name, *field.aliases):
            spellings.setdefault(normalise_name(spelling), name)
    model = resource.model
    keys = frozenset(f.source_column for f in model.fields if f.name in model.key and not f.is_made)
    return Expected(
        resource.id, model.contract, tuple(columns), frozenset(required), spellings, fields, keys, model.time_zone
    )


def sheet_columns(layout: Layout) -> tuple[str, ...]:
    """The columns that a sheet's name fills (the named groups of ``layout.sheets``)."""
    return tuple(re.compile(layout.sheets).groupindex) if layout.sheets else ()


def header_columns(expected: Expected, layout: Layout) -> tuple[set[str], frozenset[str]]:
    """(source names looked for in the header, those that must be there) once the layout adds and unpivots columns."""
    derived = {*layout.metadata, *sheet_columns(layout)}
    if layout.unpivot:
        derived |= {layout.unpivot.into, layout.unpivot.value}
    looked_for = {c for c in expected.columns if c not in derived}
    required = {c for c in expected.required if c not in derived}
    if layout.unpivot:
        looked_for |= set(layout.unpivot.keep)
        required |= set(layout.unpivot.keep)
    return looked_for, frozenset(required)


def count_matches(expected: Expected, layout: Layout, cells: Sequence[str]) -> int:
    """How many of the columns looked for stand in ``cells``; tells a header from a title."""
    looked_for, _ = header_columns(expected, layout)
    spelled = {normalise_name(c): c for c in looked_for} | expected.spellings
    return len({spelled[n] for c in cells if (n := normalise_name(c)) in spelled} & looked_for)


def note_delivered(report: ReadReport, names: Sequence[str], types: Sequence[str] = ()) -> None:
    """Keeps the columns as they were delivered, for the schema fingerprint of the batch. Of several files in one
    delivery each column counts once, in the order in which it first came."""
    there = {name for name, _ in report.delivered}
    kinds = types or [""] * len(names)
    for name, kind in zip((n.strip() for n in names), kinds, strict=True):
        if name and name not in there:
            there.add(name)
            report.delivered.append((name, kind))


def match_header(
    expected: Expected,
    layout: Layout,
    names: Sequence[str],
    report: ReadReport,
    what: str,
    types: Sequence[str] = (),
) -> HeaderMatch:
    """Where each declared column stands in ``names``; ``types`` are theirs where the form of supply has types.

    Raises DeliveryRefused for a column set that the contract does not allow, for a column that is there twice, and for
    a garbled header; the error carries the columns as delivered."""
    # the columns that an unpivot turns into rows change with every period: they count as the one that is declared
    wide = re.compile(layout.unpivot.columns) if layout.unpivot else None
    shown = [wide.pattern if wide and wide.fullmatch(n.strip()) else n for n in names]
    note_delivered(report, shown, types)
    try:
        return _match_header(expected, layout, names, report, what)
    except DeliveryRefused as error:
        error.context.setdefault("delivered", list(report.delivered))
        raise


def _match_header(
    expected: Expected, layout: Layout, names: Sequence[str], report: ReadReport, what: str
) -> HeaderMatch:
    refuse_garbled(names, what)
    looked_for, required = header_columns(expected, layout)
    spelled = {normalise_name(c): c for c in looked_for} | expected.spellings
    pattern = re.compile(layout.unpivot.columns) if layout.unpivot else None
    index: dict[str, int] = {}
    undeclared: list[str] = []
    unnamed: list[int] = []
    pivoted: dict[int, str] = {}
    for position, name in enumerate(names):
        normal = normalise_name(name)
        source = spelled.get(normal)
        if not normal:
            unnamed.append(position)
        elif source in looked_for:
            assert source is not None
            if source in index:
                raise DeliveryRefused(
                    f"{what}：列“{source}”出现了两次，无法判断以哪一列为准。现有数据继续有效；请只保留一列后重新提供。",
                    rule_id="delivery.duplicate_column",
                    columns=[source],
                )
            index[source] = position
        elif pattern and (found := pattern.fullmatch(name.strip())):
            said = found.group(1) if pattern.groups else found.group()
            if said in pivoted.values():
                raise DeliveryRefused(
                    f"{what}：列“{show_name(name.strip())}”出现了两次，无法判断以哪一列为准。现有数据继续有效；请只保留一列后重新提供。",
                    rule_id="delivery.duplicate_column",
                )
            pivoted[position] = said
        else:
            undeclared.append(name.strip())
    missing = [c for c in expected.columns if c in looked_for and c not in index]
    missing += [c for c in looked_for if c not in index and c not in missing]
    check_missing(expected, [c for c in missing if c in required], undeclared, what)
    check_undeclared(expected, undeclared, missing, report, what)
    if pattern and not pivoted:
        raise DeliveryRefused(
            f"{what}：没有一列符合“{pattern.pattern}”。现有数据继续有效；请按约定的表头重新提供。",
            rule_id="delivery.missing_column",
        )
    if missing:
        report.notes.append(f"{what}：未提供可选列 {'、'.join(missing)}")
    return HeaderMatch(index, tuple(missing), tuple(unnamed), pivoted, len(names))


def check_missing(expected: Expected, missing: Sequence[str], undeclared: Sequence[str], what: str) -> None:
    """Raises DeliveryRefused naming the required columns that are not there, with the nearest name that is."""
    if not missing:
        return
    said, others = [], list(undeclared)
    for name in missing:
        near = difflib.get_close_matches(name, undeclared[:MOST_COMPARED], n=1, cutoff=0.5)
        said.append(f"“{name}”" + (f"（是否写成了“{near[0]}”？）" if near else ""))
        others = [n for n in others if n not in near]
    # what is there instead says whether the column was left out or called otherwise
    beside = f"；另有未登记的列 {'、'.join(f'“{show_name(n)}”' for n in others[:8])}" if others else ""
    beside += "等" if len(others) > 8 else ""
    raise DeliveryRefused(
        f"{what}：缺少必需的列 {'、'.join(said)}{beside}。现有数据继续有效；请补上这些列（改了名称的改回原名）后重新提供。",
        rule_id="delivery.missing_column",
        columns=list(missing),
    )


def check_undeclared(
    expected: Expected, undeclared: Sequence[str], missing: Sequence[str], report: ReadReport, what: str
) -> None:
    """Undeclared columns: ``freeze`` refuses them with the nearest declared name, the other contracts note them."""
    if not undeclared:
        return
    if expected.contract == "freeze":
        declared = list(missing) + [c for c in expected.columns if c not in missing]
        said = []
        for name in undeclared[:MOST_NAMED]:
            near = difflib.get_close_matches(name, declared, n=1, cutoff=0.5)
            # what is nearly called like a declared column is that column; else it may be a person (a matrix of names)
            shown = name if near else show_name(name)
            said.append(f"“{shown}”" + (f"（是否应为“{near[0]}”？）" if near else ""))
        raise DeliveryRefused(
            f"{what}：出现了目录中未登记的列 {'、'.join(said)}{_count_more(undeclared)}。现有数据继续有效；"
            "请删去或改正这些列后重新提供，确需新增的请先在资源目录中登记。",
            rule_id="delivery.undeclared_column",
            columns=list(undeclared),
        )
    verb = "已忽略" if expected.contract == "discard" else "未登记，暂未采集，请在资源目录中登记"
    report.notes.append(
        f"{what}：新增列 {'、'.join(map(show_name, undeclared[:MOST_NAMED]))}{_count_more(undeclared)}，{verb}"
    )


def _count_more(names: Sequence[str]) -> str:
    return f" 等 {len(names):,} 列" if len(names) > MOST_NAMED else ""


def refuse_garbled(names: Sequence[str], what: str) -> None:
    """Raises DeliveryRefused when a header shows the marks of a text that was decoded wrongly before it reached us."""
    joined = "".join(names)
    if _LOST.search(joined) or _LATIN_READ_AS.search(joined):
        raise DeliveryRefused(
            f"{what}：表头是乱码（文件在导出或转换时已损坏，原文无法恢复）。现有数据继续有效；"
            "请从业务系统重新导出，保存为 UTF-8 或 GB18030 后重新提供。",
            rule_id="delivery.garbled",
        )
