"""Pinning the key of an SFTP server, once a person has compared its fingerprint (F-69)."""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import Any

from guiji import connections
from guiji.errors import SourceUnavailable, UsageError
from guiji.settings import Settings


def enroll_host_key(settings: Settings, conn_id: str, *, assume_yes: bool = False) -> None:
    """Pins the key that the SFTP server of ``conn_id`` shows now, after a person has seen its fingerprint.

    Raises SourceUnavailable when the server can't be asked, UsageError when nobody says yes.
    """
    found = connections.get_connection(settings, conn_id)
    if found.conn_type not in ("sftp", "ssh"):
        raise UsageError(f"Connection {conn_id} is {found.conn_type}, not sftp or ssh. Nothing was pinned.")
    host, port = found.host or "localhost", found.port or 22
    key = _ask_host_key(host, port)
    shown = f"{key.get_name()} {key.get_base64()}"
    pinned = str(found.extra.get("host_key") or "")
    print(f"{conn_id}: {host}:{port} shows {key.get_name()}, fingerprint {_fingerprint(key)}")
    if pinned == shown:
        print("This key is pinned already; nothing was changed.")
        return
    if pinned:
        print(f"ANOTHER KEY IS PINNED: {_fingerprint_of(pinned)}. Ask the department whether the server was renewed.")
    if not assume_yes:
        print(
            "Compare the fingerprint with the one the department gives by another way (ssh-keygen -lf on the server)."
        )
        if not sys.stdin.isatty():
            raise UsageError("Nobody is there to say yes. Nothing was pinned; compare the fingerprint and add --yes.")
        if input("Pin this key? Write yes: ").strip().lower() != "yes":
            raise UsageError("Not confirmed. Nothing was pinned.")
    connections.save_host_key(settings, conn_id, shown)
    print(f"Pinned in {settings.home / 'host_keys.json'}.")
    if pinned and connections.load_host_keys(settings).get(conn_id) != pinned:
        after = connections.get_connection(settings, conn_id).extra.get("host_key")
        if after != shown:
            print(
                f"The connection's own extra.host_key still comes first: change it in {found.variable} or in Airflow."
            )


def _ask_host_key(host: str, port: int) -> Any:
    import paramiko

    try:
        with contextlib.closing(socket.create_connection((host, port), timeout=15)) as line:
            transport = paramiko.Transport(line)
            try:
                transport.start_client(timeout=15)
                return transport.get_remote_server_key()
            finally:
                transport.close()
    except (OSError, EOFError, paramiko.SSHException) as exc:
        raise SourceUnavailable(
            f"{host}:{port} can't be asked for its host key ({type(exc).__name__}: {exc}). "
            "Nothing was pinned; check address and firewall and try again."
        ) from exc


def _fingerprint(key: Any) -> str:
    import base64
    import hashlib

    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


def _fingerprint_of(text: str) -> str:
    import base64
    import binascii
    import hashlib

    try:
        raw = base64.b64decode(text.split()[-1], validate=True)
    except (binascii.Error, IndexError):
        return "unreadable"
    return "SHA256:" + base64.b64encode(hashlib.sha256(raw).digest()).decode().rstrip("=")
