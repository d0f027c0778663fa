"""What a shared view shows: the rows that serve, the fields of the catalog masked by level, the day of the batch.

A view runs with its owner's rights, so that its reader needs none on the table behind it, and is a security barrier:
no function of a reader's own ever sees a row or a value that the view does not show. Each query on it is noted before
its first row (``share_reads``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    from guiji.catalog.models import FieldSpec, Resource

#: fields of this level and above are personal: masked unless a grant names them
PERSONAL = 3
BATCH_DATE = "_batch_date"


@dataclass(frozen=True)
class SharedView:
    """One view to be made: its name in schema ``share``, its definition, and who may read it."""

    name: str
    resource_id: str
    grant_id: int | None
    query: sql.Composed
    comment: str
    columns: tuple[tuple[str, str], ...]  # name, comment
    departments: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Of everything that makes the view, not of who may read it."""
        return hashlib.sha256(repr((self.query.as_string(None), self.comment, self.columns)).encode()).hexdigest()


def mask_sql(text: sql.Composable) -> sql.Composed:
    """The SQL of ``masking.mask`` for a text; null stays null.

    Written out instead of called: the reader of a view must be allowed to run the functions in it, and has no right
    to any of ours.
    """
    return sql.SQL(
        "CASE WHEN pg_catalog.char_length({t}) <= 1 THEN pg_catalog.repeat('*', pg_catalog.char_length({t}))"
        " WHEN pg_catalog.char_length({t}) <= 4"
        " THEN pg_catalog.left({t}, 1) || pg_catalog.repeat('*', pg_catalog.char_length({t}) - 1)"
        " WHEN pg_catalog.char_length({t}) <= 8"
        " THEN pg_catalog.left({t}, 2) || pg_catalog.repeat('*', pg_catalog.char_length({t}) - 3) || pg_catalog.right({t}, 1)"
        " WHEN pg_catalog.char_length({t}) > 8"
        " THEN pg_catalog.left({t}, 4) || pg_catalog.repeat('*', pg_catalog.char_length({t}) - 6) || pg_catalog.right({t}, 2)"
        " END"
    ).format(t=text)


def masked_sql(spec: FieldSpec) -> sql.Composable:
    """The field masked, whatever its type: always text, but for a geometry, of which nothing can be shown."""
    column = sql.SQL("s.{}").format(sql.Identifier(spec.name))
    if spec.type == "geometry":
        return sql.SQL("NULL::pg_catalog.bytea")
    if spec.type == "bool":  # its first letter would tell it
        return sql.SQL("CASE WHEN {} IS NOT NULL THEN '*' END").format(column)
    # written so that no setting of the reader's session changes the text
    if spec.type == "date32":
        return mask_sql(sql.SQL("pg_catalog.to_char({}, 'YYYY-MM-DD')").format(column))
    if spec.type == "timestamp":
        return mask_sql(
            sql.SQL("pg_catalog.to_char({} AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD HH24:MI:SS')").format(column)
        )
    if spec.type == "float64":
        return mask_sql(sql.SQL("{}::pg_catalog.numeric::pg_catalog.text").format(column))
    return mask_sql(sql.SQL("{}::pg_catalog.text").format(column))


def build_view(
    resource: Resource,
    have: Collection[str],
    departments: Collection[str],
    *,
    grant_id: int | None = None,
    clear: Collection[str] = (),
) -> SharedView:
    """The view of a resource, or of one grant, which shows the fields in ``clear``; ``have``: the table's columns."""
    model = resource.model
    parts: list[sql.Composable] = []
    columns = []
    for spec in model.fields:
        if spec.name not in have:  # the catalog has gained it since the last batch
            continue
        masked = spec.sensitivity >= PERSONAL and spec.name not in clear
        value = masked_sql(spec) if masked else sql.SQL("s.{}").format(sql.Identifier(spec.name))
        parts.append(sql.SQL("{} AS {}").format(value, sql.Identifier(spec.name)))
        columns.append((spec.name, f"{spec.title}（{spec.sensitivity}级，已脱敏）" if masked else spec.title))
    parts.append(
        sql.SQL("(s._published_at AT TIME ZONE 'Asia/Shanghai')::pg_catalog.date AS {}").format(
            sql.Identifier(BATCH_DATE)
        )
    )
    columns.append((BATCH_DATE, "入库日期"))
    name = view_name(model.table, grant_id)
    # uncorrelated, so evaluated once per query whatever it asks for, and not at all where nothing is read
    query = sql.SQL("SELECT {} FROM {} s WHERE s._deleted_at IS NULL AND (SELECT ops.note_read({}))").format(
        sql.SQL(", ").join(parts), sql.Identifier("source", model.table), sql.Literal(name)
    )
    comment = f"{resource.department.short_name} · {model.name}（{model.sharing.type}）"
    if grant_id is not None:
        comment += f"：第{grant_id}号授权"
    return SharedView(
        name=name,
        resource_id=resource.id,
        grant_id=grant_id,
        query=query,
        comment=comment,
        columns=tuple(columns),
        departments=tuple(sorted(departments)),
    )


def view_name(table: str, grant_id: int | None = None) -> str:
    """``gaj__household``, or ``gaj__household$12`` of the grant 12: no name in the catalog can hold a dollar sign."""
    suffix = "" if grant_id is None else f"${grant_id}"
    return table[: 63 - len(suffix)] + suffix


def shown_in_clear(resource: Resource, granted: Mapping[str, int]) -> list[str]:
    """Of the fields that a grant names, those whose level is not higher now than it was then."""
    levels = {f.name: f.sensitivity for f in resource.model.fields}
    return sorted(n for n, level in granted.items() if PERSONAL <= levels.get(n, 0) <= level)
