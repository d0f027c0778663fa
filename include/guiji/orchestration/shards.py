"""Which resource belongs to which DAG file, known from file names alone.

A DAG file builds at most 200 DAGs (3,000 in one file exceed Airflow's parse timeout). Ids are spread over the
shards by a jump consistent hash, so that a further shard moves few DAGs: a moved DAG is a new DAG version.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from guiji.catalog import list_resource_ids

DAGS_PER_FILE = 200
_AIM = 140  # mean load of a shard; a hash spreads unevenly, and 140 leaves five standard deviations to 200
_SHARD = re.compile(r"_(\d+)\.py$")


def list_library_names(catalog: Path) -> list[str]:
    """Names of all library files, sorted; reads no file."""
    return sorted(path.stem for path in (catalog / "libraries").glob("*.yml"))


def count_shards(ids: int) -> int:
    return max(1, -(-ids // _AIM))


def shard_of(resource_id: str, shards: int) -> int:
    """Jump consistent hash (Lamping and Veach 2014) of the id; the same in every process and version."""
    key = int.from_bytes(hashlib.sha256(resource_id.encode()).digest()[:8], "big")
    bucket, following = -1, 0
    while following < shards:
        bucket = following
        key = (key * 2862933555777941757 + 1) & 0xFFFFFFFFFFFFFFFF
        following = int((bucket + 1) * (float(1 << 31) / float((key >> 33) + 1)))
    return bucket


def list_shard(catalog: Path, file: str) -> list[str]:
    """The ids that the DAG file ``…_NN.py`` builds."""
    match = _SHARD.search(file)
    if match is None:
        raise ValueError(f"{file} is no shard: its name must end with _NN.py")
    ids = list_resource_ids(catalog)
    shards = count_shards(len(ids))
    return [i for i in ids if shard_of(i, shards) == int(match.group(1))]


def list_unassigned(catalog: Path, file: str) -> list[str]:
    """The ids of shards whose file doesn't stand beside ``file``: they are not scheduled until somebody copies one."""
    ids = list_resource_ids(catalog)
    shards = count_shards(len(ids))
    present = {int(m.group(1)) for p in Path(file).parent.glob("resources_*.py") if (m := _SHARD.search(p.name))}
    return [i for i in ids if shard_of(i, shards) not in present]


def pool_name(department_id: str) -> str:
    """The pool that guards a department's front-end processor (F-72)."""
    return f"fep_{department_id}"
