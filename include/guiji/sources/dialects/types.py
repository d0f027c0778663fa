"""A database's own type as a type of ours: what ``catalog new`` proposes before it has seen a value.

After what the vendors document of their types. A type that holds more than its name says (Oracle's ``DATE`` has a time
of day, its ``NUMBER`` any scale) is proposed as what loses nothing; None where only the values can tell.
"""

from __future__ import annotations

import re

#: types whose name means the same wherever they are
_COMMON = {
    **dict.fromkeys(
        ("TINYINT", "SMALLINT", "MEDIUMINT", "INT", "INTEGER", "BIGINT", "INT1", "INT2", "INT4", "INT8", "SERIAL",
         "BIGSERIAL", "SMALLSERIAL", "PLS_INTEGER", "BINARY_INTEGER", "BYTE"),
        "int64",
    ),
    **dict.fromkeys(
        ("REAL", "DOUBLE", "DOUBLE PRECISION", "BINARY_FLOAT", "BINARY_DOUBLE", "FLOAT4", "FLOAT8"), "float64"
    ),
    **dict.fromkeys(("BOOLEAN", "BOOL", "BIT"), "bool"),
    **dict.fromkeys(("TIMESTAMP", "DATETIME", "DATETIME2", "SMALLDATETIME", "DATETIMEOFFSET", "TIMESTAMPTZ"), "timestamp"),
    **dict.fromkeys(("GEOMETRY", "GEOGRAPHY", "SDO_GEOMETRY", "ST_GEOMETRY", "SYSGEO.ST_GEOMETRY"), "geometry"),
    **dict.fromkeys(
        ("CHAR", "NCHAR", "BPCHAR", "CHARACTER", "VARCHAR", "VARCHAR2", "NVARCHAR", "NVARCHAR2", "CHARACTER VARYING", "TEXT",
         "NTEXT", "TINYTEXT", "MEDIUMTEXT", "LONGTEXT", "LONG", "LONGVARCHAR", "CLOB", "NCLOB", "ROWID", "UROWID", "XMLTYPE",
         "XML", "JSON", "JSONB", "UUID", "UNIQUEIDENTIFIER", "SQL_VARIANT", "HIERARCHYID", "NAME", "TIME", "TIMETZ",
         "TIME WITHOUT TIME ZONE", "TIME WITH TIME ZONE", "RELTIME", "ABSTIME", "ROWVERSION", "SYSNAME",
         # bytes, as hexadecimal digits
         "RAW", "LONG RAW", "BLOB", "BFILE", "BYTEA", "BINARY", "VARBINARY", "LONGVARBINARY", "IMAGE", "BIT VARYING",
         # with a sign of its currency, by the server's settings
         "MONEY"),
        "string",
    ),
}  # fmt: skip
_OF_FAMILY: dict[str, dict[str, str | None]] = {
    # DATE has a time of day; FLOAT is a NUMBER of so many binary digits
    "oracle": {"DATE": "timestamp", "FLOAT": None},
    "dm": {"DATE": "date32", "FLOAT": "float64"},
    "mssql": {
        "DATE": "date32",
        "FLOAT": "float64",
        "MONEY": "decimal128(19,4)",
        "SMALLMONEY": "decimal128(10,4)",
        "TIMESTAMP": "string",  # a row version
    },
    # a DATE of their Oracle modes has a time of day
    "kingbase": {"DATE": "timestamp", "FLOAT": "float64", "BIT": "string"},
    "opengauss": {"DATE": "date32", "FLOAT": "float64", "BIT": "string"},
    "gaussdb": {"DATE": "date32", "FLOAT": "float64", "BIT": "string"},
    "postgres": {"DATE": "date32", "FLOAT": "float64", "BIT": "string"},
}
_NUMBERS = ("NUMBER", "NUMERIC", "DECIMAL", "DEC", "FIXED")
_FAMILIES = {"postgresql": "postgres", "sqlserver": "mssql", "dameng": "dm"}


def propose_type(conn_type: str, word: str) -> str | None:
    """Our type for a type of a database of this connection type, as the database spells it: ``NUMBER(12,2)``."""
    family = _OF_FAMILY.get(_FAMILIES.get(conn_type.lower(), conn_type.lower()))
    if family is None:
        return None
    text = " ".join(word.upper().split(" COLLATE ")[0].replace('"', "").split())
    found = re.match(
        r"([A-Z_][A-Z0-9_. ]*?)\s*(?:\(\s*(\d+|MAX)\s*(?:BYTE|CHAR)?\s*(?:,\s*(-?\d+)\s*)?\)\s*(.*))?$", text
    )
    if found is None:
        return None
    name, rest = found[1].strip(), (found[4] or "").strip()
    if name in _NUMBERS:
        return _propose_number(found[2], found[3])
    if name.startswith("INTERVAL"):
        return "string"
    for zone in (" WITH LOCAL TIME ZONE", " WITH TIME ZONE", " WITHOUT TIME ZONE"):
        name = name.removesuffix(zone)
        rest = rest.removeprefix(zone.strip())
    if name == "BIT" and found[2] not in (None, "1"):
        return "string"
    return family[name] if name in family else _COMMON.get(name)


def _propose_number(precision: str | None, scale: str | None) -> str | None:
    """A number of declared digits; None without them, where every value may have another scale."""
    if precision is None or precision == "MAX":
        return None
    digits, decimals = int(precision), int(scale or 0)
    if decimals < 0:  # rounded left of the point: that many zeros are added
        digits, decimals = digits - decimals, 0
    if decimals > digits:  # NUMBER(2,5): 0.00012
        digits = decimals
    if not 1 <= digits <= 38:
        return None
    return "int64" if decimals == 0 and digits <= 18 else f"decimal128({digits},{decimals})"
