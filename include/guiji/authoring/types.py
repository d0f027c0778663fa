"""From facts to the type of a field. What is written as no number or date is read here stays text, with a question."""

from __future__ import annotations

import re
from typing import Any

from guiji.authoring.discover import FoundColumn
from guiji.authoring.facts import DATE_FORMATS, TIME_FORMATS, ColumnFacts
from guiji.authoring.words import names_things
from guiji.catalog.questions import OPEN

#: share of values that make a column what they are
SURE = 0.9


def find_type(column: FoundColumn, title: str, facts: ColumnFacts, questions: list[str]) -> dict[str, Any]:
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
    if facts.has("month") and not _is_quantity(title):
        questions.append(
            '值像年月，按文本登记；要按日期登记（当月 1 日），写 type: date32 和 formats，如 ["%Y%m"]、["%Y-%m"]'
        )
        return {}
    if names_things(title) or names_things(column.name):
        return {}
    if (told := _ask_number(title, facts)) is not None:
        questions.append(told)
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


def find_unit(title: str) -> str | None:
    """The unit that a column's name gives in brackets at its end, where the table of units has it: 金额（万元）."""
    from guiji.measures import load_units

    said = re.search(r"[（(]\s*(?:单位[:：])?\s*([^（()）]+?)\s*[)）]$", title)
    return said[1] if said and said[1] in load_units() else None


def _is_quantity(title: str) -> bool:
    return bool(re.search(r"年龄|数量|[数额量率值分]$|[（(].+[)）]$|面积|长度|天数|人数", title))


def _ask_number(title: str, facts: ColumnFacts) -> str | None:
    """What to ask of numbers that are written as none is read here: never guessed, for a comma may mean two things."""
    if facts.has("epoch") and re.search("时间|日期", title):
        return "值像时间戳（自 1970 年起的秒或毫秒），按文本登记；作为时间归集的，请部门改为 2026-01-31 08:00:00 这样的写法"
    grouped, percent = facts.shapes.get("thousands", 0), facts.shapes.get("percent", 0)
    if percent and percent >= facts.given * SURE:
        return "值带百分号，按文本登记；作为数值归集的，请部门去掉百分号（列名中注明 %）后改 type"
    if grouped and grouped + facts.shapes.get("decimal", 0) >= facts.given * SURE:
        return "值带千位分隔符（如 1,234.50），按文本登记；作为数值归集的，请部门去掉分隔符后改 type"
    return None


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
