"""XML as batches of text, read as a stream: a record per element at the declared path (F-43).

The record's child elements and its attributes are its columns, by their local names; an attribute of a child is the
column ``child@attribute``. What lies deeper sets its record aside, nothing is dropped or joined. A document with a
document type, entities or external references is refused (defusedxml), so is one that breaks off. The file is read
twice: first for its column names and its end, then for its rows.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected, match_header
from guiji.sources.formats.charset import decide_charset
from guiji.sources.formats.encoding import detect_encoding, half_a_file, normalise_private_use
from guiji.sources.formats.tokenizer import find_flaw
from guiji.sources.frames import Rows, make_batch
from guiji.structure import DUPLICATE_KEY, ENCODING, NESTED, NOT_A_RECORD

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import Format
    from guiji.records import ReadReport

T = TypeVar("T")

BATCH_ROWS = 16384
BATCH_CHARACTERS = 32 << 20
BLOCK = 1 << 16
#: limits of what one document may ask of us; no table of a department comes near
DEEPEST = 64
LONGEST_TEXT = 16 << 20
LONGEST_TOKEN = 8 << 20
MOST_NAMES = 10_000
MOST_PIECES = 1_000_000
_XSI = "{http://www.w3.org/2001/XMLSchema-instance}"
_XML = "{http://www.w3.org/XML/1998/namespace}"
_DECLARED = re.compile(rb"\A\s*<\?xml\b[^>]*?\bencoding\s*=\s*[\"']([A-Za-z0-9._:-]+)[\"']")


@dataclass
class _Record:
    """An element at the declared path, being read."""

    line: int
    cells: dict[str, str | None] = field(default_factory=dict)
    flaw: str | None = None  # of the record as a whole
    flaws: dict[str, str] = field(default_factory=dict)  # of a column: nobody minds those that are not collected
    beyond: list[str] = field(default_factory=list)  # what is no cell, for the person who mends it
    characters: int = 0
    pieces: int = 0  # of text, and attributes


class _Target:
    """What the parser tells: gathers finished records in ``records``."""

    def __init__(self, path: tuple[str, ...], what: str) -> None:
        self.path = path
        self.what = what
        self.parser: Any = None
        self.stack: list[str] = []
        self.records: list[_Record] = []
        self.names: dict[str, None] = {}  # columns, in the order in which they appear
        self.every_name: set[str] = set()
        self.siblings: dict[str, int] = {}  # elements beside the records
        self.found_parent = len(path) == 1
        self._record: _Record | None = None
        self._text: list[str] = []
        self._is_nil = self._is_nested = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = _local(tag)
        self.stack.append(name)
        if name not in self.every_name:
            self.every_name.add(name)
            if len(self.every_name) > MOST_NAMES:
                raise _refuse_size(self.what, f"有超过 {MOST_NAMES} 种元素")
        depth = len(self.stack)
        if depth > DEEPEST:
            raise _refuse_size(self.what, f"嵌套超过 {DEEPEST} 层")
        record = self._record
        if record is None:
            self._start_outside(attributes)
            return
        if depth == len(self.path) + 1:
            self._text = []
            self._is_nested = False
            self._is_nil = attributes.get(f"{_XSI}nil") in ("true", "1")
            for key, value in attributes.items():
                self._add(record, f"{name}@{_local(key)}", value, key)
        else:
            record.flaws.setdefault(self.stack[len(self.path)], NESTED)
            self._is_nested = True
            self._keep_text(record)
            for key, value in attributes.items():
                self._count(record, len(key) + len(value))
                record.beyond.append(f"@{_local(key)}={value}")

    def _start_outside(self, attributes: dict[str, str]) -> None:
        if tuple(self.stack) == self.path:
            self._record = _Record(self.parser.CurrentLineNumber)
            for key, value in attributes.items():
                self._add(self._record, _local(key), value, key)
        elif tuple(self.stack) == self.path[:-1]:
            self.found_parent = True
        elif len(self.stack) == len(self.path) and tuple(self.stack[:-1]) == self.path[:-1]:
            self.siblings[self.stack[-1]] = self.siblings.get(self.stack[-1], 0) + 1

    def data(self, text: str) -> None:
        record = self._record
        if record is None:
            return
        self._count(record, len(text))
        if len(self.stack) > len(self.path):
            self._text.append(text)
        elif text.strip():
            record.flaw = record.flaw or NOT_A_RECORD
            record.beyond.append(text.strip())

    def _count(self, record: _Record, characters: int) -> None:
        record.characters += characters
        record.pieces += 1
        if record.characters > LONGEST_TEXT or record.pieces > MOST_PIECES:
            raise _refuse_size(
                self.what,
                f"第 {record.line} 行起的一条记录超过 {LONGEST_TEXT >> 20} MB，或由超过 {MOST_PIECES:,} 段文字组成",
            )

    def end(self, tag: str) -> None:
        depth = len(self.stack)
        name = self.stack.pop()
        record = self._record
        if record is None:
            return
        if depth == len(self.path):
            self.records.append(record)
            self._record = None
        elif depth == len(self.path) + 1:
            text = "".join(self._text)
            if self._is_nil and text.strip():
                record.flaws.setdefault(name, NOT_A_RECORD)
            if self._is_nested:
                self._keep_text(record)
            self._add(record, name, None if self._is_nil or self._is_nested else text, "")
            self._text = []
        else:
            self._keep_text(record, f"{'/'.join([*self.stack[len(self.path) :], name])}=")

    def _keep_text(self, record: _Record, before: str = "") -> None:
        text = "".join(self._text).strip()
        if text:
            record.beyond.append(before + text)
        self._text = []

    def _add(self, record: _Record, name: str, value: str | None, key: str) -> None:
        if key.startswith((_XSI, _XML)):
            return
        if name in record.cells:
            record.flaws[name] = DUPLICATE_KEY
            record.beyond.append(f"{name}={value}")
            return
        record.cells[name] = value
        if name not in self.names:
            self.names[name] = None
            if len(self.names) > MOST_NAMES:
                raise _refuse_size(self.what, f"有超过 {MOST_NAMES} 种数据项")

    def close(self) -> None:
        pass


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _refuse_size(what: str, why: str) -> DeliveryRefused:
    return DeliveryRefused(
        f"{what}：{why}。现有数据继续有效；请按约定的结构重新导出后提供。", rule_id="delivery.too_large"
    )


def read_xml(path: Path, origin: str, expected: Expected, fmt: Format, report: ReadReport) -> Iterator[pa.RecordBatch]:
    """The records at ``fmt.records``; ``_line`` is the line at which a record begins.

    Raises DeliveryRefused for what is no well-formed XML, has a document type, or has no element at the path.
    """
    from guiji.catalog.models import Layout

    assert fmt.records is not None
    what = f"文件 {origin}"
    where = tuple(part for part in fmt.records.split("/") if part)
    encoding = _find_encoding(path, fmt.encoding, what)
    seen = _Target(where, what)
    count = 0
    for records in _parse(path, encoding, seen):
        count += len(records)
    _demand_records(seen, count, fmt.records)
    if seen.siblings:
        beside = "、".join(f"{name}（{n} 个）" for name, n in list(seen.siblings.items())[:8])
        report.notes.append(f"{what}：记录之外的元素未采集：{beside}")
    names = list(seen.names)
    if count:
        match = match_header(expected, Layout(), names, report, what)
        keys = {column: names[position] for column, position in match.index.items()}
    else:
        keys = {}
    return _generate(path, encoding, _Target(where, what), origin, expected, keys)


def _demand_records(seen: _Target, count: int, where: str) -> None:
    if count or (seen.found_parent and not seen.siblings):
        return
    there = "、".join(list(seen.siblings)[:8])
    raise DeliveryRefused(
        f"{seen.what}：没有找到路径为“{where}”的记录" + (f"（该处有：{there}）" if there else "") + "。"
        "现有数据继续有效；请按约定的结构重新提供。",
        rule_id="delivery.structure",
    )


def _generate(
    path: Path, encoding: str, target: _Target, origin: str, expected: Expected, keys: dict[str, str]
) -> Iterator[pa.RecordBatch]:
    rows, characters, damaged, read = Rows(), 0, 0, 0
    for records in _parse(path, encoding, target):
        for record in records:
            flaw = _add_row(rows, record, expected.columns, keys)
            characters += record.characters
            damaged += flaw == ENCODING
            read += 1
            if damaged > max(20, read // 20):
                raise _wrong_encoding(target.what, encoding)
            if len(rows) >= BATCH_ROWS or characters >= BATCH_CHARACTERS:
                yield make_batch(expected.columns, rows, origin)
                rows, characters = Rows(), 0
    yield make_batch(expected.columns, rows, origin)


def _add_row(rows: Rows, record: _Record, columns: Sequence[str], keys: dict[str, str]) -> str | None:
    cells = [record.cells.get(keys[c]) if c in keys else None for c in columns]
    texts = [c for c in cells if c is not None]
    flaw = record.flaw or next((f for k in keys.values() if (f := record.flaws.get(k))), None)
    if flaw is None:
        joined = "\n".join(texts)
        if _LOST in joined:
            flaw = ENCODING
        elif not joined.isascii():
            flaw = find_flaw(texts)
            cells = [c if c is None else normalise_private_use(c) for c in cells]
    if flaw is None:
        rows.add(cells, record.line)
        return None
    raw = "; ".join([*(f"{k}={v}" for k, v in record.cells.items()), *record.beyond]).replace(_LOST, "\ufffd")
    kept = [None if c is None or _LOST in c or find_flaw([c]) else c for c in cells]
    rows.add_broken([None] * len(columns) if flaw == DUPLICATE_KEY else kept, record.line, flaw, raw)
    return flaw


class _Path:
    """Tells the parser's events as places of elements."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.parser: Any = None
        self.stack: list[str] = []
        self.records: list[tuple[tuple[str, ...], bool]] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.stack.append(_local(tag))
        if len(self.stack) > DEEPEST:
            raise _refuse_size(self.what, f"嵌套超过 {DEEPEST} 层")
        self.records.append((tuple(self.stack), bool(attributes)))

    def end(self, tag: str) -> None:
        self.stack.pop()

    def data(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


def read_elements(path: Path, what: str) -> Iterator[tuple[tuple[str, ...], bool]]:
    """(names from the root, whether it has attributes) of every element, for a document nobody declared yet. Raises
    DeliveryRefused where ``read_xml`` would."""
    for elements in _parse(path, _find_encoding(path, "auto", what), _Path(what)):
        yield from elements


# --- bytes to events --------------------------------------------------------------------------------

#: stands for bytes that could not be decoded; a noncharacter that XML allows
_LOST = "\U0010fffe"
_UNDECODED = re.compile("[\udc80-\udcff]+")


def _find_encoding(path: Path, declared: str, what: str) -> str:
    with path.open("rb") as f:
        head = f.read(1024)
    if not head.strip():
        raise DeliveryRefused(f"{what}：文件是空的。现有数据继续有效；请重新提供。", rule_id="delivery.empty")
    said_so = True
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        said = "utf-16"
    elif head.startswith((b"<\0", b"\0<")):
        said = "utf-16-le" if head[0] else "utf-16-be"
    elif head.startswith(codecs.BOM_UTF8):
        said = "utf-8"
    else:
        m = _DECLARED.search(head)
        said_so = m is not None or declared != "auto"
        said = m[1].decode() if m else "utf-8"
        said = said if declared == "auto" else declared
        if said.lower().startswith("utf-16"):
            if declared != "auto":
                raise _wrong_encoding(what, declared)
            # as .NET declares a text that it then writes in another encoding
            return detect_encoding(path, "auto", what)
    wide = said.startswith("utf-16") and declared.startswith("utf-16") and "utf-16" in (said, declared)
    if declared not in ("auto", said) and not wide:  # the bytes say otherwise
        raise _wrong_encoding(what, declared)
    if said.startswith("utf-16"):
        return said
    codec = decide_charset(path, said, what)
    if codec == "utf-8" and detect_encoding(path, "utf-8" if said_so else "auto", what) != codec:
        raise _wrong_encoding(what, codec)
    return codec


def _wrong_encoding(what: str, encoding: str) -> DeliveryRefused:
    return DeliveryRefused(
        f"{what}：文字编码不是 {encoding}，无法正确读出。现有数据继续有效；请按约定的编码重新导出后提供。",
        rule_id="delivery.encoding",
    )


def _read_utf8(path: Path, encoding: str) -> Iterator[bytes]:
    """The file as UTF-8, whatever it was; what could not be decoded is ``_LOST``."""
    decoder = codecs.getincrementaldecoder(encoding)("replace" if encoding.startswith("utf-16") else "surrogateescape")
    first = True
    with path.open("rb") as f:
        while True:
            data = f.read(BLOCK)
            text = decoder.decode(data, final=not data)
            if first:
                text, first = text.removeprefix("\ufeff"), False
            try:
                yield text.encode()
            except UnicodeEncodeError:
                yield _UNDECODED.sub(_LOST, text).encode()
            if not data:
                return


class _Gathers(Protocol[T]):
    """What the parser tells, gathered in ``records``."""

    what: str
    parser: Any
    records: list[T]


def _parse(path: Path, encoding: str, target: _Gathers[T]) -> Iterator[list[T]]:
    """What ``target`` gathers of the document, as it is finished. Raises DeliveryRefused."""
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser, ParseError

    # what the declaration says about the encoding no longer holds: the parser is given UTF-8 and told so
    parser = DefusedXMLParser(target=target, encoding="utf-8", forbid_dtd=True)
    target.parser = parser.parser
    fed = 0
    at_end = False
    try:
        for data in _read_utf8(path, encoding):
            fed += len(data)
            parser.feed(data)
            if fed - parser.parser.CurrentByteIndex > LONGEST_TOKEN:
                raise _refuse_size(target.what, f"一个标签或注释超过 {LONGEST_TOKEN >> 20} MB")
            if target.records:
                yield target.records
                target.records = []
        at_end = True
        parser.close()
    except ParseError as exc:
        if at_end:
            raise half_a_file(target.what) from None
        line = exc.position[0]
        raise DeliveryRefused(
            f"{target.what}：第 {line} 行起不是有效的 XML（如未转义的 & 或 <、不成对的标签）。现有数据继续有效；请重新导出后提供。",
            rule_id="delivery.structure",
        ) from None
    except DefusedXmlException:
        raise DeliveryRefused(
            f"{target.what}：含有文档类型（DOCTYPE）或实体声明，可能有害，未读取。现有数据继续有效；请去掉后重新提供。",
            rule_id="delivery.structure",
        ) from None
    if target.records:
        yield target.records
        target.records = []
