"""The catalog: one strict YAML file per resource says what it is, never which operators to run.

``models`` what a file may say · ``strict_yaml`` YAML without surprises, with places · ``validate`` tree to model, errors
to problems · ``checks`` what pydantic can't see · ``links`` whether files agree · ``expressions`` conditions by an
allow-list · ``binding`` whether they fit the types · ``fingerprint`` when rows must be judged again · ``loader`` files to
``Catalog`` · ``schema_files`` JSON Schema for editors · ``key_tables`` the tables of the docs · ``render`` for people.
"""

from __future__ import annotations

from guiji.catalog.loader import (
    Catalog,
    check_catalog,
    list_resource_ids,
    load_catalog,
    load_department,
    load_libraries,
    load_resource,
)
from guiji.catalog.problems import Problem
from guiji.catalog.render import list_row, render_resource
from guiji.catalog.schema_files import json_schema

__all__ = [
    "Catalog",
    "Problem",
    "check_catalog",
    "json_schema",
    "list_resource_ids",
    "list_row",
    "load_catalog",
    "load_department",
    "load_libraries",
    "load_resource",
    "render_resource",
]
