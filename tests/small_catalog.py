"""A small catalog, written on the spot: departments, resources of every supply way, one library."""

from __future__ import annotations

from pathlib import Path

DEPARTMENT = """\
id: {id}
name: {name}
short_name: {name}
credit_code: 11150602MB0000000X
leader: 张三
section: 信息股
pool_slots: 2
contacts:
  - {{name: 李四, email: li@example.com}}
"""

RESOURCE = """\
id: {id}
code: "000001/{number:06d}"
name: {name}
summary: 一行一人
category: {{class: 基础信息资源, item: 人口}}
format: 数据库
system: 人口系统
sharing: {{type: 无条件共享}}
update_cycle: {cycle}
published: "2026-01-01"
source: {source}
fields:
  - {{name: id_no, title: 身份证号, nullable: false, identifier: citizen_id, sensitivity: 4}}
  - {{name: name, title: 姓名, sensitivity: 3}}
key: [id_no]
{more}"""

LIBRARY = """\
name: population
table: person
title: 人口库
key:
  - {name: id_no, title: 公民身份号码, sensitivity: 4}
fields:
  - {name: name, title: 姓名, sensitivity: 3, authority: [gaj]}
"""

MAPPING = """\
mappings:
  - {library: population, key: [id_no], fields: {name: name}}
"""


def write_department(catalog: Path, id: str, name: str) -> None:
    (catalog / id).mkdir(parents=True, exist_ok=True)
    (catalog / id / "department.yml").write_text(DEPARTMENT.format(id=id, name=name), encoding="utf-8")


def write_resource(
    catalog: Path,
    id: str,
    *,
    name: str = "户籍人口",
    cycle: str = "每日",
    source: str = "{kind: database, connection: fep_gaj, table: person}",
    more: str = "",
    number: int = 1,
) -> Path:
    department, _, short = id.partition(".")
    path = catalog / department / f"{short}.yml"
    path.write_text(
        RESOURCE.format(id=id, name=name, cycle=cycle, source=source, more=more, number=number), encoding="utf-8"
    )
    return path


def write_library(catalog: Path) -> None:
    (catalog / "libraries").mkdir(parents=True, exist_ok=True)
    (catalog / "libraries" / "population.yml").write_text(LIBRARY, encoding="utf-8")


def write_catalog(catalog: Path, resources: int = 3) -> list[str]:
    """``resources`` resources of two departments and the population library; returns the ids, sorted."""
    write_department(catalog, "gaj", "公安局")
    write_department(catalog, "wjw", "卫健委")
    write_library(catalog)
    ids = []
    for n in range(resources):
        id = f"{'gaj' if n % 2 == 0 else 'wjw'}.r{n:04d}"
        write_resource(catalog, id, name=f"资源{n}", more=MAPPING if n == 0 else "", number=n + 1)
        ids.append(id)
    return sorted(ids)
