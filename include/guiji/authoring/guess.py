"""From facts to fields: what a column probably is. What can't be known is asked, never decided.

A doubt that would reject rows, such as a length or a value range, is not declared; a draft that is too generous can
be tightened, one that is too strict would turn sound rows away.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from guiji.authoring.discover import Found, FoundColumn, geometry_encoding
from guiji.authoring.facts import ColumnFacts, TableFacts, name_codes
from guiji.authoring.personal import PHONE_PATTERN, is_about_people, propose_level, share_of
from guiji.authoring.types import SURE, find_type, find_unit
from guiji.authoring.words import Meaning, expected_codes, names_things, read_meaning
from guiji.catalog.questions import OPEN

#: share of values that is enough where the column's name says the same
LIKELY = 0.5
#: entries of a code table whose names are written out as a mapping
LARGEST_MAP = 100
#: fewer different values may be codes of a table by chance
FEWEST_VALUES = 3
_IDENTIFIERS = {
    "citizen_id": ("公民身份号码", "id_number"),
    "credit_code": ("统一社会信用代码", "credit_code"),
    "registration_number": ("注册号", "registration_number"),
    "division": ("行政区划代码", "division"),
}


@dataclass(frozen=True)
class FieldGuess:
    """One field as it is proposed; ``keys`` are those of FieldSpec, in the order they are written."""

    column: str
    keys: dict[str, Any]
    questions: tuple[str, ...] = field(default_factory=tuple)
    remark: str = ""
    #: doubts that many columns of a file share, asked once for all of them: ``level``, ``title``, ``empty``
    doubts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return str(self.keys["name"])


def guess_fields(found: Found, table: TableFacts) -> list[FieldGuess]:
    """A field per found column, in the order of the file; names are unique."""
    used: set[str] = set()
    personal = is_about_people(found.columns, table.columns)
    fields = []
    for i, column in enumerate(found.columns, 1):
        facts = table.columns.get(column.name) or ColumnFacts(0, 0, 0, 0)
        guess = _guess_field(
            column, facts, i, used, personal, _geometry_keys(found) if column.name == found.geometry else None
        )
        if found.headless:
            guess.keys["title"] = OPEN
        fields.append(guess)
    return fields


def ask_together(fields: Sequence[FieldGuess]) -> list[str]:
    """The questions that several fields share, each once with the names of its fields."""
    asked = (
        ("title", "中文名是按列名推测的，请核对"),
        ("level", "涉及个人的资源中，下列信息项暂按 3 级（个人）登记，请确认分级"),
        ("empty", "样本中整列为空，类型无从判断"),
    )
    named = {doubt: [f for f in fields if doubt in f.doubts] for doubt, _ in asked}
    return [
        f"{question}："
        + "、".join(f"{f.name} {f.keys['title']}" if f.keys["title"] != OPEN else f.name for f in named[doubt])
        for doubt, question in asked
        if named[doubt]
    ]


def _geometry_keys(found: Found) -> dict[str, Any]:
    return {"type": "geometry", "encoding": geometry_encoding(found), "crs": found.crs or OPEN}


def _meaning(column: FoundColumn) -> Meaning:
    return read_meaning(column.name, column.comment)


def _guess_field(
    column: FoundColumn,
    facts: ColumnFacts,
    number: int,
    used: set[str],
    personal: bool,
    geometry: dict[str, Any] | None,
) -> FieldGuess:
    meaning = _meaning(column)
    questions: list[str] = []
    content, identified = _guess_content(column, meaning, facts, questions, geometry)
    title = meaning.title
    if title is None and identified:
        title = _IDENTIFIERS[identified][0]
    doubts = ["title"] if meaning.guessed else []
    name = _name_field(column.name, meaning, identified, number, used)
    keys: dict[str, Any] = {"name": name, "title": title or OPEN}
    if keys["title"] != column.name:
        keys["column"] = column.name
    keys |= content
    level, raised = propose_level(column, meaning, facts, content, personal=personal)
    if level > 1:
        keys["sensitivity"] = level
    if raised == "default":
        doubts.append("level")
    elif raised:
        questions.append(raised)
    if facts.rows and not facts.filled and geometry is None:
        doubts.append("empty")
    return FieldGuess(column.name, keys, tuple(questions), _remark(facts), tuple(doubts))


def _remark(facts: ColumnFacts) -> str:
    if not facts.given:
        return ""
    parts = [f"非空 {facts.filled / facts.rows:.0%}" if facts.filled < facts.rows else "无空值"]
    parts.append("无重复" if facts.is_unique else f"{facts.distinct:,} 种取值")
    parts.append(
        f"长度 {facts.shortest}–{facts.longest}" if facts.shortest != facts.longest else f"长度 {facts.longest}"
    )
    return "，".join(parts)


def _name_field(column: str, meaning: Meaning, identified: str | None, number: int, used: set[str]) -> str:
    """A short ASCII name that no other field has."""
    word = meaning.name
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,40}", column):
        word = column.lower()
    elif word is None and identified:
        word = _IDENTIFIERS[identified][1]
    name, n = word or f"f{number:02d}", 2
    while name in used:
        name, n = f"{word or f'f{number:02d}'}_{n}", n + 1
    used.add(name)
    return name


def _guess_content(
    column: FoundColumn, meaning: Meaning, facts: ColumnFacts, questions: list[str], geometry: dict[str, Any] | None
) -> tuple[dict[str, Any], str | None]:
    """(keys that say what the values are, the identifier they are)."""
    if geometry is not None:
        if geometry["crs"] == OPEN:
            questions.append("坐标系：请按图层说明填写，如 EPSG:4490（CGCS2000 经纬度）、EPSG:4326（WGS84）")
        return geometry, None
    title = meaning.title or column.name
    identified = _find_identifier(meaning, facts, questions)
    if identified:
        return {"identifier": identified}, identified
    if facts.given and facts.shapes.get("phone", 0) >= facts.given * SURE and facts.distinct > 1:
        return {"pattern": PHONE_PATTERN, "severity": "warn"}, None
    if (coded := _find_codes(title, facts, questions)) is not None:
        return coded, None
    for shape in ("wkt", "geojson"):
        if facts.has(shape):
            questions.append("坐标系：请按数据说明填写，如 EPSG:4490（CGCS2000 经纬度）、EPSG:4326（WGS84）")
            return {"type": "geometry", "encoding": shape, "crs": OPEN}, None
    typed = find_type(column, title, facts, questions)
    if typed and facts.null_tokens:
        typed["null_tokens"] = list(facts.null_tokens)
    if not typed and facts.has("nested"):
        questions.append("值是嵌套内容（JSON），按文本整段登记；其中的数据项如需分列，请部门展开后提供")
    if (unit := find_unit(title)) and re.match("int64|decimal", str(typed.get("type"))):
        typed["unit"] = unit
    return typed, None


def _find_identifier(meaning: Meaning, facts: ColumnFacts, questions: list[str]) -> str | None:
    named = next((kind for kind, (_, name) in _IDENTIFIERS.items() if meaning.name == name), None)
    if meaning.name == "other_id_number":
        named = "citizen_id"
    elif named is None and re.search("区划|地区|所在地|籍贯|旗区|纳税人识别号", meaning.title or ""):
        named = "credit_code" if "纳税" in str(meaning.title) else "division"
        if share_of(facts, named) < SURE:
            named = None
    order = [named] if named else []
    order += [k for k in ("citizen_id", "credit_code", "registration_number", "division") if k != named]
    for kind in order:
        share = share_of(facts, kind)
        if share < (LIKELY if kind == named else SURE):
            continue
        word = _IDENTIFIERS[kind][0]
        if kind == "division" and kind != named:
            # six digits, or the first six of twelve, may be those of a division by chance
            if facts.distinct < FEWEST_VALUES or meaning.name in ("age", "amount", "quantity", "value"):
                continue
            questions.append(f"值像{word}，列名没有这样说，未按此登记；如是，加 identifier: division")
            return None
        if kind == "citizen_id" and share < 1 and not re.search("身份|社会保障", meaning.title or "身份"):
            # other documents have other numbers: a passport is no wrong number of a citizen
            questions.append(
                f"样本中 {1 - share:.1%} 的值不是公民身份号码，可能混有护照等其他证件，未按公民身份号码登记；"
                "只应有公民身份号码的，加 identifier: citizen_id，其余的值将被拒收"
            )
            return None
        if share < 1:
            questions.append(f"按{word}登记：样本中 {1 - share:.1%} 的值不合规则，将被拒收")
        if kind != named:
            questions.append(f"按值登记为{word}，请确认")
        return kind
    if named and facts.given:
        questions.append(
            f"列名像{_IDENTIFIERS[named][0]}，但样本中只有 {share_of(facts, named):.0%} 的值符合规则，未按此登记"
        )
    return None


def _find_codes(title: str, facts: ColumnFacts, questions: list[str]) -> dict[str, Any] | None:
    wanted = expected_codes(title)
    if wanted is None or not facts.given:
        possible = [
            t
            for t, (coded, _) in facts.tables.items()
            if coded == facts.given and facts.distinct >= FEWEST_VALUES and facts.shortest >= 2
        ]
        # two digits of an age or a number of things are codes by chance
        if possible and (names_things(title) or re.search("类|型|别", title) or not facts.has("integer")):
            questions.append(f"所有取值都在代码表 {'、'.join(possible)} 内：如是，加 codes")
        return None
    coded, named = facts.tables.get(wanted, (0, 0))
    if (coded + named) / facts.given < SURE:
        questions.append(
            f"列名像代码表 {wanted}，但样本中只有 {(coded + named) / facts.given:.0%} 的值在表内，未按此登记；"
            "如确是本部门自编的代码，在 code_map 中逐一对应后加 codes"
        )
        return None
    keys: dict[str, Any] = {"codes": wanted}
    if named:
        from guiji.codes import load_code_table

        # the whole table and never what stands in the column: no value of a person is written into the catalog
        names = name_codes(load_code_table(wanted))
        if len(names) > LARGEST_MAP * 2:
            questions.append(f"取值是文字，像代码表 {wanted} 的名称：表太大，未逐一对应；请部门改报代码")
            return None
        keys["code_map"] = {"fixable": names}
        questions.append(f"取值是文字，按代码表 {wanted} 的名称对应为代码")
    if outside := facts.given - coded - named:
        questions.append(f"有 {outside:,} 行的值不在代码表内，将被拒收；本部门的写法请在 code_map 中说明")
    if facts.null_tokens:
        keys["null_tokens"] = list(facts.null_tokens)
    return keys
