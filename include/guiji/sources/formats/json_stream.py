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
    """Behind the first object stands another one: JSON lines."""


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

    def close(self) -> None:
        self._file.close()

    def more(self) -> bool:
        """Reads on; False at the end."""
        if self.ended:
            return False
        ahead = len(self.text) - self.at
        if ahead > LONGEST_VALUE:
            raise self.refuse(f"一条记录超过 {LONGEST_VALUE >> 20} MB，或没有结束", "too_large")
        data = self._file.read(max(BLOCK, ahead))
        self.ended = not data
        try:
            text = self._bytes.decode(data, final=self.ended)
        except UnicodeDecodeError:
            raise self.refuse("含有无法识别的字节", "encoding") from None
        self.text = self.text[self.at :] + (text if text.isascii() else normalise_private_use(text))
        self.at = 0
        return not self.ended

    def refuse(self, why: str, rule: str = "structure") -> DeliveryRefused:
        return DeliveryRefused(f"{self.what}：{why}。现有数据继续有效；请重新导出后提供。", rule_id=f"delivery.{rule}")

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
            raise self.refuse("不是有效的 JSON")
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
                raise self.refuse("嵌套过深") from None
            except ValueError as exc:
                # an error far from where the text ends is one, whatever follows; a string may go on
                far = isinstance(exc, json.JSONDecodeError) and exc.pos < len(self.text) - 64
                if far and not str(exc).startswith("Unterminated string"):
                    raise self.refuse("不是有效的 JSON") from None
                broke_off = breaks_off(self.text, exc)
                if not self.more():
                    raise (half_a_file(self.what) if broke_off else self.refuse("不是有效的 JSON")) from None
                continue
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
        if first == "[" and not where:
            yield from _read_list(source, "")
        elif first == "{":
            yield from _read_object(source, "", where)
        else:
            yield Event("member", "", *source.read_value())
        if following := source.peek():
            if first == following == "{" and where is None:
                raise SeveralDocuments
            raise source.refuse("不是有效的 JSON（内容结束后还有其他内容）")
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
            raise source.refuse("不是有效的 JSON")
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
