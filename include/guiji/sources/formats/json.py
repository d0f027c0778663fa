"""JSON and GeoJSON as batches of text: numbers keep the digits they were written with (F-20, F-49).

A record that names a key twice, holds NaN, or 1.1E17 for a text is set aside: what is meant can't be known. The document is
read twice as a stream (``json_stream``): first for its lists and their keys, then for its records.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected, HeaderMatch, match_header
from guiji.sources.formats.cells import LOST_FROM
from guiji.sources.formats.encoding import detect_encoding
from guiji.sources.formats.json_columns import (
    are_columns,
    demand_record,
    find_list_in_record,
    refuse_columns,
    refuse_list_in_record,
)
from guiji.sources.formats.json_stream import LONGEST_VALUE, Event, SeveralDocuments, read_events, read_sequence
from guiji.sources.formats.tokenizer import find_flaw, keep_sound
from guiji.sources.frames import Rows, make_batch
from guiji.structure import DUPLICATE_KEY, ENCODING, NOT_A_NUMBER, NOT_A_RECORD, PRECISION_LOST

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import Format
    from guiji.records import ReadReport

BATCH_ROWS = 16384
BATCH_CHARACTERS = 8 << 20
#: more names than any table has
MOST_KEYS = 10_000
#: no number of a table is smaller than 1e-40
SMALLEST_EXPONENT = 40


class Ambiguous(dict[str, Any]):
    """An object in which a key stands twice."""


class Number(str):
    """A number as it was written."""

    __slots__ = ()


class Undecodable(str):
    """A line of which not even the text could be read."""

    __slots__ = ()


class NotANumber:
    """NaN or Infinity, which JSON does not know."""

    def __repr__(self) -> str:
        return "NaN"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else Ambiguous(found)


_NAN = NotANumber()
_HALF = re.compile("[\ud800-\udfff]")
_decoder = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=Number,
    parse_float=Number,
    parse_constant=lambda _: _NAN,
)


def parse_json(text: str) -> Any:
    """JSON with numbers as ``Number``, twice-named keys as ``Ambiguous``, NaN as ``NotANumber``. Raises ValueError."""
    return _decoder.decode(text.removeprefix("\ufeff"))


def dump_json(value: Any) -> str:
    """The text of a parsed value, numbers as they were written."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k, ensure_ascii=False)}: {dump_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(dump_json, value)) + "]"
    return repr(value) if isinstance(value, NotANumber) else json.dumps(value, ensure_ascii=False)


def find_path(document: Any, path: str) -> Any:
    """The value at a dotted path; the document itself for an empty path, None where there is nothing."""
    for part in path.split(".") if path else ():
        if isinstance(document, dict):
            document = document.get(part)
        elif isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            return None
    return document


@dataclass
class _Found:
    """What the first reading of a document found."""

    lists: dict[str, int] = field(default_factory=dict)  # place -> how often a list begins there
    keys: dict[str, None] = field(default_factory=dict)
    members: dict[str, Any] = field(default_factory=dict)  # other values at the top, until they are too long
    is_cut: bool = False  # they were


def read_json(path: Path, origin: str, expected: Expected, fmt: Format, report: ReadReport) -> Iterator[pa.RecordBatch]:
    """The records of a JSON file: the list at ``fmt.records``, a list, an object that holds one list or is the one
    record, objects behind one another, JSON lines, or a FeatureCollection; their line is their position, from 1."""
    what = f"文件 {origin}"
    encoding = detect_encoding(path, fmt.encoding, what)
    is_geojson = fmt.type == "geojson"
    where = "features" if is_geojson else fmt.records
    shape = next(((n, f) for n, f in expected.fields.items() if f.type == "geometry"), None)

    def read(wanted: str | None, *, several: bool = False) -> Iterator[Event]:
        events = read_sequence if several else partial(read_events, where=wanted)
        for event in events(path, encoding, _decoder, what=what):
            if event.kind == "item" and is_geojson:
                yield event._replace(value=_flatten_feature(event.value, shape[0] if shape else None, what))
            else:
                yield event

    try:
        found = _look_through(read(where))
    except SeveralDocuments as several:
        if several.by_line:
            from guiji.sources.formats.json_lines import read_json_lines

            return read_json_lines(path, origin, expected, fmt, report)
        read = partial(read, several=True)
        found = _look_through(read(None))
    crs = shape[1].crs if shape else None
    if is_geojson and crs is not None and (stated := found.members.get("crs")) is not None:
        from guiji.sources.formats.crs import compare_systems

        name = find_path(stated, "properties.name")
        unnamed = f"{what}：文件没有以名称注明坐标系，按约定的坐标系 {crs} 归集，未能核对"  # a link to somewhere
        if note := compare_systems(crs, name, what) if isinstance(name, str) and name else unnamed:
            report.notes.append(note)
    place = _choose_list(found, where, expected, what)
    if place is None:
        demand_record(found.members, expected, what)
        match = match_keys(dict.fromkeys(found.members), expected, report, what)
        return iter([record_batch([(1, found.members)], origin, expected, match)])
    match = match_keys(found.keys, expected, report, what)
    records = (event for event in read(where) if event.kind == "item" and event.place == place)
    return _generate(records, origin, expected, match)


def _look_through(events: Iterator[Event]) -> _Found:
    found = _Found()
    held = 0
    for kind, place, value, length in events:
        if kind == "list":
            found.lists[place] = found.lists.get(place, 0) + 1
        elif kind == "item":
            if isinstance(value, dict):
                found.keys.update(dict.fromkeys(value))
        elif (held := held + length) > LONGEST_VALUE:
            found.is_cut = True
        else:
            found.members = Ambiguous(found.members) if place in found.members else found.members
            found.members[place] = value
        if len(found.keys) > MOST_KEYS:
            break
    return found


def _choose_list(found: _Found, where: str | None, expected: Expected, what: str) -> str | None:
    """Where the records are; None when the document itself is the one record. Raises DeliveryRefused."""
    if len(found.keys) > MOST_KEYS:
        raise DeliveryRefused(
            f"{what}：有超过 {MOST_KEYS} 种数据项。现有数据继续有效；请按约定的结构重新提供。",
            rule_id="delivery.too_large",
        )
    if not found.lists and where is None and "" not in found.members and found.members and not found.is_cut:
        return None
    if where is None and are_columns(found.lists, expected):
        raise refuse_columns(what)
    if where is None and (name := find_list_in_record(found.members, found.lists, expected)) is not None:
        raise refuse_list_in_record(name, what)
    if list(found.lists.values()) != [1]:
        raise DeliveryRefused(
            f"{what}：没有找到记录列表。现有数据继续有效；请按约定的结构重新提供。", rule_id="delivery.structure"
        )
    return next(iter(found.lists))


def _generate(
    records: Iterator[Event], origin: str, expected: Expected, match: dict[str, str]
) -> Iterator[pa.RecordBatch]:
    chunk: list[tuple[int, Any]] = []
    characters = 0
    for number, event in enumerate(records, start=1):
        chunk.append((number, event.value))
        characters += event.length
        if len(chunk) >= BATCH_ROWS or characters >= BATCH_CHARACTERS:
            yield record_batch(chunk, origin, expected, match)
            chunk, characters = [], 0
    if chunk:
        yield record_batch(chunk, origin, expected, match)


def _flatten_feature(feature: Any, geometry_column: str | None, what: str) -> Any:
    """A feature's properties, its geometry as GeoJSON text in the declared column. Raises DeliveryRefused where a
    property is called like that column: one of the two would be lost behind the other."""
    if not isinstance(feature, dict) or not isinstance(feature.get("properties"), dict | None):
        return feature
    properties = feature.get("properties") or {}
    flat: dict[str, Any] = type(properties)(properties)
    shape = feature.get("geometry")
    if isinstance(feature, Ambiguous) or _is_ambiguous(shape):
        flat = Ambiguous(flat)
    if geometry_column is not None:
        if geometry_column in flat:
            raise DeliveryRefused(
                f"{what}：属性“{geometry_column}”与图形所在的列同名，无法判断以哪个为准。现有数据继续有效；"
                "请删去该属性或改用其他名称后重新提供，属性确需保留原名的，请在资源目录中为图形另定列名。",
                rule_id="delivery.duplicate_column",
                columns=[geometry_column],
            )
        flat[geometry_column] = None if shape is None else dump_json(shape)
    if "id" in feature:
        flat.setdefault("id", feature["id"])
    return flat


def match_records(records: Sequence[Any], expected: Expected, report: ReadReport, what: str) -> dict[str, str]:
    """source name -> key in the records. Raises DeliveryRefused for a key set that the contract does not allow."""
    return match_keys(dict.fromkeys(k for r in records if isinstance(r, dict) for k in r), expected, report, what)


def match_keys(keys: dict[str, None], expected: Expected, report: ReadReport, what: str) -> dict[str, str]:
    """source name -> key, for the keys of all records."""
    from guiji.catalog.models import Layout

    keys = dict(keys)
    if not keys:
        return {c: c for c in expected.columns}
    if (
        "id" in keys
        and expected.source_name("id") is None
        and all(k in expected.fields or expected.source_name(k) for k in keys if k != "id")
    ):
        keys.pop("id")  # a feature's own id beside declared properties
    names = list(keys)
    match: HeaderMatch = match_header(expected, Layout(), names, report, what)
    return {column: names[position] for column, position in match.index.items()}


def record_batch(
    numbered: Sequence[tuple[int, Any]], origin: str, expected: Expected, keys: dict[str, str]
) -> pa.RecordBatch:
    """Numbered records as one batch."""
    rows = Rows()
    types = [expected.fields[c].type if c in keys and c in expected.fields else "" for c in expected.columns]
    texts_at = [i for i, t in enumerate(types) if t == "string"]
    exact_at = [i for i, t in enumerate(types) if t == "int64" or t.startswith("decimal")]
    for number, record in numbered:
        if not isinstance(record, dict):
            raw = record if isinstance(record, str) else dump_json(record)
            rule = ENCODING if isinstance(record, Undecodable) else NOT_A_RECORD
            rows.add_broken([None] * len(expected.columns), number, rule, _show(raw))
            continue
        values = [record.get(keys[c]) if c in keys else None for c in expected.columns]
        cells = [_cell(v) for v in values]
        for i in exact_at:
            cells[i] = _write_out(values[i], cells[i])
        flaw = DUPLICATE_KEY if _is_ambiguous(record) else NOT_A_NUMBER if any(map(_holds_nan, values)) else None
        if flaw is None and any(_is_shortened(values[i]) for i in texts_at):
            flaw = PRECISION_LOST
        texts = [c for c in cells if c is not None]
        if flaw is None and (flaw := find_flaw(texts)):
            kept = [None if c is None else keep_sound([c])[0] for c in cells]
            rows.add_broken(kept, number, flaw, _show(dump_json(record)))
        elif flaw:
            kept = [None] * len(cells) if flaw == DUPLICATE_KEY else cells
            rows.add_broken(kept, number, flaw, _show(dump_json(record)))
        else:
            rows.add(cells, number)
    return make_batch(expected.columns, rows, origin)


def _write_out(value: Any, cell: str | None) -> str | None:
    """A number as Java writes 12345678.9 (1.23456789E7) with its digits, where they are all there."""
    if not isinstance(value, Number) or not ("e" in value or "E" in value) or not abs(float(value)) < LOST_FROM:
        return cell
    number = Decimal(value)
    return format(number, "f") if number.adjusted() > -SMALLEST_EXPONENT else cell


def _holds_nan(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_nan, value.values()))
    return any(map(_holds_nan, value)) if isinstance(value, list) else value is _NAN


def _is_shortened(value: Any) -> bool:
    """A number that a program wrote with an exponent, and with more digits than such a number keeps."""
    return isinstance(value, Number) and ("e" in value or "E" in value) and abs(float(value)) >= LOST_FROM


def _is_ambiguous(value: Any) -> bool:
    if isinstance(value, Ambiguous):
        return True
    if isinstance(value, dict):
        return any(_is_ambiguous(v) for v in value.values() if isinstance(v, dict | list))
    return isinstance(value, list) and any(_is_ambiguous(v) for v in value if isinstance(v, dict | list))


def _cell(value: Any) -> str | None:
    if value is None or value is _NAN:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value) if isinstance(value, str) else dump_json(value)
    # half a character (\\ud800 alone) is text that was lost before it came: its mark sets the record aside
    return text if text.isascii() else _HALF.sub("\ufffd", text)


def _show(raw: str) -> str:
    return _HALF.sub("\ufffd", raw).replace("\x00", "␀")
