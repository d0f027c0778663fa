"""Whether a resource's expressions fit its fields' types, asked of the engine that will run them.

Beyond what binds, this refuses what would bind and then fail on the first bad value: comparing text with a number, a
regular expression that is computed. So one dirty value can't stop a batch. (A cast that can't be made is null.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from guiji.catalog.expressions import parse_expression
from guiji.catalog.models import ResourceModel
from guiji.errors import CatalogError

if TYPE_CHECKING:
    import duckdb
    from sqlglot import exp

_TYPES = {
    "string": "VARCHAR",
    "int64": "BIGINT",
    "float64": "DOUBLE",
    "bool": "BOOLEAN",
    "date32": "DATE",
    "timestamp": "TIMESTAMPTZ",
    "geometry": "BLOB",
}
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")
Path = tuple[int | str, ...]


def check_types(model: ResourceModel) -> list[tuple[Path, str]]:
    """Place in the file and message of every expression and pattern that the engine would refuse or trip over.

    The model's expressions must have passed ``checks.check_resource``.
    """
    import duckdb

    found: list[tuple[Path, str]] = []
    with duckdb.connect(":memory:", config={"enable_external_access": "false", "threads": "1"}) as con:
        columns = ", ".join(f'"{f.name}" {_engine_type(f.type)}' for f in model.fields)
        con.execute(f"CREATE TABLE row_of_resource ({columns})")
        for path, text in _list_expressions(model):
            message = _check_expression(con, text, [f.name for f in model.fields])
            if message is not None:
                found.append((path, message))
        for i, spec in enumerate(model.fields):
            if spec.pattern is not None:
                message = _check_pattern(con, spec.pattern)
                if message is not None:
                    found.append((("fields", i, "pattern"), f"field {spec.name}: {message}"))
    return found


def _engine_type(arrow: str) -> str:
    return arrow.replace("decimal128", "DECIMAL") if arrow.startswith("decimal128") else _TYPES[arrow]


def _list_expressions(model: ResourceModel) -> Iterator[tuple[Path, str]]:
    for i, rule in enumerate(model.rules):
        yield ("rules", i, "expr"), rule.expr
    if model.tombstone is not None:
        yield ("tombstone",), model.tombstone
    for i, mapping in enumerate(model.mappings):
        if mapping.where is not None:
            yield ("mappings", i, "where"), mapping.where


def _check_expression(con: duckdb.DuckDBPyConnection, text: str, columns: Sequence[str]) -> str | None:
    import duckdb
    from sqlglot import exp

    try:
        tree = parse_expression(text, columns)
        kind = _find_type(con, tree)
        con.execute(f"SELECT 1 FROM row_of_resource WHERE {tree.sql(dialect='duckdb', identify=True)}")  # noqa: S608
        if kind != "BOOLEAN":
            return f"expression {text!r} is {kind}, but must be true or false"
        for node in tree.walk():
            if isinstance(node, exp.EQ | exp.NEQ | exp.GT | exp.GTE | exp.LT | exp.LTE | exp.In | exp.Between):
                kinds = {_find_type(con, part).split("(")[0] for part in _list_operands(node)}
                if "VARCHAR" in kinds and kinds & set(_NUMBERS):
                    shown = node.sql(dialect="duckdb")
                    return f"{shown} compares text with a number; put the number in quotes, or try_cast the text"
            elif isinstance(node, exp.RegexpLike | exp.RegexpFullMatch | exp.RegexpExtract) and not isinstance(
                node.expression, exp.Literal
            ):
                return f"{node.sql(dialect='duckdb')}: the regular expression must be written out"
    except CatalogError as exc:
        return exc.message
    except duckdb.Error as exc:
        return f"expression {text!r}: {_first_line(exc)}"
    return None


def _list_operands(node: exp.Expr) -> list[exp.Expr]:
    from sqlglot import exp

    if isinstance(node, exp.In):
        return [node.this, *node.expressions]
    if isinstance(node, exp.Between):
        return [node.this, node.args["low"], node.args["high"]]
    return [node.this, node.expression]


def _find_type(con: duckdb.DuckDBPyConnection, node: exp.Expr) -> str:
    sql = node.sql(dialect="duckdb", identify=True)
    rows = con.execute(f"DESCRIBE SELECT {sql} AS x FROM row_of_resource").fetchall()  # noqa: S608
    return str(rows[0][1])


def _check_pattern(con: duckdb.DuckDBPyConnection, pattern: str) -> str | None:
    import duckdb

    try:
        con.execute("SELECT regexp_full_match('', ?)", [pattern]).fetchall()
    except duckdb.Error as exc:
        return f"pattern {pattern!r} is no RE2 expression: {_first_line(exc)}"
    return None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")
