"""A JSON document as a stream of the elements of its lists: a file of any size in the memory of a few records."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from guiji.errors import DeliveryRefused
from guiji.sources.formats.encoding import half_a_file, normalise_private_use

BLOCK = 1 << 20
LONGEST_VALUE = 16 << 20
#: commas in one record, or in one answer of an interface: a value costs Python a hundred bytes, however short it is written
MOST_VALUES = 1_500_000
_BLANK = re.compile(r"[ \t\r\n]*+")
#: what is left where a number ends within its fraction or exponent
_HALF_NUMBER = re.compile(r"\.|[eE][+-]?")


class Event(NamedTuple):
    """``list``: a list begins at ``place``; ``item``: an element of it; ``member``: another value of an object."""

    kind: str
    place: str  # dotted path, empty for the document itself
    value: Any = None
    length: int = 0  # characters it was written in


class SeveralDocuments(Exception):
    """Behind the first object stands another one: JSON lines where each is a line by itself, else a sequence."""

    def __init__(self, by_line: bool) -> None:
        self.by_line = by_line


class _JsonText:
    """``text[at:]`` lies ahead."""

    def __init__(self, path: Path, encoding: str, decoder: json.JSONDecoder, what: str) -> None:
        self._file = path.open("rb")
        self._bytes = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)("strict")
        self._decoder = decoder
        self.what = what
        self.text = ""
        self.at = 0
        self.ended = False
        self._lines = self._column = 0  # line ends before ``text``, and characters since the last of them

    def close(self) -> None:
        self._file.close()

    def more(self) -> bool:
        """Reads on; False at the end."""
        if self.ended:
            return False
        ahead = len(self.text) - self.at
        if ahead > LONGEST_VALUE:
            raise self.refuse(f"{self.place(self.at)}一条记录超过 {LONGEST_VALUE >> 20} MB，或没有结束", "too_large")
        data = self._file.read(max(BLOCK, ahead // 2))
        self.ended = not data
        try:
            text = self._bytes.decode(data, final=self.ended)
        except UnicodeDecodeError:
            raise self.refuse("含有无法识别的字节", "encoding") from None
        self._lines, self._column = self.count(self.at)
        self.text = self.text[self.at :] + (text if text.isascii() else normalise_private_use(text))
        self.at = 0
        return not self.ended

    def count(self, position: int) -> tuple[int, int]:
        """(line ends before ``text[position]``, characters since the last of them)."""
        ends = self.text.count("\n", 0, position)
        begin = self.text.rfind("\n", 0, position) + 1
        return self._lines + ends, position - begin + (0 if ends else self._column)

    def place(self, position: int) -> str:
        line, column = self.count(position)
        return f"第 {line + 1} 行第 {column + 1} 个字符起，"

    def refuse_text(self, position: int, why: str = "不是有效的 JSON") -> DeliveryRefused:
        """What stands at ``text[position]`` can't stand there."""
        return self.refuse(self.place(position) + why)

    def refuse(self, why: str, rule: str = "structure") -> DeliveryRefused:
        return DeliveryRefused(f"{self.what}：{why}。现有数据继续有效；请重新导出后提供。", rule_id=f"delivery.{rule}")

    def _demand_few_values(self, end: int) -> None:
        if end - self.at > MOST_VALUES and self.text.count(",", self.at, end) > MOST_VALUES:
            raise self.refuse(f"{self.place(self.at)}一条记录中有超过 {MOST_VALUES:,} 个值", "too_large")

    def peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            m = _BLANK.match(self.text, self.at)
            assert m is not None
            self.at = m.end()
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def take(self, allowed: str) -> str:
        """Passes one of ``allowed``. Raises DeliveryRefused for anything else."""
        found = self.peek()
        if not found:
            raise half_a_file(self.what)
        if found not in allowed:
            raise self.refuse_text(self.at)
        self.at += 1
        return found

    def read_value(self) -> tuple[Any, int]:
        """(the value that begins here, its length)."""
        if not self.peek():
            raise half_a_file(self.what)
        while True:
            try:
                value, end = self._decoder.raw_decode(self.text, self.at)
            except RecursionError:
                raise self.refuse_text(self.at, "嵌套过深") from None
            except ValueError as exc:
                # an error far from where the text ends is one, whatever follows; a string may go on
                at = exc.pos if isinstance(exc, json.JSONDecodeError) else self.at
                if at < len(self.text) - 64 and not str(exc).startswith("Unterminated string"):
                    raise self.refuse_text(at) from None
                self._demand_few_values(len(self.text))  # all of it belongs to this one value
                broke_off, at = breaks_off(self.text, exc), at - self.at
                if not self.more():
                    raise (half_a_file(self.what) if broke_off else self.refuse_text(self.at + at)) from None
                continue
            self._demand_few_values(end)
            if end < len(self.text) or not self.more():  # a number may go on
                length, self.at = end - self.at, end
                return value, length


def breaks_off(text: str, error: ValueError) -> bool:
    """True when ``text`` is JSON up to its end, where something is missing; False when it is wrong before that."""
    if not isinstance(error, json.JSONDecodeError) or error.msg.startswith("Unterminated string"):
        return True
    rest = text[error.pos :].rstrip()
    if error.msg.startswith("Invalid \\"):  # half an escape: the text ends within it
        return len(rest) < 6 and '"' not in rest
    if _HALF_NUMBER.fullmatch(rest):
        return True
    return any(word.startswith(rest) for word in ("true", "false", "null", "NaN", "Infinity", "-Infinity"))


def read_events(path: Path, encoding: str, decoder: json.JSONDecoder, where: str | None, what: str) -> Iterator[Event]:
    """The document's lists: those at its top, or the one at the dotted path ``where``.

    Raises SeveralDocuments, and DeliveryRefused for what is no JSON or breaks off.
    """
    source = _JsonText(path, encoding, decoder, what)
    try:
        first = source.peek()
        if not first:
            raise DeliveryRefused(f"{what}：文件是空的。现有数据继续有效；请重新提供。", rule_id="delivery.empty")
        begin, _ = source.count(source.at)
        if first == "[" and not where:
            yield from _read_list(source, "")
        elif first == "{":
            yield from _read_object(source, "", where)
        else:
            yield Event("member", "", *source.read_value())
        end, _ = source.count(source.at)
        if following := source.peek():
            if first == following == "{" and where is None:
                raise SeveralDocuments(begin == end < source.count(source.at)[0])
            raise source.refuse_text(source.at, "还有其他内容，而 JSON 已经结束")
    finally:
        source.close()


def read_sequence(path: Path, encoding: str, decoder: json.JSONDecoder, what: str) -> Iterator[Event]:
    """The documents behind one another, as elements of one list. Raises DeliveryRefused."""
    source = _JsonText(path, encoding, decoder, what)
    try:
        yield Event("list", "")
        while source.peek():
            yield Event("item", "", *source.read_value())
    finally:
        source.close()


def _read_list(source: _JsonText, where: str) -> Iterator[Event]:
    yield Event("list", where)
    source.take("[")
    if source.peek() == "]":
        source.at += 1
        return
    while True:
        yield Event("item", where, *source.read_value())
        if source.take(",]") == "]":
            return


def _read_object(source: _JsonText, place: str, where: str | None) -> Iterator[Event]:
    source.take("{")
    if source.peek() == "}":
        source.at += 1
        return
    while True:
        if source.peek() not in ('"', ""):
            raise source.refuse_text(source.at)
        key = place + str(source.read_value()[0])
        source.take(":")
        begins = source.peek()
        if begins == "[" and (key == where if where else not place):
            yield from _read_list(source, key)
        elif begins == "{" and where and where.startswith(f"{key}."):
            yield from _read_object(source, f"{key}.", where)
        else:
            yield Event("member", key, *source.read_value())
        if source.take(",}") == "}":
            return
