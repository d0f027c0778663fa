"""The rows by which resources feed a library, as SQL over the source tables. Nothing here touches a database.

A *feed* is one mapping of one resource into the library; its ordinal stands for it in the provenance. Every feed
gives at most one row per library key: its newest. A row whose key is empty is found by a secondary key of the library
(a *link*: through a resource that has both, where it stands for one key only), or by a match that a person confirmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from guiji.errors import CatalogError
from guiji.library.tables import SUSPECT, pg_type, source_table

if TYPE_CHECKING:
    from guiji.catalog.models import LibraryField, LibraryMapping, LibraryModel, Link, Resource

_NEVER = sql.SQL("'-infinity'::timestamptz")


@dataclass(frozen=True)
class Feed:
    ordinal: int
    resource: Resource
    mapping: LibraryMapping

    @property
    def alias(self) -> str:
        return f"s{self.ordinal}"

    @property
    def department(self) -> str:
        return self.resource.model.department_id

    @property
    def is_unique(self) -> bool:
        """True when the source's primary key is the library's key, so that no key has two rows."""
        return set(self.resource.model.key) == set(self.mapping.key)

    def supplies(self, field: LibraryField) -> bool:
        """Whether it has the field, or the value whose unit the field says."""
        return (field.unit_of or field.name) in self.mapping.fields

    def value(self, library: LibraryModel, field: LibraryField) -> sql.Composable:
        """The field of a source row ``x`` as the library keeps it."""
        return _value(library, self, field)

    def may_doubt(self, field: LibraryField) -> bool:
        """True when a check can leave this feed's value of the field accepted but in doubt."""
        return self.mapping.fields.get(field.name) in doubtful_fields(self.resource)

    def may_lack_key(self) -> bool:
        """True when a row may have no library key of its own."""
        model = self.resource.model
        return any(k not in model.key for k in self.mapping.key) or not self.mapping.key

    def is_matched(self, library: LibraryModel) -> bool:
        """True when rows without a key are compared with the library, see ``matching``."""
        rule = library.matching
        if rule is None or library.vintages or not self.may_lack_key():
            return False
        names = {*rule.block, *rule.compare}
        return all(n in self.mapping.fields for n in names)


def doubtful_fields(resource: Resource) -> frozenset[str]:
    """The fields whose values can be accepted in doubt: identifiers, and what a rule only warns about.

    Which rows' values are, the source table's column ``_suspect`` says.
    """
    from guiji.catalog.expressions import list_columns

    model = resource.model
    found = {f.name for f in model.fields if f.identifier or f.severity == "warn"}
    for rule in model.rules:
        if rule.severity == "warn":
            found.update(rule.fields or list_columns(rule.expr))
    for f in model.fields:
        if f.by_shape is not None and f.by_shape.severity == "warn":
            found.update((f.name, f.by_shape.of))
        # a shape that lies partly outside the city is accepted in doubt whatever its severity
        crosses = f.type == "geometry" and f.bounds is None and resource.city_boundary is not None
        if crosses or (f.overlap is not None and f.overlap.severity == "warn"):
            found.add(f.name)
    return frozenset(found)


def feed_sql(library: LibraryModel, feed: Feed, *, of: str | None = None) -> sql.Composable:
    """The feed's row per key: ``k_<key>``, ``f_<field>``, ``d_<field>`` (in doubt, where that can be), ``_batch``,
    ``_hash``, ``_pub`` and ``_at`` (how new it is).

    ``of``: the rows of some keys only: the alias of a table of keys in an enclosing query, or the table's name where
    a key may have several rows (see ``join_feed``).
    """
    model, mapping = feed.resource.model, feed.mapping
    _demand_key(library, feed)
    linked = bool(mapping.by) or feed.is_matched(library)
    found, keys = feed_keys(library, feed, of)
    at = _age(feed.resource)
    columns: list[sql.Composable] = [
        *(sql.SQL("{} AS {}").format(e, sql.Identifier(f"k_{k.name}")) for e, k in zip(keys, library.key, strict=True)),
        *(
            sql.SQL("{} AS {}").format(_value(library, feed, f), sql.Identifier(f"f_{f.name}"))
            for f in library.fields
            if feed.supplies(f)
        ),
        *(
            sql.SQL("COALESCE({} = ANY(x.{}), false) AS {}").format(
                sql.Literal(mapping.fields[f.name]), sql.Identifier(SUSPECT), sql.Identifier(f"d_{f.name}")
            )
            for f in library.fields
            if feed.may_doubt(f)
        ),
        sql.SQL("x._batch_id AS _batch, x._row_hash AS _hash, x._published_at AS _pub"),
        sql.SQL("{} AS _at").format(at),
    ]
    conditions: list[sql.Composable] = [sql.SQL("x._deleted_at IS NULL")]
    conditions += [
        sql.SQL("{} IS NOT NULL").format(e)
        for e, k in zip(keys, mapping.key or [""] * len(keys), strict=True)
        if linked or k not in model.key
    ]
    if mapping.where:
        conditions.append(sql.SQL("({})").format(compile_condition(feed.resource, mapping.where)))
    if of:
        conditions += [
            sql.SQL("{} = {}").format(e, sql.Identifier(of, k.name)) for e, k in zip(keys, library.key, strict=True)
        ]
    newest_first = sql.SQL(", ").join(
        [sql.SQL("{} DESC").format(at), *(sql.SQL("x.{}").format(sql.Identifier(k)) for k in model.key)]
    )
    distinct: sql.Composable = sql.SQL("")
    order: sql.Composable = sql.SQL("")
    table: sql.Composable = sql.SQL("{} x").format(found)
    if linked and of:
        order = sql.SQL(" ORDER BY {} LIMIT 1").format(newest_first)
    elif linked or not feed.is_unique:
        listed = sql.SQL(", ").join(keys)
        distinct = sql.SQL("DISTINCT ON ({}) ").format(listed)
        order = sql.SQL(" ORDER BY {}, {}").format(listed, newest_first)
        if of:
            table = sql.SQL("{} CROSS JOIN {}").format(table, sql.Identifier(of))
    return sql.SQL("SELECT {}{} FROM {} WHERE {}{}").format(
        distinct, sql.SQL(", ").join(columns), table, sql.SQL(" AND ").join(conditions), order
    )


def feed_keys(library: LibraryModel, feed: Feed, of: str | None = None) -> tuple[sql.Composable, list[sql.Composable]]:
    """The feed's rows, to be called ``x``, and of each the library key it belongs to, null where there is none."""
    mapping = feed.mapping
    if mapping.by or feed.is_matched(library):
        return keyed_rows(library, feed, of), [sql.Identifier("x", f"_k_{k.name}") for k in library.key]
    keys = [_cast(feed.resource, "x", name, spec.type) for name, spec in zip(mapping.key, library.key, strict=True)]
    return source_table(feed.resource), keys


def join_feed(library: LibraryModel, feed: Feed) -> sql.Composable:
    """``feed_sql`` for the keys of ``guiji_dirty d``, joined to them.

    Where a key has several rows the newest is found for all keys at once: once for each key would be a scan of the
    source for each of them whenever the planner, for want of statistics, doesn't trust the index.
    """
    alias = sql.Identifier(feed.alias)
    if feed.is_unique or feed.mapping.by or feed.is_matched(library):
        return sql.SQL("LEFT JOIN LATERAL ({}) {} ON true").format(feed_sql(library, feed, of="d"), alias)
    match = sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(feed.alias, f"k_{k.name}"), sql.Identifier("d", k.name))
        for k in library.key
    )
    return sql.SQL("LEFT JOIN ({}) {} ON {}").format(feed_sql(library, feed, of="guiji_dirty"), alias, match)


def compile_condition(resource: Resource, text: str) -> sql.SQL:
    """A mapping's ``where`` for PostgreSQL; parsed by the catalog's allow-list, never run as written."""
    from guiji.catalog.expressions import parse_expression

    tree = parse_expression(text, [f.name for f in resource.model.fields])
    return sql.SQL(tree.sql(dialect="postgres", identify=True).replace("{", "{{").replace("}", "}}"))


def list_links(library: LibraryModel, feeds: Sequence[Feed]) -> list[Link]:
    """The library's links that a feed uses."""
    used = {name for f in feeds for name in f.mapping.by}
    return [link for link in library.links if link.name in used]


def through_table(link: Link) -> sql.Identifier:
    return sql.Identifier("source", link.through.replace(".", "__"))


# --- rows without a key of their own -----------------------------------------------------------------


def keyed_rows(library: LibraryModel, feed: Feed, of: str | None = None) -> sql.Composable:
    """The source rows with the library key they belong to in ``_k_<key>``, null where there is none."""
    links = {link.name: link for link in library.links}
    joins: list[sql.Composable] = []
    sources = [_own_keys(library, feed)]
    if feed.mapping.by:
        for i, (name, fields) in enumerate(feed.mapping.by.items()):
            joins.append(_link_join(library, feed, links[name], fields, f"l{i}"))
            sources.append([sql.Identifier(f"l{i}", f"k{n}") for n in range(len(library.key))])
    if feed.is_matched(library):
        joins.append(_match_join(library, feed))
        sources.append([sql.Identifier("m", f"k{n}") for n in range(len(library.key))])
    keys = [
        sql.SQL("COALESCE({}) AS {}").format(
            sql.SQL(", ").join(s[n] for s in sources), sql.Identifier(f"_k_{library.key[n].name}")
        )
        for n in range(len(library.key))
    ]
    return sql.SQL("(SELECT y.*, {} FROM {} y {})").format(
        sql.SQL(", ").join(keys),
        _rows_of_key(library, feed, of) if of else source_table(feed.resource),
        sql.SQL(" ").join(joins),
    )


def _own_keys(library: LibraryModel, feed: Feed, alias: str = "y") -> list[sql.Composable]:
    if not feed.mapping.key:
        return [sql.SQL("NULL::{}").format(sql.SQL(pg_type(k.type))) for k in library.key]
    return [
        _cast(feed.resource, alias, name, spec.type) for name, spec in zip(feed.mapping.key, library.key, strict=True)
    ]


def _keyless(library: LibraryModel, feed: Feed) -> sql.Composable:
    return sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(k) for k in _own_keys(library, feed))


def _link_join(library: LibraryModel, feed: Feed, link: Link, fields: Sequence[str], alias: str) -> sql.Composable:
    """The one key that the secondary key stands for; none where it stands for several, for a guess is no answer."""
    match = sql.SQL(" AND ").join(
        sql.SQL("t.{} = y.{}").format(sql.Identifier(a), sql.Identifier(b))
        for a, b in zip(link.fields, fields, strict=True)
    )
    chosen = sql.SQL(", ").join(
        sql.SQL("min(t.{}) AS {}").format(sql.Identifier(k), sql.Identifier(f"k{n}")) for n, k in enumerate(link.key)
    )
    single = sql.SQL(" AND ").join(sql.SQL("min(t.{0}) = max(t.{0})").format(sql.Identifier(k)) for k in link.key)
    return sql.SQL(
        "LEFT JOIN LATERAL (SELECT {} FROM {} t WHERE ({}) AND {} AND t._deleted_at IS NULL HAVING {}) {} ON true"
    ).format(chosen, through_table(link), _keyless(library, feed), match, single, sql.Identifier(alias))


def _match_join(library: LibraryModel, feed: Feed) -> sql.Composable:
    """The key that a person confirmed for the row."""
    keys = sql.SQL(", ").join(
        sql.SQL("c.key[{}]::{} AS {}").format(sql.SQL(str(n + 1)), sql.SQL(pg_type(k.type)), sql.Identifier(f"k{n}"))
        for n, k in enumerate(library.key)
    )
    return sql.SQL(
        "LEFT JOIN LATERAL (SELECT {} FROM ops.match_proposal c WHERE ({}) AND c.library = {} AND c.resource_id = {}"
        " AND c.row_key = {} AND c.status = 'confirmed') m ON true"
    ).format(keys, _keyless(library, feed), sql.Literal(library.name), sql.Literal(feed.resource.id), row_key(feed))


def row_key(feed: Feed, alias: str = "y") -> sql.Composable:
    """The key of a source row as an array of texts, as ``ops.match_proposal`` keeps it."""
    return sql.SQL("ARRAY[{}]").format(
        sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(alias, k)) for k in feed.resource.model.key)
    )


def _rows_of_key(library: LibraryModel, feed: Feed, of: str) -> sql.Composable:
    """The source rows that may belong to a key of the enclosing query, by every way there is; some may come twice."""
    table = source_table(feed.resource)
    parts: list[sql.Composable] = []
    wanted = [sql.Identifier(of, k.name) for k in library.key]
    if feed.mapping.key:
        own = sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(a, b) for a, b in zip(_own_keys(library, feed), wanted, strict=True)
        )
        parts.append(sql.SQL("SELECT y.* FROM {} y WHERE {}").format(table, own))
    links = {link.name: link for link in library.links}
    for name, fields in feed.mapping.by.items():
        link = links[name]
        parts.append(
            sql.SQL("SELECT y.* FROM {} t JOIN {} y ON {} WHERE {} AND ({})").format(
                through_table(link),
                table,
                sql.SQL(" AND ").join(
                    sql.SQL("t.{} = y.{}").format(sql.Identifier(a), sql.Identifier(b))
                    for a, b in zip(link.fields, fields, strict=True)
                ),
                sql.SQL(" AND ").join(
                    sql.SQL("t.{} = {}").format(sql.Identifier(k), w) for k, w in zip(link.key, wanted, strict=True)
                ),
                _keyless(library, feed),
            )
        )
    if feed.is_matched(library):
        primary = sql.SQL(" AND ").join(
            sql.SQL("y.{} = c.row_key[{}]::{}").format(
                sql.Identifier(k), sql.SQL(str(n)), sql.SQL(pg_type(feed.resource.model.field(k).type))
            )
            for n, k in enumerate(feed.resource.model.key, 1)
        )
        asked = sql.SQL("ARRAY[{}]").format(sql.SQL(", ").join(sql.SQL("{}::text").format(w) for w in wanted))
        parts.append(
            sql.SQL(
                "SELECT y.* FROM ops.match_proposal c JOIN {} y ON {} WHERE c.library = {} AND c.resource_id = {}"
                " AND c.status = 'confirmed' AND c.key = {}"
            ).format(table, primary, sql.Literal(library.name), sql.Literal(feed.resource.id), asked)
        )
    return sql.SQL("({})").format(sql.SQL(" UNION ALL ").join(parts))


# --- columns -----------------------------------------------------------------------------------------


def _demand_key(library: LibraryModel, feed: Feed) -> None:
    mapping, model = feed.mapping, feed.resource.model
    known = {link.name for link in library.links}
    if (not mapping.key and mapping.by) or len(mapping.key) == len(library.key):
        if not set(mapping.by) - known:
            return
        raise CatalogError(
            f"{feed.resource.path}: the mapping into {library.name} uses the link {sorted(set(mapping.by) - known)[0]}, "
            "which the library doesn't declare. Nothing was resolved; correct the mapping.",
            resource_id=model.id,
        )
    raise CatalogError(
        f"{feed.resource.path}: the mapping into {library.name} has {len(mapping.key)} key fields, the library has "
        f"{len(library.key)}. Nothing was resolved; correct the mapping.",
        resource_id=model.id,
    )


def _age(resource: Resource) -> sql.Composable:
    """How new a row is: its own order time where it has one, never later than its publication (F-07)."""
    return age_sql(age_column(resource))


def age_column(resource: Resource) -> str | None:
    """The field that says how new a row is; None where its publication does."""
    return next((n for n in resource.model.order if resource.model.field(n).type in ("timestamp", "date32")), None)


def age_sql(column: str | None) -> sql.Composable:
    """How new a source row ``x`` is, the column being ``age_column``."""
    if column is None:
        return sql.SQL("x._published_at")
    return sql.SQL("CASE WHEN x.{0} IS NULL THEN {1} ELSE LEAST(x.{0}::timestamptz, x._published_at) END").format(
        sql.Identifier(column), _NEVER
    )


def _value(library: LibraryModel, feed: Feed, field: LibraryField) -> sql.Composable:
    """A field of a source row ``x`` as the library keeps it: converted, where it keeps units (``measured``)."""
    from guiji.library.measured import unit_sql, value_sql

    if field.unit_of is not None:
        return unit_sql(library, feed, field)
    if field.units:
        return value_sql(feed, field)
    return _cast(feed.resource, "x", feed.mapping.fields[field.name], field.type)


def _cast(resource: Resource, alias: str, name: str, wanted: str) -> sql.Composable:
    column = sql.SQL("{}.{}").format(sql.Identifier(alias), sql.Identifier(name))
    have = pg_type(resource.model.field(name).type)
    return column if have == pg_type(wanted) else sql.SQL("{}::{}").format(column, sql.SQL(pg_type(wanted)))


__all__ = [
    "Feed",
    "age_column",
    "age_sql",
    "compile_condition",
    "doubtful_fields",
    "feed_keys",
    "feed_sql",
    "list_links",
    "row_key",
    "through_table",
]
