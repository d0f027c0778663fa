"""How databases differ: connecting, a read-only snapshot, and which SQL makes a value of each type exact text.

    base       the Dialect record; what holds where nothing else is said
    mysql · sqlite · oracle · mssql · dameng    one ``DIALECT`` each

PostgreSQL and what speaks its protocol (KingbaseES, openGauss) has a way of its own, ``database_postgres``. Each database
writes its values as text itself: no driver's idea of a number, a date or a time zone stands between (F-24, F-25, F-26).
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from guiji.errors import UsageError

if TYPE_CHECKING:
    from guiji.connections import Connection
    from guiji.sources.dialects.base import Dialect

#: Airflow's connection type (or a common word for it) -> module here
MODULES = {
    "mysql": "mysql",
    "mariadb": "mysql",
    "sqlite": "sqlite",
    "oracle": "oracle",
    "mssql": "mssql",
    "sqlserver": "mssql",
    "dm": "dameng",
    "dameng": "dameng",
}


def get_dialect(connection: Connection) -> Dialect:
    """The dialect that the connection's type names. Raises UsageError for an unknown type, and for a driver that is not
    installed, naming the extra that brings it."""
    kind = connection.conn_type.lower()
    if "sqlalchemy_url" in connection.extra:
        kind = str(connection.extra["sqlalchemy_url"]).split(":")[0].split("+")[0]
        if kind not in MODULES:
            from guiji.sources.dialects.base import generic_dialect

            return generic_dialect(kind)
    if kind not in MODULES:
        known = ", ".join(sorted({*MODULES, "postgres", "kingbase", "opengauss", "gaussdb"}))
        raise UsageError(
            f"Connection {connection.conn_id} has type {connection.conn_type!r}; built in are {known}. Nothing was read; "
            "correct the type, or install another SQLAlchemy driver and give extra.sqlalchemy_url.",
            connection=connection.conn_id,
        )
    dialect: Dialect = import_module(f"guiji.sources.dialects.{MODULES[kind]}").DIALECT
    missing = [module for module in dialect.modules if find_spec(module) is None]
    if missing:
        raise UsageError(
            f"Connection {connection.conn_id} needs the driver of {dialect.title}, which is not installed "
            f"({', '.join(missing)}). Nothing was read; install it with: .venv/bin/pip install -e '.[{dialect.extra}]'",
            connection=connection.conn_id,
        )
    return dialect
