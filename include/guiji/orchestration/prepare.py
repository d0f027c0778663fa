"""Brings the metadata database up to date and sets one pool per front-end processor.

Run as ``python -m guiji.orchestration.prepare`` in the environment of ``environment.airflow_environment``:
one process and one import of Airflow instead of ``airflow db migrate`` and ``airflow pools import``.
"""

from __future__ import annotations

from guiji.catalog import list_resource_ids, load_department
from guiji.errors import CatalogError
from guiji.orchestration.shards import pool_name
from guiji.settings import Settings


def prepare(settings: Settings) -> dict[str, int]:
    """Migrates the metadata database and returns the pools that stand now, name -> slots."""
    from airflow.models.pool import Pool
    from airflow.utils.db import upgradedb

    upgradedb()
    pools: dict[str, int] = {}
    for department_id in sorted({i.partition(".")[0] for i in list_resource_ids(settings.catalog)}):
        try:
            department = load_department(settings.catalog, department_id)
        except CatalogError:
            continue  # its resources are placeholders that run nothing (F-59)
        name = pool_name(department.id)
        Pool.create_or_update_pool(
            name=name,
            slots=department.pool_slots,
            description=f"{department.name} 前置机",
            include_deferred=False,
        )
        pools[name] = department.pool_slots
    return pools


if __name__ == "__main__":
    prepare(Settings.from_env())
