"""Which fields probably identify a row: a proposal with its question, or a question alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

from guiji.authoring.discover import Found
from guiji.authoring.facts import TableFacts
from guiji.authoring.guess import FieldGuess
from guiji.authoring.words import names_other_person, rank_key
from guiji.catalog.questions import OPEN

#: a row's own number, where it stands in front
_OWN_NUMBER = re.compile("(编号|流水号|单号|文号|案号|序列号)$|(_id|_no|_?bh)$", re.IGNORECASE)


def guess_key(found: Found, table: TableFacts, fields: Sequence[FieldGuess]) -> tuple[list[str], list[str]]:
    """(names of the key's fields, or one open answer; questions)."""
    by_column = {f.column: f for f in fields}
    if found.key and all(c in by_column for c in found.key):
        return [by_column[c].name for c in found.key], []
    sample = "" if table.complete else "（只读了前面的行）"
    ranked = _rank(table, fields)
    if ranked:
        first, others = ranked[0], ranked[1:6]
        hint = f"；同样不重复的有：{'、'.join(others)}" if others else ""
        return [first], [f"主键按样本中不重复、无空值的列推测{sample}，请确认它在全部数据中唯一{hint}"]
    for a, b in table.pairs:
        pair = [by_column[a], by_column[b]]
        if all(g.keys.get("type", "string") not in ("geometry", "float64") for g in pair):
            return [g.name for g in pair], [f"两列合起来在样本中不重复{sample}，请确认它们确能标识一行"]
    unique = [by_column[c].name for c, f in table.columns.items() if f.is_unique]
    hint = f"样本中不重复的列：{'、'.join(unique)}" if unique else "样本中没有不重复的列"
    return [OPEN], [f"哪些字段标识一行？（{hint}）"]


def _rank(table: TableFacts, fields: Sequence[FieldGuess]) -> list[str]:
    """Fields that are unique and named like a key, the best first: the row's own number in front of all others, an
    identifier of whom the row is about, then whatever is called a number or code."""
    ranked: list[tuple[int, str]] = []
    front = next((f for f in fields if f.name != "row_number"), None)
    for guess in fields:
        facts = table.columns.get(guess.column)
        if facts is None or not facts.is_unique or guess.keys.get("type", "string") not in ("string", "int64"):
            continue
        title = str(guess.keys["title"])
        rank = rank_key(title, guess.column)
        if guess.keys.get("identifier") in ("citizen_id", "credit_code"):
            rank = 4 if names_other_person(title) else 0
        elif guess is front and (_OWN_NUMBER.search(title) or _OWN_NUMBER.search(guess.column)):
            rank = -1
        if rank is not None and guess.name != "row_number":
            ranked.append((rank, guess.name))
    return [name for _, name in sorted(ranked, key=lambda r: r[0])]
