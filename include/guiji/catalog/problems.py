"""One place in a catalog file that is wrong, said so that its author can mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """``str()`` is one line: ``file:line: message. Allowed: …. Did you mean …? mend``."""

    file: str
    line: int  # 1-based
    column: int  # 1-based
    message: str  # without a final stop
    allowed: tuple[str, ...] = ()
    nearest: str | None = None
    mend: str = ""
    #: a warning is shown, but doesn't make the file unusable
    warning: bool = False

    def __str__(self) -> str:
        parts = [f"{self.file}:{self.line}: {'warning: ' if self.warning else ''}{self.message}."]
        if self.allowed:
            parts.append(f"Allowed: {_shorten(self.allowed)}.")
        if self.nearest:
            parts.append(f"Did you mean {self.nearest!r}?")
        if self.mend:
            parts.append(self.mend)
        return " ".join(parts)


#: what people write -> what is meant, where letters alone would mislead
_SYNONYMS = {
    "每天": "每日",
    "每季": "每季度",
    "季度": "每季度",
    "月度": "每月",
    "年度": "每年",
    "半年": "每半年",
    "integer": "int64",
    "int": "int64",
    "number": "float64",
    "text": "string",
    "str": "string",
    "varchar": "string",
    "date": "date32",
    "datetime": "timestamp",
    "boolean": "bool",
    "decimal": "decimal128(p,s)",
    "excel": "xlsx",
    "xls": "xlsx",
    "gbk": "gb18030",
    "gb2312": "gb18030",
    "utf8": "utf-8",
    "mysql": "database",
    "postgresql": "database",
    "api": "http",
}


def find_nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed word that is meant or looks most like ``word``; None where nothing does, or two equally."""
    words = list(dict.fromkeys(allowed))
    meant = _SYNONYMS.get(word.lower())
    if meant in words:
        return meant
    close = difflib.get_close_matches(word, words, n=2, cutoff=0.5)
    if len(close) == 2 and _ratio(word, close[0]) == _ratio(word, close[1]):
        return None
    return close[0] if close else None


def _ratio(word: str, other: str) -> float:
    return difflib.SequenceMatcher(None, other, word).ratio()


def _shorten(words: tuple[str, ...], most: int = 40) -> str:
    shown = ", ".join(words[:most])
    return shown if len(words) <= most else f"{shown}, … ({len(words)} in all)"
