"""Runs deliveries in processes that are killed at a failpoint and run again; prints the state after each as JSON.

A process of its own, so that it can fork before it has threads or connections. Usage: crash_child.py SEEDS.
"""

from __future__ import annotations

import json
import os
import random
import sys
from dataclasses import replace
from functools import partial
from typing import Any

from packages import Bad, SmallCatalog, deliver, make_library, make_resource

from guiji.library.resolve import resolve
from guiji.settings import Settings
from guiji.warehouse import connect

POINTS = ("publish.before_commit", "publish.after_commit", "resolve.before_commit")
LIBRARIES = {
    "gaj.crashed": make_library(
        name="crashed", table="crashed", fields=[{"name": "name", "title": "姓名", "authority": ["gaj"]}]
    ),
    "gaj.whole": make_library(
        name="whole", table="whole", fields=[{"name": "name", "title": "姓名", "authority": ["gaj"]}]
    ),
}
RESOURCES = {
    id: make_resource(
        id, mappings=[{"library": library.name, "key": ["id_no"], "fields": {"name": "name"}}], load="snapshot"
    )
    for id, library in LIBRARIES.items()
}


def run(settings: Settings, resource_id: str, seed: int) -> None:
    """One delivery of random rows, some of them bad, published and resolved."""
    rng = random.Random(seed)
    keys = rng.sample(range(30), rng.randint(3, 15))
    bad = [Bad((rng.choice(("a.x", "b.y")),), str(k)) for k in rng.sample(range(30, 40), rng.randint(0, 2))]
    rows = [{"id_no": str(k), "name": rng.choice("甲乙丙"), "amount": None} for k in keys]
    catalog = SmallCatalog(RESOURCES, {library.name: library for library in LIBRARIES.values()})
    with connect(settings) as conn:
        deliver(
            conn,
            settings,
            RESOURCES[resource_id],
            rows,
            day=seed,
            batch=f"{resource_id}{seed}",
            bad=bad,
            cursor=str(seed),
            cache=True,
        )
        resolve(conn, settings, LIBRARIES[resource_id].name, catalog)


def state(settings: Settings, resource_id: str) -> dict[str, Any]:
    """Everything that a run leaves behind, without what differs between two runs (ids of batches and rows, times)."""
    table = resource_id.replace(".", "__")
    library = LIBRARIES[resource_id].name
    queries = {
        "rows": f"SELECT id_no, name, _deleted_at IS NULL FROM source.{table} ORDER BY 1",
        "history": f"SELECT id_no, name FROM source.{table}__history ORDER BY 1, _superseded_at, 2",
        "batches": "SELECT status, rows_read, rows_rejected, rows_new, rows_changed, rows_unchanged, rows_deleted"
        f" FROM ops.batch WHERE resource_id = '{resource_id}' ORDER BY batch_no",
        "rejected": f"SELECT row_no, rules FROM ops.rejected_row WHERE resource_id = '{resource_id}' ORDER BY batch_id, 1",
        "findings": f"SELECT row_no, rule_id FROM ops.finding WHERE resource_id = '{resource_id}' ORDER BY batch_id, 1, 2",
        "watermark": f"SELECT cursor FROM ops.watermark WHERE resource_id = '{resource_id}'",
        "outbox": f"SELECT kind, cause FROM ops.outbox WHERE resource_id = '{resource_id}' ORDER BY event_id",
        "tickets": "SELECT rule_id, rows_open, stage, jsonb_array_length(history) FROM ops.ticket"
        f" WHERE resource_id = '{resource_id}' ORDER BY ticket_id",
        "library": f"SELECT citizen_id, name, _deleted_at IS NULL FROM library.{library} ORDER BY 1",
        "versions": f"SELECT citizen_id, name FROM library.{library}__history ORDER BY 1, valid_to, 2",
        "dirty": f"SELECT count(*) FROM ops.dirty_key WHERE library = '{library}'",
        "audit": f"SELECT action FROM ops.audit WHERE detail ->> 'resource' = '{resource_id}' ORDER BY audit_id",
    }
    with connect(settings) as conn:
        return {name: [list(r.values()) for r in conn.execute(query)] for name, query in queries.items()}


def in_child(work: Any) -> int:
    """Runs ``work`` in a forked process and returns the signal or exit code it ended with."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def report(settings: Settings, seed: int, point: str, ends: list[int]) -> None:
    found = {name: state(settings, f"gaj.{name}") for name in ("crashed", "whole")}
    print(json.dumps({"seed": seed, "point": point, "ends": ends, **found}, ensure_ascii=False), flush=True)


def crash_once(settings: Settings, seed: int) -> None:
    """Killed, run again, run a third time; and the twin that is never killed."""
    point = POINTS[seed % len(POINTS)]
    attempts = [
        (replace(settings, failpoint=point), "gaj.crashed"),
        (settings, "gaj.crashed"),
        (settings, "gaj.crashed"),
        (settings, "gaj.whole"),
    ]
    ends = [in_child(partial(run, chosen, id, seed)) for chosen, id in attempts]
    in_child(partial(report, settings, seed, point, ends))


def preload() -> None:
    """What every forked process would import again."""

    import guiji.calendar
    import guiji.city
    import guiji.secrets
    import guiji.tickets  # noqa: F401


if __name__ == "__main__":
    preload()
    for number in range(1, int(sys.argv[1]) + 1):
        crash_once(Settings.from_env(), number)
