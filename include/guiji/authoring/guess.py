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
from guiji.authoring.facts import DATE_FORMATS, TIME_FORMATS, ColumnFacts, TableFacts
from guiji.authoring.words import Meaning, expected_codes, names_things, rank_key, read_meaning
from guiji.catalog.questions import OPEN

#: share of values that make a column what they are; less, where the column's name says the same
SURE, LIKELY = 0.9, 0.5
#: entries of a code table whose names are written out as a mapping
LARGEST_MAP = 100
PHONE_PATTERN = r"1[3-9]\d{9}|0\d{2,3}-?\d{7,8}"
_IDENTIFIERS = {
    "citizen_id": ("公民身份号码", "id_number", 4),
    "credit_code": ("统一社会信用代码", "credit_code", 1),
    "registration_number": ("注册号", "registration_number", 1),
    "division": ("行政区划代码", "division", 1),
}


@dataclass(frozen=True)
class FieldGuess:
    """One field as it is proposed; ``keys`` are those of FieldSpec, in the order they are written."""

    column: str
    keys: dict[str, Any]
    questions: tuple[str, ...] = field(default_factory=tuple)
    remark: str = ""

    @property
    def name(self) -> str:
        return str(self.keys["name"])


def guess_fields(found: Found, table: TableFacts) -> list[FieldGuess]:
    """A field per found column, in the order of the file; names are unique."""
    used: set[str] = set()
    personal = any(
        _share(table.columns.get(c.name), "citizen_id") >= LIKELY or _meaning(c).name in ("name", "id_number")
        for c in found.columns
    )
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


def _geometry_keys(found: Found) -> dict[str, Any]:
    return {"type": "geometry", "encoding": geometry_encoding(found), "crs": found.crs or OPEN}


def _meaning(column: FoundColumn) -> Meaning:
    return read_meaning(column.name, column.comment)


def _share(facts: ColumnFacts | None, kind: str) -> float:
    good, judged = facts.identifiers.get(kind, (0, 0)) if facts else (0, 0)
    return good / judged if judged else 0.0


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
    if meaning.guessed:
        questions.append(f"中文名“{title}”是按列名推测的")
    name = _name_field(column.name, meaning, identified, number, used)
    keys: dict[str, Any] = {"name": name, "title": title or OPEN}
    if keys["title"] != column.name:
        keys["column"] = column.name
    keys |= content
    level = _level(meaning, identified, content, personal, questions)
    if level > 1:
        keys["sensitivity"] = level
    if facts.rows and not facts.filled and geometry is None:
        questions.append("样本中整列为空，类型无从判断")
    return FieldGuess(column.name, keys, tuple(questions), _remark(facts))


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
    typed = _find_type(column, title, facts, questions)
    if typed and facts.null_tokens:
        typed["null_tokens"] = list(facts.null_tokens)
    return typed, None


def _find_identifier(meaning: Meaning, facts: ColumnFacts, questions: list[str]) -> str | None:
    named = next(
        (
            kind
            for kind, (_, name, _) in _IDENTIFIERS.items()
            if meaning.name == name or (kind == "citizen_id" and meaning.name == "other_id_number")
        ),
        None,
    )
    order = [named] if named else []
    order += [k for k in ("citizen_id", "credit_code", "registration_number", "division") if k != named]
    for kind in order:
        share = _share(facts, kind)
        # a handful of six-digit numbers may be divisions by chance
        enough = facts.distinct >= 3 or kind != "division" or kind == named
        if enough and (share >= SURE or (kind == named and share >= LIKELY)):
            if share < 1:
                questions.append(f"按{_IDENTIFIERS[kind][0]}登记：样本中 {1 - share:.1%} 的值不合规则，将被拒收")
            return kind
    if named and facts.given:
        questions.append(
            f"列名像{_IDENTIFIERS[named][0]}，但样本中只有 {_share(facts, named):.0%} 的值符合规则，未按此登记"
        )
    return None


def _find_codes(title: str, facts: ColumnFacts, questions: list[str]) -> dict[str, Any] | None:
    wanted = expected_codes(title)
    if wanted is None or not facts.given:
        possible = [
            t
            for t, (coded, _) in facts.tables.items()
            if coded == facts.given and facts.distinct >= 3 and facts.shortest >= 2
        ]
        if possible:
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
        names = load_code_table(wanted).names
        if len(names) > LARGEST_MAP:
            questions.append(f"取值是文字，像代码表 {wanted} 的名称：表太大，未逐一对应；请部门改报代码")
            return None
        keys["code_map"] = {"fixable": {word: code for code, word in names.items()}}
        questions.append(f"取值是文字，按代码表 {wanted} 的名称对应为代码")
    if outside := facts.given - coded - named:
        questions.append(f"有 {outside:,} 行的值不在代码表内，将被拒收；本部门的写法请在 code_map 中说明")
    if facts.null_tokens:
        keys["null_tokens"] = list(facts.null_tokens)
    return keys


def _find_type(column: FoundColumn, title: str, facts: ColumnFacts, questions: list[str]) -> dict[str, Any]:
    declared = _declared_type(column.declared, facts)
    if declared is None and column.proposed is not None:
        declared = _fit_proposed(column.proposed, facts)
        if declared == {"type": "timestamp"} and (column.declared or "").upper() == "DATE":
            questions.append("数据库的 DATE 带时分秒，按日期时间登记；如只到日，写 type: date32")
    if declared is not None:
        return declared
    if not facts.given:
        return {}
    if (dated := _find_dates(facts, questions)) is not None:
        return dated
    if facts.has("yes_no") or facts.has("true_false"):
        return {"type": "bool"}
    if names_things(title) or names_things(column.name):
        return {}
    if facts.has("integer") and facts.longest <= 15:
        if facts.shortest == facts.longest >= 5:
            questions.append("值全是等长的数字，像编码，按文本登记；如是数量，写 type: int64")
            return {}
        return {"type": "int64"}
    if facts.has("decimal") and facts.scale and facts.integer_digits + facts.scale <= 34:
        return {"type": f"decimal128({min(38, max(facts.integer_digits + 4, 10) + facts.scale)},{facts.scale})"}
    if facts.has("exponent") and facts.scale:
        questions.append("有科学记数法写的数，精度可能在导出时已丢失")
        return {"type": "float64"}
    if facts.has("integer"):
        questions.append("值全是超过 15 位的整数，按文本登记")
    return {}


def _find_dates(facts: ColumnFacts, questions: list[str]) -> dict[str, Any] | None:
    for kind, formats in (("date32", DATE_FORMATS), ("timestamp", {**TIME_FORMATS, **DATE_FORMATS})):
        there = {f: n for f in formats if (n := facts.shapes.get(f, 0))}
        if not there:
            continue
        day, month = there.pop("%d/%m/%Y", 0), there.pop("%m/%d/%Y", 0)
        fitting = sum(there.values()) + max(day, month)
        zero = facts.shapes.get("zero_date", 0)
        if fitting + zero < facts.given * SURE:
            continue
        chosen = list(there)
        if day or month:
            if day == month:
                questions.append("日和月分不清（如 01/02/2024）：请确认后写 %d/%m/%Y 或 %m/%d/%Y")
                chosen.append(OPEN)
            else:
                chosen.append("%d/%m/%Y" if day > month else "%m/%d/%Y")
        if facts.given > fitting:
            questions.append(f"有 {facts.given - fitting:,} 行的值不是有效日期，将被拒收（0000-00-00 按空值处理）")
        iso = {"%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S.%f"}
        keys: dict[str, Any] = {"type": kind}
        if not set(chosen) <= iso:
            keys["formats"] = chosen
        return keys
    return None


def _declared_type(declared: str | None, facts: ColumnFacts) -> dict[str, Any] | None:
    """A database's own type, where the values agree with it."""
    word = (declared or "").upper()
    engine = facts.arrow_type.upper()
    if m := re.match(r"(?:NUMERIC|DECIMAL|NUMBER)\((\d+)\s*,\s*(\d+)\)", word):
        precision, scale = int(m[1]), int(m[2])
        fits = not facts.given or (facts.has("decimal") and facts.scale <= scale)
        if 1 <= precision <= 38 and scale <= precision and fits:
            return {"type": f"decimal128({precision},{scale})"}
    if engine in ("BIGINT", "INTEGER", "SMALLINT", "TINYINT"):
        return {"type": "int64"}
    if engine in ("DOUBLE", "FLOAT"):
        return {"type": "float64"}
    if engine == "BOOLEAN":
        return {"type": "bool"}
    if engine == "DATE":
        return {"type": "date32"}
    if engine.startswith("TIMESTAMP"):
        return {"type": "timestamp"}
    if re.match(r"(BIG|SMALL|MEDIUM|TINY)?INT(EGER)?\b", word) and facts.has("integer"):
        return {"type": "int64"}
    if re.match(r"(VAR|N|NVAR)?CHAR|TEXT|CLOB|STRING|UUID", word):
        return None if facts.has("wkt") else _text_of_database(facts)
    return None


def _fit_proposed(proposed: str, facts: ColumnFacts) -> dict[str, Any] | None:
    """What the database's type stands for, unless the values that came say otherwise."""
    if proposed == "string":
        return None if facts.has("wkt") else _text_of_database(facts)
    if proposed == "geometry":
        return None  # which encoding and system it has, the values tell
    days = sum(facts.shapes.get(f, 0) for f in DATE_FORMATS)
    zero = facts.shapes.get("zero_date", 0)
    if proposed.startswith("decimal"):
        scale = int(proposed.rstrip(")").split(",")[1])
        fits = facts.has("decimal") and facts.scale <= scale
    else:
        fits = {
            "int64": facts.has("integer") and facts.longest <= 19,
            "float64": facts.has("exponent"),
            "bool": facts.has("true_false") or (facts.has("integer") and facts.longest == 1),
            "date32": days + zero == facts.given,
            "timestamp": True,  # the dialect writes it in full, whatever its precision and zone
        }[proposed]
    return {"type": proposed} if fits or not facts.given else None


def _text_of_database(facts: ColumnFacts) -> dict[str, Any] | None:
    """Text in a database is text, unless it holds dates: a number there is a code with its leading zeros."""
    dates = sum(facts.shapes.get(f, 0) for f in (*DATE_FORMATS, *TIME_FORMATS))
    return None if facts.given and dates >= facts.given * SURE else {}


def _level(
    meaning: Meaning, identified: str | None, content: dict[str, Any], personal: bool, questions: list[str]
) -> int:
    if identified == "citizen_id":
        return 4
    if content.get("pattern") == PHONE_PATTERN:
        return 3
    if identified:
        return max(_IDENTIFIERS[identified][2], 2 if personal else 1)
    if meaning.sensitivity is not None:
        return max(meaning.sensitivity, 2 if personal else 1)
    if personal and content.get("type", "string") == "string" and "codes" not in content:
        questions.append("个人信息资源中的文字列，暂按 3 级（个人）登记，请确认分级")
        return 3
    return 2 if personal else 1


# --- the key -------------------------------------------------------------------------------------------


def guess_key(found: Found, table: TableFacts, fields: Sequence[FieldGuess]) -> tuple[list[str], list[str]]:
    """(names of the key's fields, or one open answer; questions)."""
    by_column = {f.column: f for f in fields}
    if found.key and all(c in by_column for c in found.key):
        return [by_column[c].name for c in found.key], []
    sample = "" if table.complete else "（只读了前面的行）"
    ranked = []
    for column, facts in table.columns.items():
        guess = by_column[column]
        if not facts.is_unique or guess.keys.get("type", "string") not in ("string", "int64"):
            continue
        rank = rank_key(str(guess.keys["title"]), column)
        if guess.keys.get("identifier") in ("citizen_id", "credit_code"):
            rank = 0
        if rank is not None and guess.name != "row_number":
            ranked.append((rank, guess.name))
    if ranked:
        ranked.sort(key=lambda r: r[0])
        return [ranked[0][1]], [f"主键按样本中不重复、无空值的列推测{sample}，请确认它在全部数据中唯一"]
    for a, b in table.pairs:
        pair = [by_column[a], by_column[b]]
        if all(g.keys.get("type", "string") not in ("geometry", "float64") for g in pair):
            return [g.name for g in pair], [f"两列合起来在样本中不重复{sample}，请确认它们确能标识一行"]
    unique = [by_column[c].name for c, f in table.columns.items() if f.is_unique]
    hint = f"；样本中不重复的列：{'、'.join(unique)}" if unique else "；样本中没有不重复的列"
    return [OPEN], [f"哪些字段标识一行？{hint}"]
