"""Conditions written in the catalog, parsed by an allow-list and never run as text (F-70).

A rule, a filter, a tombstone and a mapping's ``where`` are expressions in DuckDB's SQL over declared columns. What
``parse_expression`` returns holds nothing but those columns, literals, operators and the functions listed in
``docs/catalog.md``; the caller renders it for its own engine (``.sql(dialect="duckdb")``, ``identify=True``).
There is no clock among them: a row that was judged good stays good as long as neither it nor its rules change.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import TYPE_CHECKING

from guiji.catalog.problems import find_nearest
from guiji.errors import CatalogError

if TYPE_CHECKING:
    from sqlglot import exp

MAX_LENGTH = 2000

#: sqlglot's node classes that an expression may consist of, beside the functions
_NODES = frozenset(
    [
        "And",
        "Or",
        "Not",
        "Paren",
        "EQ",
        "NEQ",
        "GT",
        "GTE",
        "LT",
        "LTE",
        "NullSafeEQ",
        "NullSafeNEQ",
        "Is",
        "Null",
        "Boolean",
        "Literal",
        "Column",
        "Identifier",
        "In",
        "Between",
        "Like",
        "ILike",
        "Escape",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "IntDiv",
        "Mod",
        "Neg",
        "DPipe",
        "Case",
        "If",
        "Cast",
        "TryCast",
        "DataType",
        "DataTypeParam",
        "Var",
        "Tuple",
    ]
)
#: sqlglot's class -> how the function is written in DuckDB
FUNCTIONS = {
    "Abs": "abs",
    "Ceil": "ceil",
    "Coalesce": "coalesce",
    "Concat": "concat",
    "Contains": "contains",
    "DateDiff": "date_diff",
    "Day": "day",
    "EndsWith": "ends_with",
    "Floor": "floor",
    "Greatest": "greatest",
    "Least": "least",
    "Left": "left",
    "Length": "length",
    "Lower": "lower",
    "Month": "month",
    "Nullif": "nullif",
    "RegexpExtract": "regexp_extract",
    "RegexpFullMatch": "regexp_full_match",
    "RegexpLike": "regexp_matches",
    "Replace": "replace",
    "Right": "right",
    "Round": "round",
    "StartsWith": "starts_with",
    "StrPosition": "strpos",
    "Substring": "substring",
    "Trim": "trim",
    "Upper": "upper",
    "Year": "year",
}
_CAST_TYPES = frozenset(
    ["VARCHAR", "TEXT", "INT", "BIGINT", "SMALLINT", "DOUBLE", "DECIMAL", "DATE", "TIMESTAMP", "BOOLEAN"]
)
_UNITS = frozenset(["DAY", "WEEK", "MONTH", "QUARTER", "YEAR", "HOUR", "MINUTE", "SECOND"])


def parse_expression(text: str, allowed_columns: Collection[str]) -> exp.Expr:
    """The parsed expression, proven harmless; a fresh copy that the caller may change.

    Raises CatalogError with ``allowed`` and ``nearest`` in its context for a column that is not in
    ``allowed_columns`` (compared exactly) and for anything that is not on the list: subqueries, other functions,
    several statements, comments, parameters.
    """
    check_expression(text, allowed_columns)
    return _parse(text)[0].copy()


def check_expression(text: str, allowed_columns: Collection[str]) -> None:
    """Raises CatalogError exactly where ``parse_expression`` does; many times cheaper for a text seen before."""
    for name in _parse(text)[1]:
        if name not in allowed_columns:
            allowed = sorted(allowed_columns)
            raise CatalogError(
                f"expression {text!r} names the column {name!r}, which is not declared",
                allowed=tuple(allowed),
                nearest=find_nearest(name, allowed),
            )


def list_columns(text: str) -> tuple[str, ...]:
    """The columns an expression reads, in order of appearance. Raises CatalogError as ``parse_expression`` does."""
    return _parse(text)[1]


@lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[exp.Expr, tuple[str, ...]]:
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    if len(text) > MAX_LENGTH:
        raise CatalogError(f"an expression of {len(text)} characters is too long; at most {MAX_LENGTH} are allowed")
    if not text.strip():
        raise CatalogError("the expression is empty")
    if "\x00" in text:
        raise CatalogError("an expression must not hold a NUL character")
    try:
        for token in sqlglot.tokenize(text, read="duckdb"):
            if token.comments:
                raise CatalogError(f"expression {text!r} holds a comment; comments are not allowed")
            if token.token_type.name == "SEMICOLON":
                raise CatalogError(f"expression {text!r} holds a semicolon; one expression only")
        tree = sqlglot.parse_one(text, read="duckdb", into=exp.Condition)
    except (SqlglotError, RecursionError) as exc:
        reason = _explain(exc)
        raise CatalogError(f"expression {text!r} can't be parsed: {reason}") from exc
    columns: dict[str, None] = {}
    for node in tree.walk():
        _check_node(node, text, columns)
    return tree, tuple(columns)


def _check_node(node: exp.Expr, text: str, columns: dict[str, None]) -> None:
    from sqlglot import exp

    kind = type(node).__name__
    if kind not in _NODES and kind not in FUNCTIONS:
        name = node.name if isinstance(node, exp.Anonymous) else kind
        if isinstance(node, exp.Func):
            allowed = sorted(FUNCTIONS.values())
            name = name if isinstance(node, exp.Anonymous) else node.sql_name().lower()
            raise CatalogError(
                f"expression {text!r} calls {name!r}, which is not allowed",
                allowed=tuple(allowed),
                nearest=find_nearest(name.lower(), allowed),
            )
        raise CatalogError(
            f"expression {text!r} holds {_describe(kind)}, which is not allowed",
            allowed=("declared columns", "literals", "comparisons, and/or/not, in, between, like, case", "functions"),
        )
    if isinstance(node, exp.Column):
        if node.table or node.args.get("db") or not isinstance(node.this, exp.Identifier):
            raise CatalogError(f"expression {text!r}: a column is written without a table ({node.name})")
        columns[node.name] = None
    elif isinstance(node, exp.In) and (node.args.get("query") or node.args.get("unnest") or node.args.get("field")):
        raise CatalogError(f"expression {text!r}: 'in' takes a list of values")
    elif isinstance(node, exp.DataType) and node.this.name not in _CAST_TYPES:
        raise CatalogError(
            f"expression {text!r} casts to {node.sql(dialect='duckdb')}",
            allowed=tuple(sorted(t.lower() for t in _CAST_TYPES)),
        )
    elif isinstance(node, exp.Var) and node.name.upper() not in _UNITS:
        raise CatalogError(f"expression {text!r} holds {node.name!r}", allowed=tuple(sorted(u.lower() for u in _UNITS)))


def _explain(exc: Exception) -> str:
    from sqlglot.errors import ParseError

    if isinstance(exc, ParseError) and exc.errors:
        description = str(exc.errors[0].get("description") or "")
        if description.startswith("Required keyword"):
            return "something is missing at its end"
        if description and not description.startswith("Invalid expression"):
            return description.splitlines()[0][:200].rstrip(".")
    return "it is more than one condition, or none"


def _describe(kind: str) -> str:
    names = {
        "Subquery": "a subquery",
        "Select": "a subquery",
        "Exists": "a subquery",
        "Star": "'*'",
        "Placeholder": "a parameter",
        "Parameter": "a parameter",
        "Window": "a window function",
        "Dot": "a qualified name",
    }
    return names.get(kind, kind)
