"""From a YAML tree to a model; every pydantic error becomes a Problem with file, line and the nearest right word."""

from __future__ import annotations

import json
import types
import typing
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from guiji.catalog.problems import Problem, find_nearest
from guiji.catalog.strict_yaml import Node

M = TypeVar("M", bound=BaseModel)


def validate_tree(model: type[M], tree: Node) -> tuple[M | None, list[Problem]]:
    """The model and no problem, or None and every problem. Strict: a number is no text, ``"1"`` no number."""
    if not isinstance(tree.value, dict):
        return None, [
            Problem(
                tree.file,
                tree.line,
                tree.column,
                "the file must be a mapping of keys to values",
                tuple(list_keys(model)),
            )
        ]
    try:
        text = json.dumps(tree.plain(), ensure_ascii=False)
        return model.model_validate_json(text, strict=True), []
    except ValidationError as exc:
        errors = exc.errors(include_url=False)
        unknown = [e for e in errors if e["type"] == "extra_forbidden"]
        # a misspelt key is both unknown and missing: say it once
        meant = {(e["loc"][:-1], find_nearest(str(e["loc"][-1]), _keys_at(model, e["loc"][:-1]))) for e in unknown}
        told = [e for e in errors if not (e["type"] == "missing" and (e["loc"][:-1], e["loc"][-1]) in meant)]
        return None, list(dict.fromkeys(_translate(model, tree, e) for e in told))


def list_keys(model: type[BaseModel]) -> list[str]:
    """The keys a model accepts, as they are written in YAML."""
    return [f.alias or name for name, f in model.model_fields.items()]


def locate(tree: Node, path: typing.Sequence[int | str], *, key: bool = False) -> tuple[str, int, int]:
    """File, line and column of the deepest node of ``path`` that exists; of its key with ``key``."""
    place = (tree.file, tree.line, tree.column)
    node = tree
    for step in path:
        value = node.value
        if isinstance(value, dict) and isinstance(step, str) and step in value:
            child = value[step]
            line, column = node.keys.get(step, (child.line, child.column))
            # a long block begins where its key stands: that is the line to show
            block = isinstance(child.value, dict | list) or key
            place = (child.file, line, column) if block else (child.file, child.line, child.column)
            node = child
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            node = value[step]
            place = (node.file, node.line, node.column)
    return place


#: a part of a name's pattern -> how such a name is written
_SAID_PATTERNS = (
    (r"\.[a-z]", "Write DEPARTMENT.NAME in small letters, digits and _, such as gaj.household."),
    ("^[a-z]", "Write small letters, digits and _, beginning with a letter; the Chinese name stands in title."),
)


def _translate(model: type[BaseModel], tree: Node, error: ErrorDetails) -> Problem:
    loc, kind, context = error["loc"], error["type"], error.get("ctx", {})
    given = error.get("input")
    name = _name(loc)
    file, line, column = locate(tree, loc)
    if kind == "extra_forbidden":
        file, line, column = locate(tree, loc, key=True)
        keys = _keys_at(model, loc[:-1])
        word = str(loc[-1])
        return Problem(file, line, column, f"unknown key {word!r}", tuple(keys), find_nearest(word, keys))
    if kind == "missing":
        owner = _name(loc[:-1])
        return Problem(file, line, column, f"key {loc[-1]!r} is missing" + (f" in {owner}" if owner else ""))
    if kind in ("enum", "literal_error"):
        allowed = tuple(w.strip(" '") for w in str(context.get("expected", "")).replace(" or ", ", ").split(", "))
        word = str(given)
        return Problem(file, line, column, f"{name} is {word!r}", allowed, find_nearest(word, allowed))
    if kind == "union_tag_invalid":
        allowed = tuple(w.strip(" '") for w in str(context.get("expected_tags", "")).split(","))
        tag = str(context.get("tag"))
        file, line, column = locate(tree, (*loc, "kind"))
        return Problem(file, line, column, f"kind of {name} is {tag!r}", allowed, find_nearest(tag, allowed))
    if kind == "union_tag_not_found":
        return Problem(file, line, column, f"{name} needs a kind", ("database", "sftp", "ftp", "files", "http"))
    if kind == "string_type" and isinstance(given, bool | int | float):
        shown = str(given).lower() if isinstance(given, bool) else given
        return Problem(file, line, column, f"{name} must be text", mend=f'Put it in quotes: "{shown}".')
    if kind == "string_type" and given is None:
        return Problem(file, line, column, f"{name} must be text, but nothing is written")
    if kind == "bool_type":
        nearest = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(str(given).lower())
        return Problem(file, line, column, f"{name} is {given!r}", ("true", "false"), nearest)
    if kind in ("int_type", "float_type"):
        return Problem(
            file,
            line,
            column,
            f"{name} is {given!r}, but must be a number",
            mend="Write it plainly: no quotes, no leading zeros.",
        )
    if kind in ("list_type", "tuple_type"):
        written = given if isinstance(given, str | int | float) else "…"
        return Problem(file, line, column, f"{name} must be a list", mend=f"Write it in brackets: [{written}].")
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        inner = tuple(_keys_at(model, loc))
        return Problem(
            file, line, column, f"{name} must be a block of keys, not {given!r}", inner, mend="Write {key: value}."
        )
    if kind == "string_pattern_mismatch":
        pattern = str(context.get("pattern"))
        mend = next((said for begins, said in _SAID_PATTERNS if begins in pattern), "")
        return Problem(file, line, column, f"{name} is {given!r}, which doesn't match {pattern}", mend=mend)
    if kind == "less_than_equal" and context.get("le") == 1.0:
        return Problem(file, line, column, f"{name} is {given}, but is a share of 1", mend="Write 0.05 for 5 %.")
    if kind == "value_error":
        return Problem(file, line, column, f"{name}: {context.get('error')}" if name else str(context.get("error")))
    message = error["msg"][:1].lower() + error["msg"][1:]
    return Problem(file, line, column, f"{name}: {message}" if name else message)


def _name(loc: typing.Sequence[int | str]) -> str:
    """``fields[3].type`` for a pydantic location; union tags stay out."""
    text = ""
    for step in loc:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step not in ("database", "sftp", "ftp", "files", "http", "[key]") and not step.startswith("function-"):
            text += f".{step}" if text else step
    return text


def _keys_at(model: type[BaseModel], loc: typing.Sequence[int | str]) -> list[str]:
    """The keys allowed at a location: walks the annotations beside the path."""
    current: list[Any] = [model]
    for step in loc:
        following: list[Any] = []
        for annotation in current:
            for option in _options(annotation):
                origin = typing.get_origin(option)
                if isinstance(step, int) and origin in (list, tuple):
                    following.append(typing.get_args(option)[0])
                elif isinstance(step, str) and origin is dict:
                    following.append(typing.get_args(option)[1])
                elif isinstance(step, str) and isinstance(option, type) and issubclass(option, BaseModel):
                    field = next((f for n, f in option.model_fields.items() if step in (n, f.alias)), None)
                    if field is not None:
                        following.append(field.annotation)
                    elif "kind" in option.model_fields and step in typing.get_args(
                        option.model_fields["kind"].annotation
                    ):
                        following.append(option)  # the step is a union's tag
        current = following
    models = [o for a in current for o in _options(a) if isinstance(o, type) and issubclass(o, BaseModel)]
    return list(dict.fromkeys(k for m in models for k in list_keys(m)))


def _options(annotation: Any) -> list[Any]:
    """The members of a union, without Annotated and None."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _options(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [o for a in typing.get_args(annotation) for o in _options(a) if o is not type(None)]
    return [annotation]
