"""What a file's name says: the pattern of its series, and a name in Chinese."""

from __future__ import annotations

import re

from guiji.masking import scrub

#: how a date is written in a file's name -> strptime format
_NAME_DATES = (
    (r"(?<!\d)(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?!\d)", r"\d{8}", "%Y%m%d"),
    (r"(?<!\d)(?:19|20)\d{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])(?!\d)", r"\d{4}-\d{2}-\d{2}", "%Y-%m-%d"),
    (
        r"(?<!\d)(?:19|20)\d{2}年(?:1[0-2]|0?[1-9])月(?:3[01]|[12]\d|0?[1-9])日",
        r"\d{4}年\d{1,2}月\d{1,2}日",
        "%Y年%m月%d日",
    ),
    (r"(?<!\d)(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?!\d)", r"\d{6}", "%Y%m"),
    (r"(?<!\d)(?:19|20)\d{2}-(?:0[1-9]|1[0-2])(?!\d)", r"\d{4}-\d{2}", "%Y-%m"),
    (r"(?<!\d)(?:19|20)\d{2}年(?:1[0-2]|0?[1-9])月", r"\d{4}年\d{1,2}月", "%Y年%m月"),
)


def make_pattern(name: str) -> dict[str, str]:
    """A pattern of the whole name with its business date, where the name has one."""
    for written, digits, form in _NAME_DATES:
        if m := re.search(written, name):
            before, after = _write_rest(name[: m.start()]), _write_rest(name[m.end() :])
            pattern = f"{before}(?P<date>{digits}){after}"
            return {"pattern": pattern, **({} if form == "%Y%m%d" else {"date_format": form})}
    return {"pattern": _write_rest(name)}


def _write_rest(text: str) -> str:
    """``text`` as a pattern; a citizen's, phone or card number in it is any of its length."""
    return re.sub(r"[0-9A-Za-z]+", lambda m: _any_number(m.group()), re.escape(text))


def _any_number(word: str) -> str:
    return word if scrub(word) == word else rf"[0-9Xx]{{{len(word)}}}"


def find_title(stem: str) -> str | None:
    words = re.sub(r"\d+[年月日季]?|[_\-.（）()]", " ", stem).split()
    title = "".join(words)
    return title if len(re.findall("[\u4e00-\u9fff]", title)) >= 3 else None
