"""JSON Schemas of the three kinds of catalog file, generated from the models, for editors.

A file names its schema in its first line: ``# yaml-language-server: $schema=<path to schema/resource.json>``.
``./guiji catalog schema`` writes them; a test fails when they are stale.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from guiji.catalog.models import DepartmentModel, LibraryModel, Model, ResourceModel
from guiji.catalog.problems import find_nearest
from guiji.errors import UsageError

DIRECTORY = Path(__file__).with_name("schema")
KINDS: dict[str, type[Model]] = {"resource": ResourceModel, "department": DepartmentModel, "library": LibraryModel}


def json_schema(kind: str) -> dict[str, Any]:
    """The schema of ``resource``, ``department`` or ``library``.

    Of a resource nothing that a department's defaults may give is required here; the loader asks for it.
    """
    if kind not in KINDS:
        nearest = find_nearest(kind, KINDS)
        hint = f" Did you mean {nearest!r}?" if nearest else ""
        raise UsageError(f"There is no schema {kind!r}. Allowed: {', '.join(KINDS)}.{hint}")
    schema = KINDS[kind].model_json_schema(by_alias=True)
    if kind == "resource":
        schema["required"] = [k for k in schema["required"] if k in ("id", "code", "name", "fields", "key")]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def render_schema(kind: str) -> str:
    """The text of ``schema/<kind>.json``."""
    return json.dumps(json_schema(kind), ensure_ascii=False, indent=2) + "\n"


def write_schemas(directory: Path = DIRECTORY) -> list[Path]:
    """Writes the schema files that are absent or stale; returns those that were written."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for kind in KINDS:
        file = directory / f"{kind}.json"
        text = render_schema(kind)
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            written.append(file)
    return written
