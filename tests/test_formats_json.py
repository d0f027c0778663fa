"""JSON, JSON lines and GeoJSON: digits as written, ambiguity set aside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from delivering import aside, expect, read_bytes, sound
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guiji.errors import DeliveryRefused

AB = expect("a", "b")


def read(tmp_path: Path, text: str, kind: str = "json", expected: object = AB) -> object:
    return read_bytes(tmp_path, text.encode(), expected, "a.json", type=kind)  # type: ignore[arg-type]


def test_f20_f49_values_keep_what_was_written(tmp_path: Path) -> None:
    text = '[{"a": 12345678901234567890, "b": 1.10}, {"a": "000123", "b": true}, {"a": null, "b": [1, {"x": 2.0}]}]'
    rows, _ = read(tmp_path, text)  # type: ignore[misc]
    assert sound(rows, AB) == [("12345678901234567890", "1.10"), ("000123", "true"), (None, '[1, {"x": 2.0}]')]
    assert [(r["_origin"], r["_line"]) for r in rows] == [("a.json", 1), ("a.json", 2), ("a.json", 3)]


def test_f49_ambiguous_records_are_set_aside(tmp_path: Path) -> None:
    text = '[{"a": 1, "a": 2, "b": 3}, {"a": NaN, "b": 1}, 5, {"a": {"x": 1, "x": 2}, "b": 1}, {"a": "\\u0000", "b": 1}, {"a": 1, "b": 2}]'
    rows, _ = read(tmp_path, text)  # type: ignore[misc]
    reasons = ["duplicate_key", "not_a_number", "not_a_record", "duplicate_key", "nul"]
    assert aside(rows) == list(enumerate(reasons, start=1))
    assert sound(rows, AB) == [("1", "2")]


def test_json_lines_and_wrapped_lists(tmp_path: Path) -> None:
    for text in ('{"a":1,"b":2}\n{"a":3,"b":4}\n', '{"data": [{"a":1,"b":2},{"a":3,"b":4}], "n": 2}'):
        rows, _ = read(tmp_path, text)  # type: ignore[misc]
        assert sound(rows, AB) == [("1", "2"), ("3", "4")]
    rows, _ = read(tmp_path, '{"a":1,"b":2}\n{"a":3,\n{"a":5,"b":6}\n')  # type: ignore[misc]
    assert aside(rows) == [(2, "not_a_record")]


def test_f33_half_a_json_is_refused(tmp_path: Path) -> None:
    whole = json.dumps([{"a": str(i), "b": "x"} for i in range(20)])
    for cut in range(1, len(whole)):
        with pytest.raises(DeliveryRefused):
            read(tmp_path, whole[:cut])


def test_geojson_gives_properties_and_the_shape_as_text(tmp_path: Path) -> None:
    expected = expect("name", {"title": "geom", "type": "geometry", "crs": "EPSG:4490", "encoding": "geojson"})
    shape = {"type": "Point", "coordinates": [109.781327, 39.608266]}
    features = [
        {"type": "Feature", "properties": {"name": "东"}, "geometry": shape},
        {"type": "Feature", "properties": {"name": "西"}, "geometry": None},
    ]
    rows, _ = read(tmp_path, json.dumps({"type": "FeatureCollection", "features": features}), "geojson", expected)  # type: ignore[misc]
    assert [(r["name"], r["geom"] and json.loads(r["geom"])) for r in rows] == [("东", shape), ("西", None)]


text = st.text(st.characters(exclude_categories=("Cs", "Co"), exclude_characters="\x00\ufffd"), max_size=8).filter(
    lambda t: "锟斤拷" not in t
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(text, st.none() | text), min_size=1, max_size=6), st.booleans())
def test_any_table_comes_back(tmp_path: Path, table: list[tuple[str, str | None]], ascii_only: bool) -> None:
    content = json.dumps([{"a": a, "b": b} for a, b in table], ensure_ascii=ascii_only)
    rows, _ = read(tmp_path, content)  # type: ignore[misc]
    assert sound(rows, AB) == table
