"""Where each field of one library row comes from: department, batch, date, place in the delivery, and who disagreed.

Needs no catalog: the registry of sources in the warehouse knows the names. Personal values are masked by the
library's sensitivity levels unless an operator asks for them in clear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from guiji.errors import UsageError
from guiji.library.provenance import KEY_SEPARATOR, key_text
from guiji.library.strategies import STRATEGIES
from guiji.library.versions import SourceRow, Version, end_of, find_version, locate
from guiji.masking import mask
from guiji.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import LibraryField, LibraryModel

    Conn = Connection[dict[str, Any]]


@dataclass(frozen=True)
class TraceLoser:
    """A department whose value was not taken and differs."""

    department: str
    resource: str
    value: str


@dataclass(frozen=True)
class TraceField:
    """One field: its value (masked unless revealed) and who supplied it; nobody where there is no value."""

    name: str
    title: str
    value: str | None
    strategy: str
    department: str | None = None
    resource_id: str | None = None
    resource: str | None = None
    batch_id: str | None = None
    batch_at: datetime | None = None
    locator: str | None = None  # file:line or table:position of the source row
    losers: tuple[TraceLoser, ...] = ()


@dataclass(frozen=True)
class TraceCard:
    """One library row and where each field comes from."""

    library: str
    title: str
    key: str
    valid_from: datetime
    valid_to: datetime | None  # of a former version
    deleted_at: datetime | None
    fields: tuple[TraceField, ...]
    vintage: int | None = None


def trace(
    conn: Conn,
    settings: Settings,
    library: LibraryModel,
    key: str,
    as_of: date | datetime | None = None,
    *,
    reveal: bool = False,
) -> TraceCard:
    """The card of one row, now or as it was at the end of ``as_of``. Raises UsageError when there was no such row.

    A key of several columns is written with ``|`` between them. With ``reveal`` the audit trail says so; commits.
    """
    values = key.split(KEY_SEPARATOR) if len(library.key) > 1 else [key]
    if len(values) != len(library.key):
        names = KEY_SEPARATOR.join(k.title for k in library.key)
        raise UsageError(
            f"The key of {library.name} has {len(library.key)} parts: write {names}. Nothing was looked up."
        )
    there = conn.execute(
        "/* guiji trace */ SELECT to_regclass(%s) IS NOT NULL AS there", (f'library."{library.table}"',)
    ).fetchone()
    moment = end_of(as_of)
    version = find_version(conn, library, values, moment) if there and there["there"] else None
    if version is None:
        asked = key_text(mask(v) if k.sensitivity >= 3 else v for v, k in zip(values, library.key, strict=True))
        when = f" at the end of {as_of}" if as_of else ""
        raise UsageError(
            f"{library.name} has no row with the key {asked}{when}. Nothing was shown; check the key, or run "
            f"`./guiji resolve {library.name}` when deliveries have come in since."
            + (_name_archive(conn, library, moment) if moment else "")
        )
    sources = {
        r["ordinal"]: r
        for r in conn.execute("/* guiji trace */ SELECT * FROM ops.library_source WHERE library = %s", (library.name,))
    }
    found: dict[int, SourceRow] = {}
    fields = []
    for field in library.fields:
        ordinal, batch_id = version.winners.get(field.name, (0, None))
        # a field that the library has gained since it was resolved is empty
        source, shown = sources.get(ordinal), version.row.get(field.name)
        place = SourceRow(batch_id, None, None)
        if source:
            if ordinal not in found:
                told = _told(library, version, source)
                found[ordinal] = locate(conn, library, source, values, batch_id, moment, told)
            place = found[ordinal]
        fields.append(
            TraceField(
                name=field.name,
                title=field.title,
                value=_show(field, shown, reveal),
                strategy=STRATEGIES[field.strategy].title,
                department=source["department_name"] if source else None,
                resource_id=source["resource_id"] if source else None,
                resource=source["resource_name"] if source else None,
                batch_id=place.batch_id,
                batch_at=place.at,
                locator=place.locator,
                losers=_losers(field, version.losers.get(field.name, {}), sources, reveal),
            )
        )
    if reveal:
        _record_reveal(conn, settings, library, values)
    conn.commit()
    return TraceCard(
        library=library.name,
        title=library.title,
        key=key_text(_show(k, v, reveal) for k, v in zip(library.key, values, strict=True)),
        valid_from=version.row["_resolved_at"],
        valid_to=version.valid_to,
        deleted_at=version.row["_deleted_at"],
        fields=tuple(fields),
        vintage=version.row.get("_vintage"),
    )


def _name_archive(conn: Conn, library: LibraryModel, moment: datetime) -> str:
    """Where the versions of that time may be, if some were archived."""
    row = conn.execute(
        "/* guiji trace */ SELECT string_agg(directory, ', ' ORDER BY archived_at) AS found FROM ops.archive"
        " WHERE object = %s AND restored_at IS NULL AND before > (%s AT TIME ZONE 'Asia/Shanghai')::date",
        (library.name, moment),
    ).fetchone()
    if row is None or not row["found"]:
        return ""
    return f" History of that time was archived to {row['found']}; `./guiji archive restore DIR` brings it back."


def render_card(card: TraceCard) -> str:
    """Prints the card in Chinese and returns what it printed."""
    import io

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{card.title}　{card.key}", title_justify="left", show_lines=False)
    for name in (
        "信息项",
        "值",
        "来源部门",
        "数据资源",
        "批次",
        "入库时间",
        "来源位置",
        "取值规则",
        "其他部门的不同值",
    ):
        # a batch id must be whole: it is what one copies into the next command
        table.add_column(name, overflow="fold", no_wrap=name == "批次")
    for f in card.fields:
        cells = (
            f.title,
            f.value if f.value is not None else "（空）",
            f.department or "—",
            f.resource or "—",
            f.batch_id or "—",
            f"{f.batch_at:%Y-%m-%d %H:%M}" if f.batch_at else "—",
            f.locator or "—",
            f.strategy,
            "；".join(f"{x.department}：{x.value}" for x in f.losers) or "—",
        )
        table.add_row(*(Text(c) for c in cells))
    sink = io.StringIO()
    console = Console(file=sink, width=max(160, Console().width), force_terminal=False)
    console.print(table)
    end = f"至 {card.valid_to:%Y-%m-%d %H:%M}" if card.valid_to else "起有效"
    console.print(
        Text(f"本版本自 {card.valid_from:%Y-%m-%d %H:%M} {end}" + (f"，第 {card.vintage} 版次" if card.vintage else ""))
    )
    if card.deleted_at:
        console.print(Text(f"各来源已无此数据，{card.deleted_at:%Y-%m-%d %H:%M} 起停用"))
    text = sink.getvalue()
    print(text, end="")
    return text


def _told(library: LibraryModel, version: Version, source: Mapping[str, Any]) -> dict[str, Any]:
    """What the source's row said: library field -> value, of the fields that it won. What was joined or converted
    doesn't stand in the source row."""
    won = (f for f in library.fields if version.winners.get(f.name, (0, None))[0] == source["ordinal"])
    return {
        f.name: version.row[f.name]
        for f in won
        if not (STRATEGIES[f.strategy].joins or f.units or f.unit_of) and f.name in source["fields"]
    }


def _losers(
    field: LibraryField, found: Mapping[str, str], sources: Mapping[int, Mapping[str, Any]], reveal: bool
) -> tuple[TraceLoser, ...]:
    return tuple(
        TraceLoser(s["department_name"], s["resource_name"], _show(field, value, reveal) or "")
        for ordinal, value in sorted(found.items(), key=lambda i: int(i[0]))
        if (s := sources.get(int(ordinal)))
    )


def _show(field: LibraryField, value: object, reveal: bool) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes | bytearray | memoryview):
        return f"几何数据 {len(value)} 字节"
    return str(value) if reveal or field.sensitivity < 3 else mask(value)


def _record_reveal(conn: Conn, settings: Settings, library: LibraryModel, values: Sequence[str]) -> None:
    import getpass

    from guiji.ledger import append_audit
    from guiji.secrets import hmac_key

    shown = hmac_key(settings, key_text(values))
    append_audit(conn, settings, getpass.getuser(), "trace.reveal", library.name, {"key_hmac": shown})
