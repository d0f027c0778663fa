"""How a field's value is chosen among departments: one table of strategies, each an order of merit, as SQL.

What wins depends on the rows that serve alone, never on the order in which they arrived. Of two values the better is,
in this order: the one that is not in doubt; the one of greater merit by the strategy; the one of the department that
the field's ``authority`` names first; the one of the smaller department id and resource id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from guiji.library.feeds import Feed

if TYPE_CHECKING:
    from guiji.catalog.models import LibraryField

_FALSE = sql.SQL("false")


@dataclass(frozen=True)
class Cell:
    """What one feed says of one field, as expressions. ``doubt`` is None where it can't be in doubt."""

    feed: Feed
    value: sql.Composable
    at: sql.Composable
    doubt: sql.Composable | None = None


Merit = Callable[["LibraryField", Cell, Sequence[Cell]], sql.Composable]


@dataclass(frozen=True)
class Strategy:
    """``merit``: an expression of a cell, the larger the better, never null where the cell has a value."""

    title: str  # as a clerk reads it
    merit: Merit
    named_only: bool = False  # only departments that ``authority`` names may supply the field
    by_rank: bool = False  # merit is the department's place in ``authority``, known without looking at rows
    joins: bool = False  # no single winner: all different values are joined
    texts_only: bool = False


def _by_rank(field: LibraryField, cell: Cell, _: Sequence[Cell]) -> sql.Composable:
    return sql.SQL(str(-_rank(field, cell.feed)))


def _by_age(_: LibraryField, cell: Cell, __: Sequence[Cell]) -> sql.Composable:
    return cell.at


def _by_votes(_: LibraryField, cell: Cell, cells: Sequence[Cell]) -> sql.Composable:
    """How many other departments say the same, each with one vote however many resources it delivers; who is in doubt
    has no vote for one who is not."""
    said: dict[str, list[sql.Composable]] = {}
    for other in cells:
        if other.feed.department != cell.feed.department:
            same = _all([sql.SQL("{} = {}").format(other.value, cell.value), _same_standing(other, cell)])
            said.setdefault(other.feed.department, []).append(sql.SQL("COALESCE({}, false)").format(same))
    votes = [sql.SQL("({})::int").format(sql.SQL(" OR ").join(same)) for same in said.values()]
    return sql.SQL("({})").format(sql.SQL(" + ").join(votes)) if votes else sql.SQL("0")


def _by_length(_: LibraryField, cell: Cell, __: Sequence[Cell]) -> sql.Composable:
    return sql.SQL("char_length({})").format(cell.value)


STRATEGIES = {
    "authority": Strategy("权威部门优先", _by_rank, by_rank=True, named_only=True),
    "newest_non_null": Strategy("最新非空值优先", _by_age),
    "most_frequent": Strategy("多数部门一致的值优先", _by_votes),
    "longest": Strategy("最详细（最长）的值优先", _by_length, texts_only=True),
    "union": Strategy("各部门的值合并", _by_rank, by_rank=True, joins=True, texts_only=True),
}


def candidates(field: LibraryField, feeds: Sequence[Feed]) -> list[Feed]:
    """The feeds that may supply the field, best first; under ``authority`` only the named departments."""
    able = [f for f in feeds if f.supplies(field)]
    if STRATEGIES[field.strategy].named_only:
        able = [f for f in able if f.department in field.authority]
    return sorted(able, key=lambda f: (_rank(field, f), f.department, f.resource.id, f.ordinal))


def winner_sql(field: LibraryField, cells: Sequence[Cell]) -> sql.Composable:
    """The ordinal of the feed whose value wins; null where nobody has one. ``cells``: the candidates, best first."""
    if not cells:
        return sql.SQL("NULL::smallint")
    whens = []
    for i, cell in enumerate(cells):
        # whoever is not beaten by a later candidate; an earlier one has been beaten already
        lost = [beats_sql(field, other, cell, cells) for other in cells[i + 1 :]]
        stands = _all(
            [
                sql.SQL("{} IS NOT NULL").format(cell.value),
                *(sql.SQL("({}) IS NOT TRUE").format(x) for x in lost if x is not _FALSE),
            ]
        )
        whens.append(sql.SQL("WHEN {} THEN {}").format(stands, sql.SQL(str(cell.feed.ordinal))))
    return sql.SQL("(CASE {} END)::smallint").format(sql.SQL(" ").join(whens))


def value_sql(field: LibraryField, cells: Sequence[Cell], winner: sql.Composable, null: str) -> sql.Composable:
    """The value that the library shows; ``null``: PostgreSQL's type where nobody may supply it."""
    if not cells:
        return sql.SQL("NULL::{}").format(sql.SQL(null))
    if len(cells) == 1:
        return cells[0].value
    if STRATEGIES[field.strategy].joins:
        return joined_sql(field, cells)
    if field.strategy == "authority" and not any(c.doubt for c in cells):
        return sql.SQL("COALESCE({})").format(sql.SQL(", ").join(c.value for c in cells))
    whens = [sql.SQL("WHEN {} THEN {}").format(sql.SQL(str(c.feed.ordinal)), c.value) for c in cells]
    return sql.SQL("CASE {} {} END").format(winner, sql.SQL(" ").join(whens))


def joined_sql(field: LibraryField, cells: Sequence[Cell]) -> sql.Composable:
    """All different values in the order of the candidates, joined; values in doubt only where there are no others."""
    sound = [sql.SQL("({} IS NOT NULL AND NOT {})").format(c.value, c.doubt or _FALSE) for c in cells]
    anybody_sound = sql.SQL(" OR ").join(sound)
    counts = [
        sql.SQL("({} OR NOT ({}))").format(s, anybody_sound) if c.doubt else sql.SQL("true")
        for s, c in zip(sound, cells, strict=True)
    ]
    parts = []
    for i, cell in enumerate(cells):
        said = [
            sql.SQL("({} IS NOT DISTINCT FROM {} AND {})").format(cell.value, other.value, counts[j])
            for j, other in enumerate(cells[:i])
        ]
        before = sql.SQL(" OR ").join(said) if said else _FALSE
        parts.append(sql.SQL("CASE WHEN {} AND NOT ({}) THEN {} END").format(counts[i], before, cell.value))
    return sql.SQL("NULLIF(concat_ws({}, {}), '')").format(sql.Literal(field.separator), sql.SQL(", ").join(parts))


def may_tie(field: LibraryField, feeds: Sequence[Feed]) -> bool:
    """False where departments in a declared order can't be equals: then no loser needs to be looked at."""
    ranks = [_rank(field, f) for f in candidates(field, feeds)]
    return not STRATEGIES[field.strategy].by_rank or len(set(ranks)) < len(ranks)


def ties_sql(field: LibraryField, cell: Cell, cells: Sequence[Cell]) -> sql.Composable:
    """True when nothing but the order of departments decided against the cell: no strategy calls it wrong."""
    if all(cell is not c for c in cells):
        return _FALSE
    worse = [x for c in cells if c is not cell and (x := beats_sql(field, c, cell, cells)) is not _FALSE]
    return _all([sql.SQL("({}) IS NOT TRUE").format(x) for x in worse])


def beats_sql(field: LibraryField, a: Cell, b: Cell, cells: Sequence[Cell]) -> sql.Composable:
    """True when ``a`` has a value and is strictly better than ``b`` by doubt and merit; ``_FALSE`` itself when never."""
    ours, theirs = (STRATEGIES[field.strategy].merit(field, c, cells) for c in (a, b))
    if STRATEGIES[field.strategy].by_rank:
        more: sql.Composable = sql.SQL("true") if _rank(field, a.feed) < _rank(field, b.feed) else _FALSE
    else:
        more = sql.SQL("{} > {}").format(ours, theirs)
    cases: list[sql.Composable] = []
    if b.doubt:
        cases.append(_all([b.doubt, sql.SQL("NOT {}").format(a.doubt)] if a.doubt else [b.doubt]))
    if more is not _FALSE:
        cases.append(_all([_same_standing(a, b), more]))
    if not cases:
        return _FALSE
    return _all([sql.SQL("{} IS NOT NULL").format(a.value), sql.SQL("({})").format(sql.SQL(" OR ").join(cases))])


def _same_standing(a: Cell, b: Cell) -> sql.Composable:
    """Both in doubt or neither."""
    if a.doubt is None and b.doubt is None:
        return sql.SQL("true")
    return sql.SQL("{} = {}").format(a.doubt or _FALSE, b.doubt or _FALSE)


def _all(conditions: Sequence[sql.Composable]) -> sql.Composable:
    kept = [c for c in conditions if c != sql.SQL("true")]
    return sql.SQL(" AND ").join(kept) if kept else sql.SQL("true")


def _rank(field: LibraryField, feed: Feed) -> int:
    """Position in the field's ``authority``; departments that it doesn't name stand together behind."""
    return field.authority.index(feed.department) if feed.department in field.authority else len(field.authority)
