"""What pydantic can't see: whether the parts of a file agree with each other, with the code tables and the libraries."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from guiji.catalog.checker import Checker, dotted
from guiji.catalog.checks_source import check_source
from guiji.catalog.checks_units import check_joined, check_unit, check_unit_fields
from guiji.catalog.fingerprint import CODES, list_code_tables
from guiji.catalog.geometry_checks import check_shapes
from guiji.catalog.models import (
    DepartmentModel,
    FieldSpec,
    ResourceModel,
)
from guiji.catalog.problems import Problem
from guiji.catalog.strict_yaml import Node
from guiji.catalog.validate import list_keys
from guiji.limits import MOST_FIELDS

_EMAIL = re.compile(r"[^@\s<>,;\"]+@[^@\s<>,;\"]+")
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_ORDERED = ("int64", "float64", "date32", "timestamp")


# --- department ---------------------------------------------------------------------------------------


def check_department(model: DepartmentModel, tree: Node, directory: str) -> list[Problem]:
    c = Checker(tree)
    if model.id != directory:
        c.add(("id",), f"id is {model.id!r}, but the folder is {directory!r}", mend=f"Write id: {directory}.")
    if len(model.id) > 21:
        c.add(("id",), f"id {model.id!r} has {len(model.id)} characters; at most 21 are allowed")
    allowed = [k for k in list_keys(ResourceModel) if k not in ("id", "code", "name", "fields", "key")]
    for key in model.defaults:
        if key not in allowed:
            c.add(("defaults", key), f"defaults holds {key!r}", allowed=allowed, word=key)
    if not model.contacts:
        c.add((), "a department needs at least one contact, or nobody is told what to mend")
    _check_contacts(c, ("contacts",), [x.email for x in model.contacts])
    return c.problems


def _check_contacts(c: Checker, path: Sequence[int | str], emails: Iterable[str]) -> None:
    for i, email in enumerate(emails):
        if not _EMAIL.fullmatch(email):
            c.add((*path, i, "email"), f"email is {email!r}, which is no mail address")


# --- one resource, from its own file ------------------------------------------------------------------


def check_resource(model: ResourceModel, tree: Node, file: Path, *, expressions: bool = True) -> list[Problem]:
    """Everything that can be said from the file and the code tables alone; expressions are parsed where asked."""
    c = Checker(tree, expressions=expressions)
    expected = f"{file.parent.name}.{file.stem}"
    if model.id != expected:
        c.add(("id",), f"id is {model.id!r}, but the file's place says {expected!r}", mend=f"Write id: {expected}.")
    _check_metadata(c, model)
    names = [f.name for f in model.fields]
    if len(names) > MOST_FIELDS:
        c.add(
            ("fields",),
            f"fields has {len(names)} entries; at most {MOST_FIELDS} are checked within 1 GB of memory",
            mend="Part them into several resources with the same key; columns that no field names are not gathered.",
        )
    _check_twice(c, "name", names)
    _check_spellings(c, model.fields)
    tables = list_code_tables()
    for i, spec in enumerate(model.fields):
        _check_field(c, i, spec, tables)
    check_unit_fields(c, model)
    check_joined(c, model)
    for path, message, allowed, word in check_shapes(model.fields, known=expressions):
        c.add(path, message, allowed=allowed, word=word)
    c.check_names(("key",), model.key, names, "field")
    for i, name in enumerate(model.key):
        if name in names and model.field(name).type in ("geometry", "float64"):
            c.add(("key", i), f"key names {name!r} of type {model.field(name).type}, which can't identify a row")
    c.check_names(("order",), model.order, names, "field")
    _check_rules(c, model, names)
    if model.tombstone is not None:
        c.check_expression(("tombstone",), model.tombstone, names)
    for i, mapping in enumerate(model.mappings):
        c.check_names(("mappings", i, "key"), mapping.key, names, "field")
        for link, fields in mapping.by.items():
            c.check_names(("mappings", i, "by", link), fields, names, "field")
        for target, name in mapping.fields.items():
            if name not in names:
                c.add(
                    ("mappings", i, "fields", target),
                    f"{target} is fed by {name!r}, which is no field",
                    allowed=names,
                    word=name,
                )
        if mapping.where is not None:
            c.check_expression(("mappings", i, "where"), mapping.where, names)
    _check_bands(c, model, names)
    check_source(c, model)
    _check_contacts(c, ("contacts",), [x.email for x in model.contacts])
    return c.problems


def _check_metadata(c: Checker, model: ResourceModel) -> None:
    _check_date(c, ("published",), model.published)
    if model.delivery.since is not None:
        _check_date(c, ("delivery", "since"), model.delivery.since)
    if not _TIME.fullmatch(model.delivery.due_time):
        c.add(("delivery", "due_time"), f'due_time is {model.delivery.due_time!r}, but must be a time such as "18:00"')
    if model.delivery.cron is not None and len(model.delivery.cron.split()) != 5:
        c.add(("delivery", "cron"), f'cron is {model.delivery.cron!r}, but must have five parts, such as "0 2 * * *"')
    try:
        ZoneInfo(model.time_zone)
    except (KeyError, ValueError, OSError):
        c.add(("time_zone",), f"time_zone {model.time_zone!r} is unknown", mend="Write for instance Asia/Shanghai.")
    if len(f"{model.table}") > 63:
        c.add(("id",), f"table name {model.table!r} is longer than 63 bytes")


def _check_date(c: Checker, path: Sequence[int | str], text: str) -> None:
    try:
        date.fromisoformat(text)
    except ValueError:
        c.add(path, f"{dotted(path)} is {text!r}, but must be a date such as 2024-03-01")


def _check_twice(c: Checker, key: str, words: Sequence[str]) -> None:
    seen: dict[str, int] = {}
    for i, word in enumerate(words):
        if word in seen:
            c.add(("fields", i), f"fields[{seen[word]}] and fields[{i}] have the same {key} {word!r}")
        seen.setdefault(word, i)


def _check_spellings(c: Checker, fields: Sequence[FieldSpec]) -> None:
    """No column name or alias may stand for two fields; width, blanks and case make no difference in a header."""
    seen: dict[str, int] = {}
    for i, spec in enumerate(fields):
        if spec.is_made:
            continue
        for word in {spec.source_column: None, **dict.fromkeys(spec.aliases)}:
            plain = "".join(unicodedata.normalize("NFKC", word).lower().split())
            if seen.setdefault(plain, i) != i:
                c.add(("fields", i), f"fields[{seen[plain]}] and fields[{i}] have the same column {word!r}")


def _check_field(c: Checker, i: int, spec: FieldSpec, tables: Sequence[str]) -> None:
    path = ("fields", i)
    if spec.codes is not None and spec.codes not in tables:
        c.add(
            (*path, "codes"),
            f"there is no code table {spec.codes!r} in {CODES.parent.name}/{CODES.name}",
            allowed=tables,
            word=spec.codes,
        )
    if spec.codes is None and (spec.code_map.fixable or spec.code_map.ignored):
        c.add((*path, "code_map"), f"field {spec.name}: code_map needs codes, the table that it maps to")
    both = sorted(set(spec.code_map.fixable) & set(spec.code_map.ignored))
    if both:
        c.add((*path, "code_map"), f"field {spec.name}: {', '.join(both)} is both fixable and ignored")
    text = spec.type == "string"
    for key in ("length", "pattern", "codes", "identifier"):
        if getattr(spec, key) is not None and not text:
            c.add((*path, key), f"field {spec.name}: {key} is for type string, not {spec.type}")
    if spec.formats and spec.type not in ("date32", "timestamp"):
        c.add((*path, "formats"), f"field {spec.name}: formats is for date32 and timestamp, not {spec.type}")
    for j, form in enumerate(spec.formats):
        if "%" not in form:
            c.add(
                (*path, "formats", j),
                f"field {spec.name}: {form!r} is no strptime format",
                mend='Write for instance "%Y%m%d".',
            )
    if spec.pattern is not None:
        c.check_regex((*path, "pattern"), spec.pattern)
    if spec.crs is not None and spec.type != "geometry":
        c.add((*path, "crs"), f"field {spec.name}: crs is for type geometry, not {spec.type}")
    check_unit(c, path, spec)
    if spec.bounds is not None:
        if spec.type != "geometry":
            c.add((*path, "bounds"), f"field {spec.name}: bounds is for type geometry, not {spec.type}")
        elif not (spec.bounds[0] < spec.bounds[2] and spec.bounds[1] < spec.bounds[3]):
            mend = "Write [west, south, east, north], longitude before latitude."
            c.add((*path, "bounds"), f"field {spec.name}: bounds {spec.bounds} is no box", mend=mend)
    if spec.type.startswith("decimal128"):
        precision, scale = (int(n) for n in re.findall(r"\d+", spec.type)[1:])
        if not 1 <= precision <= 38 or scale > precision:
            c.add(
                (*path, "type"),
                f"field {spec.name}: {spec.type} must have 1 to 38 digits and no more decimals than digits",
            )
    _check_bounds(c, path, spec)


def _check_bounds(c: Checker, path: tuple[str, int], spec: FieldSpec) -> None:
    bounds: list[float | datetime] = []
    for key in ("minimum", "maximum"):
        value = getattr(spec, key)
        if value is None:
            continue
        if spec.type not in _ORDERED and not spec.type.startswith("decimal128"):
            c.add((*path, key), f"field {spec.name}: {key} is for numbers and dates, not {spec.type}")
        elif spec.type in ("date32", "timestamp"):
            try:
                bounds.append(datetime.fromisoformat(str(value)).replace(tzinfo=None))
            except ValueError:
                c.add((*path, key), f"field {spec.name}: {key} is {value!r}, but must be a date such as 1900-01-01")
        elif isinstance(value, str):
            c.add(
                (*path, key),
                f"field {spec.name}: {key} is {value!r}, but must be a number",
                mend="Write it without quotes.",
            )
        else:
            bounds.append(value)
    if len(bounds) == 2 and bounds[0] > bounds[1]:  # type: ignore[operator]
        c.add((*path, "minimum"), f"field {spec.name}: minimum is larger than maximum")


def _check_bands(c: Checker, model: ResourceModel, names: Sequence[str]) -> None:
    """The fields that ``tolerance`` names are there, and those whose distribution is guarded have few values."""
    countable = [f.name for f in model.fields if f.codes is not None or f.type == "bool"]
    for key, allowed in (("nulls", names), ("distribution", countable)):
        for name in getattr(model.tolerance, key):
            if name not in names:
                c.add(
                    ("tolerance", key, name),
                    f"tolerance.{key} names {name!r}, which is no field",
                    allowed=allowed,
                    word=name,
                )
            elif name not in allowed:
                c.add(
                    ("tolerance", key, name),
                    f"tolerance.{key} names {name!r}, which has neither codes nor the type bool",
                    allowed=allowed,
                )


def _check_rules(c: Checker, model: ResourceModel, names: Sequence[str]) -> None:
    seen: dict[str, int] = {}
    for i, rule in enumerate(model.rules):
        if rule.id in seen:
            c.add(("rules", i), f"rules[{seen[rule.id]}] and rules[{i}] have the same id {rule.id!r}")
        seen.setdefault(rule.id, i)
        c.check_expression(("rules", i, "expr"), rule.expr, names)
        c.check_names(("rules", i, "fields"), rule.fields, names, "field")


# --- source -------------------------------------------------------------------------------------------
