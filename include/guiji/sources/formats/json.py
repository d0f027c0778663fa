"""JSON, JSON lines and GeoJSON as batches of text: numbers keep the digits they were written with (F-20, F-49).

A record that names a key twice or holds NaN is set aside: which of its values is meant can't be known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected, HeaderMatch, match_header
from guiji.sources.formats.encoding import detect_encoding, half_a_file, normalise_private_use
from guiji.sources.formats.tokenizer import find_flaw, keep_sound
from guiji.sources.frames import Rows, make_batch
from guiji.structure import DUPLICATE_KEY, NOT_A_NUMBER, NOT_A_RECORD

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import Format
    from guiji.records import ReadReport

BATCH_ROWS = 16384
MAX_BYTES = 256 << 20


class Ambiguous(dict[str, Any]):
    """An object in which a key stands twice."""


class Number(str):
    """A number as it was written."""

    __slots__ = ()


class NotANumber:
    """NaN or Infinity, which JSON does not know."""

    def __repr__(self) -> str:
        return "NaN"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else Ambiguous(found)


_NAN = NotANumber()
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


def read_json(path: Path, origin: str, expected: Expected, fmt: Format, report: ReadReport) -> Iterator[pa.RecordBatch]:
    """The records of a JSON file: a list, an object that holds one list, JSON lines, or a FeatureCollection."""
    what = f"文件 {origin}"
    if path.stat().st_size > MAX_BYTES:
        raise DeliveryRefused(
            f"{what}：超过 {MAX_BYTES >> 20} MB。现有数据继续有效；请拆分或改用 JSON Lines / CSV 后重新提供。",
            rule_id="delivery.too_large",
        )
    encoding = detect_encoding(path, fmt.encoding, what)
    try:
        text = path.read_bytes().decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as exc:
        raise DeliveryRefused(
            f"{what}：含有无法识别的字节。现有数据继续有效；请另存为 UTF-8 编码后重新提供。",
            rule_id="delivery.encoding",
        ) from exc
    shape = next(((n, f) for n, f in expected.fields.items() if f.type == "geometry"), None)
    geometry = shape[0] if shape else None
    records = _find_records(
        normalise_private_use(text), fmt.type == "geojson", what, shape[1].crs if shape else None, report
    )
    if fmt.type == "geojson":
        records = [_flatten_feature(r, geometry) for r in records]
    return batches_of_records(records, origin, expected, report, what)


def _find_records(text: str, geojson: bool, what: str, crs: str | None, report: ReadReport) -> list[Any]:
    try:
        document = parse_json(text)
    except (ValueError, RecursionError) as whole:
        records = _parse_lines(text)
        if records is None:
            if isinstance(whole, json.JSONDecodeError) and whole.pos >= len(text.rstrip()) - 1:
                raise half_a_file(what) from whole
            raise DeliveryRefused(
                f"{what}：不是有效的 JSON。现有数据继续有效；请重新导出后提供。", rule_id="delivery.structure"
            ) from whole
        document = records
    if geojson and crs is not None and isinstance(document, dict) and (stated := document.get("crs")) is not None:
        from guiji.sources.formats.crs import compare_systems

        name = find_path(stated, "properties.name")
        if note := compare_systems(crs, str(name), what):
            report.notes.append(note)
    if geojson:
        document = document.get("features") if isinstance(document, dict) else None
    elif isinstance(document, dict):
        lists = [v for v in document.values() if isinstance(v, list)]
        document = lists[0] if len(lists) == 1 else [document] if not lists else None
    if not isinstance(document, list):
        raise DeliveryRefused(
            f"{what}：没有找到记录列表。现有数据继续有效；请按约定的结构重新提供。", rule_id="delivery.structure"
        )
    return document


def _parse_lines(text: str) -> list[Any] | None:
    """JSON lines; None when it is something else. A broken line stays a text, to be set aside."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2 or not all(line.lstrip().startswith("{") for line in lines):
        return None
    parsed: list[Any] = []
    for line in lines:
        try:
            parsed.append(parse_json(line))
        except (ValueError, RecursionError):
            parsed.append(line)
    return parsed if any(isinstance(p, dict) for p in parsed) and isinstance(parsed[-1], dict) else None


def _flatten_feature(feature: Any, geometry_column: str | None) -> Any:
    """A feature's properties, its geometry as GeoJSON text in the declared column."""
    if not isinstance(feature, dict) or not isinstance(feature.get("properties"), dict | None):
        return feature
    properties = feature.get("properties") or {}
    flat: dict[str, Any] = type(properties)(properties)
    if isinstance(feature, Ambiguous):
        flat = Ambiguous(flat)
    if geometry_column is not None:
        shape = feature.get("geometry")
        flat[geometry_column] = None if shape is None else dump_json(shape)
    if "id" in feature:
        flat.setdefault("id", feature["id"])
    return flat


def batches_of_records(
    records: Sequence[Any], origin: str, expected: Expected, report: ReadReport, what: str, batch_rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """Records as batches; their line is their position, from 1. The column set is checked over all of them."""
    match = match_records(records, expected, report, what)
    numbered = enumerate(records, start=1)

    def generate() -> Iterator[pa.RecordBatch]:
        while chunk := list(islice(numbered, batch_rows)):
            yield record_batch(chunk, origin, expected, match)

    return generate()


def match_records(records: Sequence[Any], expected: Expected, report: ReadReport, what: str) -> dict[str, str]:
    """source name -> key in the records. Raises DeliveryRefused for a key set that the contract does not allow."""
    from guiji.catalog.models import Layout

    keys = dict.fromkeys(k for r in records if isinstance(r, dict) for k in r)
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
    for number, record in numbered:
        if not isinstance(record, dict):
            raw = record if isinstance(record, str) else dump_json(record)
            rows.add_broken([None] * len(expected.columns), number, NOT_A_RECORD, raw.replace("\x00", "␀"))
            continue
        values = [record.get(keys[c]) if c in keys else None for c in expected.columns]
        cells = [_cell(v) for v in values]
        flaw = DUPLICATE_KEY if _is_ambiguous(record) else NOT_A_NUMBER if any(v is _NAN for v in values) else None
        texts = [c for c in cells if c is not None]
        if flaw is None and (flaw := find_flaw(texts)):
            kept = [None if c is None else keep_sound([c])[0] for c in cells]
            rows.add_broken(kept, number, flaw, dump_json(record).replace("\x00", "␀"))
        elif flaw:
            kept = [None] * len(cells) if flaw == DUPLICATE_KEY else cells
            rows.add_broken(kept, number, flaw, dump_json(record).replace("\x00", "␀"))
        else:
            rows.add(cells, number)
    return make_batch(expected.columns, rows, origin)


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
    return str(value) if isinstance(value, str) else dump_json(value)
