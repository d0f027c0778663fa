"""Resources with an HTTP interface, and what its tests share."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from delivering import make_resource, open_at, rows_of

from guiji.catalog.models import Resource
from guiji.connections import Connection
from guiji.errors import GuijiError
from guiji.settings import Settings


def connect(server: Any, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    values = {f.name: getattr(server, f.name) for f in dataclasses.fields(Connection)} | {"conn_id": "api"} | changes
    values["extra"] = {"timeout": 1, "attempts": 3} | changes.get("extra", {})
    monkeypatch.setenv("AIRFLOW_CONN_API", Connection(**values).to_json())


def paging(style: str, size: int = 2) -> dict[str, Any]:
    """``paging`` of a style by name; some have a variant."""
    word = style.split()[0]
    following = {"link": None, "link in body": "data.next_url"}.get(style, "data.next")
    overlap = style != "offset without overlap"
    return {"style": word, "parameter": word, "size": size, "next": following, "overlap": overlap}


def interface(style: str = "page", *, total: bool = True, size: int = 2, **more: Any) -> Resource:
    source = {
        "kind": "http", "connection": "api", "path": "/things", "records": "data.records", "code": "code", "ok": ["0"],
        "message": "message", "token_header": "X-Token",
        "paging": paging(style, size),
    }  # fmt: skip
    if total:
        source["total"] = "data.total"
    fields = more.pop("fields", ["id", "name"])
    return make_resource(source | more.pop("source", {}), fields, **more)


def records(count: int) -> list[dict[str, Any]]:
    return [{"id": f"{i:03d}", "name": f"人{i}"} for i in range(count)]


def as_rows(expected: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(r["id"], r["name"]) for r in expected]


def fails(
    server: Any, place: Settings, tmp_path: Path, kind: type[GuijiError], resource: Resource | None = None
) -> GuijiError:
    with pytest.raises(kind) as caught:
        rows_of(open_at(resource or interface(), place, tmp_path))
    assert type(caught.value) is kind
    return caught.value
