"""Who may supply what: the registry of a library's sources."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from guiji.library.feeds import Feed, age_column

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog import Catalog
    from guiji.catalog.models import LibraryModel

    Conn = Connection[dict[str, Any]]

#: between the parts of a key of several columns, where it is one text
KEY_SEPARATOR = "|"


def register_feeds(conn: Conn, library: LibraryModel, catalog: Catalog, now: datetime) -> list[Feed]:
    """The library's feeds with their ordinals, new ones registered; an ordinal is never used again for another source.

    The registry also tells ``trace`` the names of departments and resources, so that it needs no catalog.
    """
    from psycopg.types.json import Jsonb

    known = {
        (r["resource_id"], r["mapping"]): r
        for r in conn.execute("/* guiji feeds */ SELECT * FROM ops.library_source WHERE library = %s", (library.name,))
    }
    highest = max((r["ordinal"] for r in known.values()), default=0)
    feeds, wanted = [], {}
    for resource_id in sorted(catalog.resources):
        resource = catalog.resources[resource_id]
        mine = [m for m in resource.model.mappings if m.library == library.name]
        for position, mapping in enumerate(mine):
            former = known.get((resource_id, position))
            if former is None:
                highest += 1
            feed = Feed(former["ordinal"] if former else highest, resource, mapping)
            feeds.append(feed)
            wanted[resource_id, position] = {
                "library": library.name,
                "ordinal": feed.ordinal,
                "resource_id": resource_id,
                "mapping": position,
                "department_id": resource.model.department_id,
                "department_name": resource.department.name,
                "resource_name": resource.model.name,
                "source_key": list(mapping.key),
                "fields": dict(mapping.fields),
                "by_link": dict(mapping.by),
                "row_key": list(resource.model.key),
                "newest_by": age_column(resource),
                "retired_at": None,
            }
    for place, row in wanted.items():
        if known.get(place) != row:
            conn.execute(
                """/* guiji feeds */
                INSERT INTO ops.library_source (library, ordinal, resource_id, mapping, department_id, department_name,
                  resource_name, source_key, fields, by_link, row_key, newest_by)
                VALUES (%(library)s, %(ordinal)s, %(resource_id)s, %(mapping)s, %(department_id)s, %(department_name)s,
                  %(resource_name)s, %(source_key)s, %(fields)s, %(by_link)s, %(row_key)s, %(newest_by)s)
                ON CONFLICT (library, ordinal) DO UPDATE SET department_name = excluded.department_name,
                  resource_name = excluded.resource_name, source_key = excluded.source_key, fields = excluded.fields,
                  by_link = excluded.by_link, row_key = excluded.row_key, newest_by = excluded.newest_by,
                  retired_at = NULL""",
                {**row, "fields": Jsonb(row["fields"]), "by_link": Jsonb(row["by_link"])},
            )
    retired = [r["ordinal"] for place, r in known.items() if place not in wanted and r["retired_at"] is None]
    if retired:
        conn.execute(
            "/* guiji feeds */ UPDATE ops.library_source SET retired_at = %s WHERE library = %s AND ordinal = ANY(%s)",
            (now, library.name, retired),
        )
    return sorted(feeds, key=lambda f: f.ordinal)


def list_ordinals(conn: Conn, library: LibraryModel) -> list[int]:
    """Every ordinal the library ever had; the provenance keeps a column for each."""
    rows = conn.execute(
        "/* guiji feeds */ SELECT ordinal FROM ops.library_source WHERE library = %s ORDER BY ordinal", (library.name,)
    )
    return [r["ordinal"] for r in rows]


def key_text(values: Iterable[object]) -> str:
    """A library key as one text, as ``trace`` takes it."""
    return KEY_SEPARATOR.join(str(v) for v in values)
