"""SFTP by paramiko: the host key is pinned or nothing is read (F-69), names may be GBK (F-40)."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import logging
import socket
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.errors import SourceRefused, SourceUnavailable
from guiji.sources.remote_folder import (
    MOST_FILES,
    Listed,
    Pace,
    decode_name,
    fetch_by_chunks,
    from_epoch,
    join_archive,
)

if TYPE_CHECKING:
    import paramiko

    from guiji.connections import Connection

TIMEOUT = 30.0  # seconds without a byte; the connection's extra.timeout overrides it
_WINDOW = 32 << 20
_CHUNK = 1 << 18
_FORBIDDEN = ("no_host_key_check", "allow_host_key_change")
#: key type in the pinned key -> what may be negotiated for it
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}


def fingerprint(key: bytes) -> str:
    """SHA256 fingerprint as OpenSSH shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def read_pinned_key(connection: Connection) -> bytes:
    """The pinned host key. Raises SourceRefused when there is none, or when checking it is switched off."""
    for flag in _FORBIDDEN:
        if str(connection.extra.get(flag, "")).lower() in ("true", "1", "yes"):
            raise SourceRefused(
                f"Connection {connection.conn_id} sets {flag}, which lets anybody pose as the server. Nothing was read; "
                f"remove it and pin the key with ./guiji doctor enroll-host-key {connection.conn_id}.",
                connection=connection.conn_id,
            )
    text = str(connection.extra.get("host_key") or "").strip()
    if not text:
        raise SourceRefused(
            f"Connection {connection.conn_id} has no pinned host key. Nothing was read; compare the fingerprint with "
            f"the server's owner and pin it with ./guiji doctor enroll-host-key {connection.conn_id}.",
            connection=connection.conn_id,
        )
    word = next((w for w in text.split() if w.startswith("AAAA")), text.split()[-1])
    try:
        return base64.b64decode(word, validate=True)
    except ValueError:
        raise SourceRefused(
            f"The host key of connection {connection.conn_id} is not base64. Nothing was read; pin it again with "
            f"./guiji doctor enroll-host-key {connection.conn_id}.",
            connection=connection.conn_id,
        ) from None


def fetch_host_key(connection: Connection) -> tuple[str, str]:
    """(the key the server shows, as ``ssh-ed25519 AAAA…``; its fingerprint), for enrolment by a person."""
    with contextlib.closing(_start(connection, None)) as transport:
        key = transport.get_remote_server_key()
        return f"{key.get_name()} {key.get_base64()}", fingerprint(key.asbytes())


def _timeout(connection: Connection) -> float:
    return float(connection.extra.get("timeout", TIMEOUT))


def _start(connection: Connection, pinned: bytes | None) -> paramiko.Transport:
    """A transport after the key exchange. Raises SourceUnavailable, and SourceRefused for another host key."""
    import paramiko

    # it writes its errors with a traceback before it raises them
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    where = f"{connection.host}:{connection.port or 22}"
    try:
        sock = socket.create_connection(
            (connection.host or "127.0.0.1", connection.port or 22), timeout=_timeout(connection)
        )
    except OSError as exc:
        raise SourceUnavailable(
            f"Connection {connection.conn_id}: {where} can't be reached ({exc}). Nothing was read; it will be tried "
            "again, check that the front-end processor is up.",
            connection=connection.conn_id,
        ) from exc
    transport = paramiko.Transport(sock, default_window_size=_WINDOW, default_max_packet_size=1 << 17)
    try:
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = _timeout(connection)
        if pinned is not None:
            length = int.from_bytes(pinned[:4], "big")
            name = pinned[4 : 4 + length].decode("ascii", "replace")
            wanted = _ALGORITHMS.get(name, (name,))
            offered = transport.get_security_options().key_types
            # the pinned kind first: a server with several keys then shows the one we know
            first = [k for k in offered if k in wanted]
            transport.get_security_options().key_types = (*first, *(k for k in offered if k not in wanted))
        transport.start_client(timeout=_timeout(connection))
        shown = transport.get_remote_server_key().asbytes()
        if pinned is not None and shown != pinned:
            raise SourceRefused(
                f"The host key of {where} (connection {connection.conn_id}) has changed: expected "
                f"{fingerprint(pinned)}, got {fingerprint(shown)}. Nothing was sent or read; ask the server's owner "
                f"whether the key was replaced, and only then run ./guiji doctor enroll-host-key {connection.conn_id}.",
                connection=connection.conn_id,
            )
        return transport
    except SourceRefused:
        transport.close()
        raise
    except paramiko.ssh_exception.IncompatiblePeer as exc:
        transport.close()
        raise SourceRefused(
            f"Connection {connection.conn_id}: {where} and we have no way of encryption in common ({exc}). Nothing was "
            "read, trying again changes nothing; the server knows old ways only (SHA-1, CBC) that are no longer safe: ask "
            "its owner to bring it up to date.",
            connection=connection.conn_id,
        ) from None
    except (paramiko.SSHException, OSError, EOFError) as exc:
        transport.close()
        raise SourceUnavailable(
            f"Connection {connection.conn_id}: the SSH handshake with {where} failed ({type(exc).__name__}). "
            "Nothing was read; it will be tried again.",
            connection=connection.conn_id,
        ) from exc


@contextlib.contextmanager
def open_sftp(connection: Connection) -> Iterator[paramiko.SFTPClient]:
    """A logged-in SFTP session on a server whose key is the pinned one."""
    import paramiko

    transport = _start(connection, read_pinned_key(connection))
    try:
        try:
            if private := connection.extra.get("private_key"):
                key = paramiko.PKey.from_private_key(
                    io.StringIO(str(private)), password=connection.extra.get("private_key_passphrase")
                )
                transport.auth_publickey(connection.login or "", key)
            else:
                transport.auth_password(connection.login or "", connection.password or "")
            client = paramiko.SFTPClient.from_transport(transport, window_size=_WINDOW, max_packet_size=1 << 17)
        except paramiko.AuthenticationException:
            raise SourceRefused(
                f"Connection {connection.conn_id}: the server refuses login or password of user {connection.login}. "
                f"Nothing was read, trying again changes nothing; mend connection {connection.conn_id}.",
                connection=connection.conn_id,
            ) from None
        except (paramiko.SSHException, OSError, EOFError) as exc:
            raise SourceUnavailable(
                f"Connection {connection.conn_id}: the server broke off at login ({type(exc).__name__}). "
                "Nothing was read; it will be tried again.",
                connection=connection.conn_id,
            ) from exc
        assert client is not None
        channel = client.get_channel()
        assert channel is not None
        channel.settimeout(_timeout(connection))
        yield client
    finally:
        transport.close()


class SftpFolder:
    """A directory on an SFTP server; every use is a session of its own only when the last one broke."""

    def __init__(self, connection: Connection, directory: str, archive: str | None = None) -> None:
        self.connection = connection
        self.directory = directory
        self.archive = join_archive(directory, archive)
        self._stack = contextlib.ExitStack()
        self._client: paramiko.SFTPClient | None = None

    def close(self) -> None:
        self._client = None
        self._stack.close()

    def _session(self) -> paramiko.SFTPClient:
        if self._client is None:
            self._client = self._stack.enter_context(open_sftp(self.connection))
        return self._client

    @contextlib.contextmanager
    def _translated(self, action: str) -> Iterator[None]:
        import paramiko

        try:
            yield
        except FileNotFoundError as exc:
            raise SourceUnavailable(
                f"Connection {self.connection.conn_id}: {action}: there is no such file or directory. Nothing was read; "
                "check the directory in the catalog, it will be tried again.",
                connection=self.connection.conn_id,
            ) from exc
        except PermissionError as exc:
            raise SourceRefused(
                f"Connection {self.connection.conn_id}: {action}: permission denied. Nothing was read; ask the "
                "department for read permission.",
                connection=self.connection.conn_id,
            ) from exc
        except (paramiko.SSHException, OSError, EOFError) as exc:
            self.close()
            raise SourceUnavailable(
                f"Connection {self.connection.conn_id}: {action}: the connection broke off or stood still "
                f"({type(exc).__name__}). Nothing was staged; it will be tried again.",
                connection=self.connection.conn_id,
            ) from exc

    def list_files(self, *, archived: bool = False) -> list[Listed]:
        where = self.archive if archived else self.directory
        try:
            with self._translated(f"listing {where}"):
                entries = list(islice(_list_raw(self._session(), self._wire(where)), MOST_FILES + 1))
                if len(entries) > MOST_FILES:
                    raise OSError("a listing without end")
        except SourceUnavailable as error:
            if archived and isinstance(error.__cause__, FileNotFoundError):
                return []
            raise
        return [
            Listed(decode_name(raw), raw, int(a.st_size or 0), from_epoch(a.st_mtime or 0), archived)
            for raw, a in entries
            if a.st_mode is None or stat.S_ISREG(a.st_mode)
        ]

    def fetch(self, file: Listed, target: Path, attempt: int) -> None:
        pace = Pace(file.size, _timeout(self.connection))
        with self._translated(f"fetching {file.name}"), self._session().open(self._path(file), "rb") as f:
            if attempt == 1:
                # a wrong size in the listing must not make the reader wait for bytes that never come
                f.prefetch(min(file.size, f.stat().st_size or file.size), max_concurrent_requests=64)
            fetch_by_chunks(lambda: f.read(_CHUNK), target, pace)

    def look(self, file: Listed) -> object:
        with self._translated(f"looking at {file.name}"):
            status = self._session().stat(self._path(file))
            return status.st_size, status.st_mtime

    def read_small(self, file: Listed, limit: int = 4096) -> bytes:
        with self._translated(f"reading {file.name}"), self._session().open(self._path(file), "rb") as f:
            return f.read(limit)

    def move(self, file: Listed, target: Listed) -> bool:
        with self._translated(f"moving {file.name}"):
            client = self._session()
            if target.archived:
                with contextlib.suppress(OSError):
                    client.mkdir(self._wire(self.archive))
            with contextlib.suppress(FileNotFoundError):
                client.lstat(self._path(target))
                return False  # some servers would overwrite it
            client.rename(self._path(file), self._path(target))
            return True

    def _path(self, file: Listed) -> bytes:
        return self._wire(self.archive if file.archived else self.directory).rstrip(b"/") + b"/" + file.raw

    def _wire(self, directory: str) -> bytes:
        return directory.encode(str(self.connection.extra.get("encoding", "utf-8")))


def _list_raw(client: paramiko.SFTPClient, directory: bytes) -> Iterator[tuple[bytes, Any]]:
    """Names as the bytes that the server sent: paramiko's own listing insists on UTF-8."""
    from paramiko.sftp import CMD_CLOSE, CMD_HANDLE, CMD_OPENDIR, CMD_READDIR
    from paramiko.sftp_attr import SFTPAttributes

    kind, message = client._request(CMD_OPENDIR, directory)  # type: ignore[attr-defined]
    if kind != CMD_HANDLE:
        raise OSError("expected a handle")
    handle = message.get_binary()
    while True:
        try:
            _, message = client._request(CMD_READDIR, handle)  # type: ignore[attr-defined]
        except EOFError:
            break
        for _ in range(message.get_int()):
            name = message.get_string()
            message.get_string()  # the long name, for people
            attributes = SFTPAttributes._from_msg(message)  # type: ignore[attr-defined]
            if name not in (b".", b".."):
                yield name, attributes
    client._request(CMD_CLOSE, handle)  # type: ignore[attr-defined]
