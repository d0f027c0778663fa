"""The tables of ``docs/catalog.md``: every key of every model with its values, its default and its meaning."""

from __future__ import annotations

import types
import typing
from enum import StrEnum
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from guiji.catalog import models
from guiji.catalog.schema_files import read_docstrings

#: model -> heading, in the order in which a reader meets them
SECTIONS: dict[str, str] = {
    "DepartmentModel": "`<department>/department.yml`",
    "Contact": "`contacts`: one person",
    "ResourceModel": "`<department>/<resource>.yml`",
    "Category": "`category`",
    "Sharing": "`sharing`",
    "Opening": "`opening`",
    "FieldSpec": "`fields`: one field",
    "CodeMap": "`fields[].code_map`",
    "ByShape": "`fields[].by_shape`",
    "Overlap": "`fields[].overlap`",
    "Rule": "`rules`: one rule",
    "Tolerance": "`tolerance`",
    "Delivery": "`delivery`",
    "Reconciling": "`reconcile`",
    "LibraryMapping": "`mappings`: one library",
    "DatabaseSource": "`source`, kind `database`",
    "RemoteFilesSource": "`source`, kind `sftp` or `ftp`",
    "FilesSource": "`source`, kind `files`",
    "HttpSource": "`source`, kind `http`",
    "Paging": "`source.paging` (http)",
    "TokenRequest": "`source.token` (http)",
    "Signature": "`source.signature` (http)",
    "Completeness": "`source.complete` (files, sftp, ftp)",
    "Format": "`source.format` (files, sftp, ftp)",
    "Layout": "`source.format.layout`",
    "Unpivot": "`source.format.layout.unpivot`",
    "LibraryModel": "`libraries/<name>.yml`",
    "LibraryField": "`key` and `fields` of a library",
    "Link": "`links` of a library: one secondary key",
    "Matching": "`matching` of a library",
}


def render_keys() -> str:
    """Markdown: a heading and a table per model."""
    return "\n\n".join(_render_model(name, heading) for name, heading in SECTIONS.items())


def _render_model(name: str, heading: str) -> str:
    model: type[BaseModel] = getattr(models, name)
    meanings = read_docstrings()[name]
    lines = [f"### {heading}", "", "| key | value | default | meaning |", "|---|---|---|---|"]
    for field_name, info in model.model_fields.items():
        key = info.alias or field_name
        cells = (f"`{key}`", _show_values(info.annotation), _show_default(info), meanings.get(key, ""))
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines)


def _show_values(annotation: Any) -> str:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _show_values(args[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_show_values(a) for a in args if a is not type(None)))
    if origin is typing.Literal:
        return ", ".join(f"`{a}`" for a in args)
    if origin is list:
        return f"list of {_show_values(args[0])}"
    if origin is dict:
        return f"mapping of text to {_show_values(args[1])}"
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return "、".join(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "block"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "`true`, `false`"}.get(
        getattr(annotation, "__name__", ""), "any"
    )


def _show_default(info: FieldInfo) -> str:
    if info.is_required():
        return "**required**"
    value = info.get_default(call_default_factory=True)
    if value in (None, [], {}, "") or isinstance(value, BaseModel):
        return "–"
    if isinstance(value, str):
        return f"`{value.encode('unicode_escape').decode() if value.isspace() else value}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
