"""What ``libraries/<name>.yml`` may say: one base or topic library and how its values are chosen."""

from __future__ import annotations

from typing import Literal

from guiji.catalog.model_base import Model, PhysicalName


class LibraryField(Model):
    name: PhysicalName
    """physical name: short ASCII"""
    title: str
    """name in Chinese, the COMMENT of the column"""
    type: str = "string"
    """as a field's type"""
    sensitivity: Literal[1, 2, 3, 4] = 1
    """分级, as a field's; not lower than that of what feeds it"""
    strategy: Literal["authority", "newest_non_null"] = "authority"
    """authority: the first department of ``authority`` that has a value; newest_non_null: the newest value"""
    authority: list[str] = []
    """departments in order; a department that is not named can't supply this field under ``authority``"""
    crs: str | None = None
    """coordinate reference system of a geometry"""


class LibraryModel(Model):
    """``libraries/<name>.yml``: one base or topic library. A further library is a further file, no code."""

    name: PhysicalName
    """name on the command line (population)"""
    table: PhysicalName
    """table in schema ``library`` (person)"""
    title: str
    """name in Chinese"""
    kind: Literal["base", "topic"] = "base"
    """base (基础库) or topic (主题库)"""
    key: list[LibraryField]
    """key columns; strategy does not apply"""
    fields: list[LibraryField]
    """all columns beside the key"""
    vintages: bool = False
    """keep every published value instead of overwriting (economy)"""
    demand: list[str] = []
    """数据需求清单: resource ids that should feed it"""
    summary: str = ""
    """grain, scope and which department is believed for what"""
