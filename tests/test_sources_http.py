"""A paged HTTP interface, trusted in nothing: every record once, or a clear failure."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest
from delivering import make_resource, open_at, plain_settings, rows_of

from guiji.catalog.models import Resource
from guiji.connections import Connection
from guiji.errors import DeliveryRefused, GuijiError, SourceRefused, SourceUnavailable
from guiji.settings import Settings
from guiji.sources import http, probe


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    return plain_settings(tmp_path / "home")


@pytest.fixture(autouse=True)
def _connected(http_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(http_server, monkeypatch)


def connect(server: Any, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    values = {f.name: getattr(server, f.name) for f in dataclasses.fields(Connection)} | {"conn_id": "api"} | changes
    values["extra"] = {"timeout": 1, "attempts": 3} | changes.get("extra", {})
    monkeypatch.setenv("AIRFLOW_CONN_API", Connection(**values).to_json())


def interface(style: str = "page", *, total: bool = True, size: int = 2, **more: Any) -> Resource:
    source = {
        "kind": "http", "connection": "api", "path": "/things", "records": "data.records", "code": "code", "ok": ["0"],
        "message": "message", "token_header": "X-Token",
        "paging": {"style": style, "parameter": style, "size": size, "next": "data.next"},
    }  # fmt: skip
    if total:
        source["total"] = "data.total"
    fields = more.pop("fields", ["id", "name"])
    return make_resource(source | more.pop("source", {}), fields, **more)


def records(count: int) -> list[dict[str, Any]]:
    return [{"id": f"{i:03d}", "name": f"人{i}"} for i in range(count)]


def fails(
    server: Any, place: Settings, tmp_path: Path, kind: type[GuijiError], resource: Resource | None = None
) -> GuijiError:
    with pytest.raises(kind) as caught:
        rows_of(open_at(resource or interface(), place, tmp_path))
    assert type(caught.value) is kind
    return caught.value


@pytest.mark.parametrize("style", ["page", "offset", "cursor", "none"])
@pytest.mark.parametrize("total", [True, False])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_pages_at_0_1_n_and_n_plus_1(
    http_server: Any, place: Settings, tmp_path: Path, style: str, total: bool, count: int
) -> None:
    http_server.data["/things"] = records(count)
    delivery = open_at(interface(style, total=total), place, tmp_path)
    assert delivery.columns == ("id", "name")
    assert rows_of(delivery) == [(f"{i:03d}", f"人{i}") for i in range(count)]


def test_rows_carry_page_and_position(http_server: Any, place: Settings, tmp_path: Path) -> None:
    http_server.data["/things"] = records(3)
    rows = [r for b in open_at(interface(), place, tmp_path).batches for r in b.to_pylist()]
    assert [(r["_origin"], r["_line"]) for r in rows] == [
        ("/things#page=1", 1),
        ("/things#page=1", 2),
        ("/things#page=2", 1),
    ]


def test_a_server_that_caps_the_page_size_loses_nothing(http_server: Any, place: Settings, tmp_path: Path) -> None:
    everything = records(7)
    http_server.data["/things"] = everything
    source = {"paging": {"style": "offset", "parameter": "offset", "size": 500, "size_parameter": "ignored"}}

    resource = interface(total=False, source=source)
    original = http._ask

    def capped(reading: Any, parameters: dict[str, str]) -> Any:
        page = original(reading, {**parameters, "size": "3"})
        return page

    http._ask = capped  # the server of the demo knows no cap of its own
    try:
        assert len(rows_of(open_at(resource, place, tmp_path))) == 7
    finally:
        http._ask = original


# --- F-47 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [True, False])
def test_f47_an_endless_first_page_is_refused(http_server: Any, place: Settings, tmp_path: Path, total: bool) -> None:
    http_server.data["/things"] = records(5)
    http_server.faults.kind = "loop"
    error = fails(http_server, place, tmp_path, DeliveryRefused, interface(total=total))
    assert error.rule_id == "delivery.paging"  # type: ignore[attr-defined]
    assert len(http_server.requests) == 2


def test_f47_a_short_page_does_not_add_up(http_server: Any, place: Settings, tmp_path: Path) -> None:
    http_server.data["/things"] = records(5)
    http_server.faults.kind, http_server.faults.at = "short", "2"
    error = fails(http_server, place, tmp_path, DeliveryRefused)
    assert error.rule_id == "delivery.total"  # type: ignore[attr-defined]


def test_f47_rows_inserted_while_reading_are_no_delivery(http_server: Any, place: Settings, tmp_path: Path) -> None:
    everything = records(5)

    def growing(query: Any) -> list[dict[str, Any]]:
        if query["page"] == "2":
            everything.insert(0, {"id": "new", "name": "新"})
        return everything

    http_server.data["/things"] = growing
    assert "changed while it was read" in str(fails(http_server, place, tmp_path, SourceUnavailable))


@pytest.mark.parametrize("kind", ["status", "business", "truncated", "html", "cut", "empty", "stall"])
def test_f47_a_passing_fault_is_tried_again(http_server: Any, place: Settings, tmp_path: Path, kind: str) -> None:
    http_server.data["/things"] = records(5)
    http_server.faults.kind, http_server.faults.times, http_server.faults.at = kind, 2, "2"
    http_server.faults.seconds = 1.5
    assert len(rows_of(open_at(interface(), place, tmp_path))) == 5


@pytest.mark.parametrize("kind", ["status", "business", "truncated", "html", "cut", "empty"])
def test_f47_a_lasting_fault_is_unavailable(http_server: Any, place: Settings, tmp_path: Path, kind: str) -> None:
    http_server.data["/things"] = records(5)
    http_server.faults.kind = kind
    assert "3 tries" in str(fails(http_server, place, tmp_path, SourceUnavailable))


def test_f47_retry_after_is_obeyed(http_server: Any, place: Settings, tmp_path: Path) -> None:
    http_server.data["/things"] = records(1)
    http_server.faults.kind, http_server.faults.status, http_server.faults.retry_after = "status", 429, 2
    http_server.faults.times = 1
    before = time.monotonic()
    assert len(rows_of(open_at(interface(), place, tmp_path))) == 1
    assert 1.9 <= time.monotonic() - before < 5


def test_too_many_pages_are_refused(http_server: Any, place: Settings, tmp_path: Path) -> None:
    http_server.data["/things"] = records(9)
    source = {"paging": {"style": "page", "parameter": "page", "size": 2, "max_pages": 3}}
    error = fails(http_server, place, tmp_path, DeliveryRefused, interface(source=source))
    assert error.rule_id == "delivery.paging"  # type: ignore[attr-defined]


def test_an_answer_beyond_the_cap_is_refused(
    http_server: Any, place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    http_server.data["/things"] = records(5)
    monkeypatch.setattr(http, "MAX_BODY", 50)
    error = fails(http_server, place, tmp_path, DeliveryRefused)
    assert error.rule_id == "delivery.too_large"  # type: ignore[attr-defined]


# --- access -------------------------------------------------------------------------------------------


def test_a_wrong_token_is_refused_and_not_shown(
    http_server: Any, place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    http_server.data["/things"] = records(1)
    connect(http_server, monkeypatch, password="falsch-geheim")
    error = fails(http_server, place, tmp_path, SourceRefused)
    assert "connection api" in str(error)
    assert "falsch-geheim" not in f"{error!r}{error.context}"
    with pytest.raises(SourceRefused):
        probe(interface(), place)


def test_a_wrong_path_is_refused_and_a_dead_server_unavailable(
    http_server: Any, place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "404" in str(fails(http_server, place, tmp_path, SourceRefused))
    connect(http_server, monkeypatch, port=1)
    fails(http_server, place, tmp_path, SourceUnavailable)


# --- what comes ---------------------------------------------------------------------------------------


def test_f49_numbers_keep_their_digits_and_nesting_its_text(http_server: Any, place: Settings, tmp_path: Path) -> None:
    http_server.data["/things"] = [
        {"id": 12345678901234567890, "name": None},
        {"id": 1.5, "name": {"甲": [1, True]}},
        {"id": "000123", "name": ""},
    ]
    assert rows_of(open_at(interface(size=9), place, tmp_path)) == [
        ("12345678901234567890", None), ("1.5", '{"甲": [1, true]}'), ("000123", ""),
    ]  # fmt: skip


def test_f16_keys_are_compared_on_every_page(http_server: Any, place: Settings, tmp_path: Path) -> None:
    http_server.data["/things"] = [{"id": "1"}]
    error = fails(http_server, place, tmp_path, DeliveryRefused)
    assert error.rule_id == "delivery.missing_column"  # type: ignore[attr-defined]
    http_server.data["/things"] = [*records(4), {"id": "9", "name": "x", "secret": "y"}]
    error = fails(http_server, place, tmp_path, DeliveryRefused)
    assert error.rule_id == "delivery.undeclared_column"  # type: ignore[attr-defined]
    assert len(rows_of(open_at(interface(contract="evolve"), place, tmp_path))) == 5


def test_windows_and_watermarks_become_parameters(http_server: Any, place: Settings, tmp_path: Path) -> None:
    http_server.data["/things"] = [
        {"id": "1", "name": "a", "ts": "2026-10-02 08:00:00"},
        {"id": "2", "name": "b", "ts": "2099-01-01 00:00:00"},
        {"id": "3", "name": "c", "ts": "2026-10-01 08:00:00"},
    ]
    source = {"cursor": "ts", "lag_seconds": 60, "parameters": {"since": "{window_start}", "until": "{window_end}"}}
    resource = interface(source=source, load="incremental", size=9)
    delivery = open_at(resource, place, tmp_path)
    assert len(rows_of(delivery)) == 3
    assert delivery.report.cursor_max == "2026-10-02 08:00:00"
    assert "since=2026-10-01T00%3A00%3A00%2B08%3A00" in http_server.requests[-1]
    again = open_at(resource, place, tmp_path, watermark=delivery.report.cursor_max)
    rows_of(again)
    assert "since=2026-10-02T07%3A59%3A00%2B08%3A00" in http_server.requests[-1]
    assert again.report.cursor_max == "2026-10-02 08:00:00"
