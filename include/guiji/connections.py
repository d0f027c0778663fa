"""Connections by id, with or without Airflow, in Airflow's formats.

Order: ``AIRFLOW_CONN_<ID>`` (URI or JSON), then a resolver that the orchestration registered (Airflow's own
connections, inside a task), then ``GUIJI_HOME/connections.json``. Host keys pinned by ``guiji doctor enroll-host-key``
(``GUIJI_HOME/host_keys.json``) complete ``extra.host_key``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from guiji.errors import UsageError
from guiji.settings import Settings

_FIELDS = ("conn_type", "host", "port", "login", "password", "schema", "extra")


@dataclass(frozen=True)
class Connection:
    """Where a server is and how we log in. The password is in no repr."""

    conn_id: str
    conn_type: str
    host: str | None = None
    port: int | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    schema: str | None = None
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    def to_json(self) -> str:
        """Airflow's JSON form, as ``AIRFLOW_CONN_<ID>`` takes it."""
        fields = {name: getattr(self, name) for name in _FIELDS}
        return json.dumps({k: v for k, v in fields.items() if v not in (None, {})}, ensure_ascii=False)

    @property
    def variable(self) -> str:
        return variable_name(self.conn_id)


Resolver = Callable[[str], Connection | None]
_resolvers: list[Resolver] = []


def register_resolver(resolver: Resolver) -> None:
    """Adds a way to find connections (orchestration: Airflow's own); the latest is asked first."""
    if resolver not in _resolvers:
        _resolvers.insert(0, resolver)


def variable_name(conn_id: str) -> str:
    return "AIRFLOW_CONN_" + conn_id.upper()


def get_connection(settings: Settings, conn_id: str) -> Connection:
    """The connection ``conn_id``. Raises UsageError naming the variable when it is nowhere, or can't be read."""
    found = _find(settings, conn_id)
    if found is None:
        raise UsageError(
            f"There is no connection {conn_id!r}. Nothing was read; define it in Airflow (Admin, Connections), or set "
            f"{variable_name(conn_id)} to a URI such as sftp://user:password@host:22 or to Airflow's JSON form.",
            connection=conn_id,
        )
    pinned = load_host_keys(settings).get(conn_id)
    if pinned and "host_key" not in found.extra:
        found = replace(found, extra={**found.extra, "host_key": pinned})
    return found


def _find(settings: Settings, conn_id: str) -> Connection | None:
    if text := os.environ.get(variable_name(conn_id)):
        return parse_connection(conn_id, text, variable_name(conn_id))
    for resolver in _resolvers:
        if (found := resolver(conn_id)) is not None:
            return found
    stored = load_connections(settings)
    return stored.get(conn_id)


def parse_connection(conn_id: str, text: str, origin: str) -> Connection:
    """Reads Airflow's URI or JSON form. Raises UsageError naming ``origin``, never showing ``text``."""
    try:
        if text.lstrip().startswith("{"):
            return _from_mapping(conn_id, json.loads(text))
        return _from_uri(conn_id, text.strip())
    except (ValueError, TypeError, KeyError) as exc:
        raise UsageError(
            f"{origin} can't be read as a connection ({type(exc).__name__}). Nothing was read; write it as "
            "TYPE://LOGIN:PASSWORD@HOST:PORT/SCHEMA (reserved characters percent-encoded) or as Airflow's JSON form.",
            connection=conn_id,
        ) from None


def _from_mapping(conn_id: str, raw: Mapping[str, Any]) -> Connection:
    unknown = set(raw) - {"conn_type", "host", "port", "login", "password", "schema", "extra", "description", "conn_id"}
    if unknown:
        raise ValueError(f"unknown keys {sorted(unknown)}")
    extra = raw.get("extra") or {}
    return Connection(
        conn_id=conn_id,
        conn_type=_normalise_type(str(raw["conn_type"])),
        host=raw.get("host") or None,
        port=int(raw["port"]) if raw.get("port") not in (None, "") else None,
        login=raw.get("login") or None,
        password=raw.get("password") or None,
        schema=raw.get("schema") or None,
        extra=dict(json.loads(extra) if isinstance(extra, str) else extra),
    )


def _from_uri(conn_id: str, uri: str) -> Connection:
    conn_type, separator, rest = uri.partition("://")
    if not separator or not conn_type:
        raise ValueError("no scheme")
    # Airflow allows the host to carry its protocol: http://https://host:8443
    protocol, separator, inner = rest.partition("://")
    wrapped = bool(separator) and not set(protocol) & set("@:/?")
    parts = urlsplit("//" + (inner if wrapped else rest))
    host = unquote(parts.hostname or "")  # in lower case, as Airflow does
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    extra = json.loads(query["__extra__"]) if "__extra__" in query else query
    return Connection(
        conn_id=conn_id,
        conn_type=_normalise_type(conn_type),
        host=(f"{protocol}://{host}" if wrapped else host) or None,
        port=parts.port,
        login=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        schema=unquote(parts.path[1:]) or None,
        extra=dict(extra),
    )


def _normalise_type(conn_type: str) -> str:
    return "postgres" if conn_type == "postgresql" else conn_type.replace("-", "_")


# --- the files in GUIJI_HOME ------------------------------------------------------------------------


def load_connections(settings: Settings) -> dict[str, Connection]:
    """The connections of ``GUIJI_HOME/connections.json``; empty without the file."""
    raw = _read_json(settings, "connections.json")
    return {conn_id: _from_mapping(conn_id, one) for conn_id, one in raw.items()}


def save_connections(settings: Settings, connections: Iterable[Connection]) -> None:
    """Adds or replaces connections in ``GUIJI_HOME/connections.json`` (0600)."""
    raw = _read_json(settings, "connections.json")
    raw.update({c.conn_id: json.loads(c.to_json()) for c in connections})
    _write_json(settings, "connections.json", raw)


def load_host_keys(settings: Settings) -> dict[str, str]:
    """Pinned host keys by connection id, as ``ssh-ed25519 AAAA…``."""
    return {k: str(v) for k, v in _read_json(settings, "host_keys.json").items()}


def save_host_key(settings: Settings, conn_id: str, key: str) -> None:
    _write_json(settings, "host_keys.json", {**load_host_keys(settings), conn_id: key})


def _read_json(settings: Settings, name: str) -> dict[str, Any]:
    path = settings.home / name
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise UsageError(f"{path} can't be read ({type(exc).__name__}). Nothing was done; mend or remove it.") from exc
    if not isinstance(raw, dict):
        raise UsageError(f"{path} must hold one JSON object. Nothing was done; mend or remove it.")
    return raw


def _write_json(settings: Settings, name: str, raw: Mapping[str, Any]) -> None:
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = settings.home / name
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as f:
        json.dump(raw, f, ensure_ascii=False, indent=1, sort_keys=True)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)
