"""A declared pattern as a clerk reads it: ``\\d{4}年`` is 4 位数字＋“年”. A pattern that has no plain words has none."""

from __future__ import annotations

import re
import string

#: patterns that have better words than their parts
_KNOWN = {
    r"1[3-9]\d{9}|0\d{2,3}-?\d{7,8}": "11 位手机号码，或带区号的固定电话（如 0477-8500000）",
    r"1[3-9]\d{9}": "11 位手机号码",
}
_CLASSES = {
    "0-9": "数字", "1-9": "1–9 的数字", "A-Z": "大写字母", "a-z": "小写字母", "A-Za-z": "字母", "a-zA-Z": "字母",
    "0-9A-Z": "数字或大写字母", "A-Z0-9": "数字或大写字母", "0-9A-Za-z": "数字或字母", "A-Za-z0-9": "数字或字母", "a-zA-Z0-9": "数字或字母",
    "\u4e00-\u9fa5": "汉字", "\u4e00-\u9fff": "汉字",
}  # fmt: skip
_TOKEN = re.compile(
    r"(?P<digit>\\d)|(?P<escaped>\\[^A-Za-z0-9])|\[(?P<class>[^\]\[\\^]+)\]|(?P<open>\((?:\?:)?(?!\?))|(?P<close>\))|(?P<bar>\|)"
    r"|(?P<literal>[^\\\[\](){}|?*+.^$])"
)
_TIMES = re.compile(r"\{(\d+)(?:,(\d+))?\}|([?+*])")


class _NoWords(Exception):
    """The pattern has a part that no plain word says."""


def describe_pattern(pattern: str) -> str | None:
    """The pattern in words; None where it has no plain ones."""
    if pattern in _KNOWN:
        return _KNOWN[pattern]
    try:
        words, at = _describe(pattern, 0)
    except _NoWords:
        return None
    return words if at == len(pattern) and words else None


def _describe(pattern: str, at: int) -> tuple[str, int]:
    """(the alternatives that begin at ``at``, where they end)."""
    ways: list[list[str]] = [[]]
    texts: list[str | None] = [""]  # an alternative that is nothing but text
    while at < len(pattern):
        m = _TOKEN.match(pattern, at)
        if m is None:
            raise _NoWords
        if m.lastgroup == "close":
            break
        at = m.end()
        if m.lastgroup == "bar":
            ways.append([])
            texts.append("")
            continue
        if m.lastgroup == "open":
            inner, at = _describe(pattern, at)
            if pattern[at : at + 1] != ")":
                raise _NoWords
            at += 1
            what, literal = f"（{inner}）", None
        elif m.lastgroup == "digit":
            what, literal = "数字", None
        elif m.lastgroup == "class":
            what, literal = _describe_class(m["class"]), None
        else:
            what, literal = "", m.group()[-1]
        times = _TIMES.match(pattern, at)
        at = times.end() if times else at
        if literal is not None and times is None:
            texts[-1] = None if texts[-1] is None else texts[-1] + literal
            _add_literal(ways[-1], literal)
        else:
            texts[-1] = None
            ways[-1].append(
                _count(what or f"“{literal}”", times, counted=not what.startswith("（") and literal is None)
            )
    if len(texts) > 1 and all(texts):
        return "、".join(f"“{t}”" for t in texts) + "之一", at
    return "，或 ".join("＋".join(parts) for parts in ways), at


def _add_literal(parts: list[str], literal: str) -> None:
    if parts and parts[-1].startswith("“") and parts[-1].endswith("”"):
        parts[-1] = f"{parts[-1][:-1]}{literal}”"
    else:
        parts.append(f"“{literal}”")


def _describe_class(inside: str) -> str:
    if inside in _CLASSES:
        return _CLASSES[inside]
    if m := re.fullmatch(r"(\d)-(\d)", inside):
        return f"{m[1]}–{m[2]} 的数字"
    if re.search(r"[^-]-[^-]", inside):
        return _describe_codes(inside)
    return "、".join(inside) + " 之一"


def _describe_codes(inside: str) -> str:
    """Digits and capitals but for a few that look alike, as codes are made of."""
    found: set[str] = set()
    for first, last in re.findall("(.)(?:-(.))?", inside):
        found |= {chr(c) for c in range(ord(first), ord(last or first) + 1)}
    capitals = set(string.ascii_uppercase)
    if not set(string.digits) <= found <= {*string.digits, *capitals}:
        raise _NoWords
    return f"数字或大写字母（不含 {'、'.join(sorted(capitals - found))}）"


def _count(what: str, times: re.Match[str] | None, *, counted: bool) -> str:
    what = f" {what}" if counted and what[0].isdigit() else what
    if times is None:
        return f"1 位{what}" if counted and not what.endswith("之一") else what
    least, most, sign = times.groups()
    if sign == "?":
        return f"可省略的{what}"
    if not counted:
        raise _NoWords
    if sign:
        return f"若干位{what}" if sign == "+" else f"可省略的若干位{what}"
    return f"{least} 位{what}" if most is None else f"{least}–{most} 位{what}"
