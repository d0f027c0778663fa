"""JSON Schemas of the three kinds of catalog file, generated from the models, for editors.

A file names its schema in its first line: ``# yaml-language-server: $schema=<path to schema/resource.json>``.
``python -m guiji.catalog.schema_files`` writes them; a test fails when they are stale.
"""

from __future__ import annotations

import ast
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from guiji.catalog import models
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
    _describe(schema, KINDS[kind].__name__)
    for name, definition in schema.get("$defs", {}).items():
        _describe(definition, name)
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


@lru_cache(maxsize=1)
def read_docstrings() -> dict[str, dict[str, str]]:
    """Model name -> key as written in YAML -> the docstring under the field, in one line."""
    files = sorted(Path(models.__file__).parent.glob("model*.py"))
    bodies = [node for file in files for node in ast.parse(file.read_text(encoding="utf-8")).body]
    found: dict[str, dict[str, str]] = {}
    for cls in (n for n in bodies if isinstance(n, ast.ClassDef)):
        model = getattr(models, cls.name)
        aliases = {n: f.alias for n, f in getattr(model, "model_fields", {}).items() if f.alias}
        fields = found.setdefault(cls.name, {})
        for field, doc in zip(cls.body, cls.body[1:], strict=False):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            if isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant) and isinstance(doc.value.value, str):
                name = field.target.id
                fields[aliases.get(name) or name] = " ".join(doc.value.value.split())
    return found


def _describe(definition: dict[str, Any], model_name: str) -> None:
    for key, text in read_docstrings().get(model_name, {}).items():
        if key in definition.get("properties", {}):
            definition["properties"][key]["description"] = text


if __name__ == "__main__":
    for path in write_schemas():
        print(path)
