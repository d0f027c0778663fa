"""An SFTP server over a folder (asyncssh)."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from guiji.connections import Connection
from guiji.demo.servers.transfer import TransferFaults, running_loop


@dataclass(frozen=True)
class SftpServer(Connection):
    """The running server. ``extra`` pins its host key, as Airflow's SFTP connection does."""

    root: Path = Path()
    faults: TransferFaults = field(default_factory=TransferFaults)
    #: makes the server show another host key to whoever connects next; returns it (fault F-69)
    change_host_key: Callable[[], str] = field(default=str, repr=False)


class _Login(asyncssh.SSHServer):
    def __init__(self, user: str, password: str, faults: TransferFaults) -> None:
        self._user, self._password, self._faults = user, password, faults

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (self._user, self._password) and not self._faults.refuse_logins


class _Files(asyncssh.SFTPServer):
    """The folder, with names in ``encoding`` on the wire and the faults of the moment."""

    def __init__(self, chan: Any, root: Path, encoding: str, faults: TransferFaults) -> None:
        super().__init__(chan, chroot=os.fsencode(root))
        self._encoding, self._faults = encoding, faults

    def map_path(self, path: bytes) -> bytes:
        return super().map_path(path.decode(self._encoding, "surrogateescape").encode("utf-8", "surrogateescape"))

    def reverse_map_path(self, path: bytes) -> bytes:
        return self._on_wire(super().reverse_map_path(path))

    def _on_wire(self, name: bytes) -> bytes:
        return name.decode("utf-8", "surrogateescape").encode(self._encoding, "surrogateescape")

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        for name in (b".", b"..", *sorted(os.listdir(self.map_path(path)))):
            with contextlib.suppress(FileNotFoundError):
                attrs = self._lie(os.lstat(os.path.join(self.map_path(path), name)))
                yield asyncssh.SFTPName(self._on_wire(name), attrs=attrs)

    def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
        return self._lie(os.stat(self.map_path(path)))

    def lstat(self, path: bytes) -> asyncssh.SFTPAttrs:
        return self._lie(os.lstat(self.map_path(path)))

    def fstat(self, file_obj: Any) -> asyncssh.SFTPAttrs:
        return self._lie(os.fstat(file_obj.fileno()))

    def _lie(self, found: os.stat_result) -> asyncssh.SFTPAttrs:
        attrs = asyncssh.SFTPAttrs.from_local(found)
        if self._faults.size_lie and os.path.stat.S_ISREG(found.st_mode):  # type: ignore[attr-defined]
            attrs.size = max(0, found.st_size + self._faults.size_lie)
        return attrs

    async def read(self, file_obj: Any, offset: int, size: int) -> bytes:
        faults, end = self._faults, offset + size
        if faults.close_after_bytes is not None and end > faults.close_after_bytes and faults.spend():
            self.channel.get_connection().abort()
            return b""
        if faults.stall_after_bytes is not None and end > faults.stall_after_bytes and faults.spend():
            await asyncio.sleep(faults.stall_seconds)
        file_obj.seek(offset)
        return bytes(file_obj.read(size))


@contextlib.contextmanager
def serve_sftp(
    root: Path,
    user: str = "guiji",
    password: str = "guiji-sftp",  # noqa: S107 - a loopback server of the demo
    *,
    conn_id: str = "sftp_demo",
    encoding: str = "utf-8",
    host_key: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[SftpServer]:
    """Serves ``root``; names are in ``encoding`` on the wire (old servers: ``gbk``).

    ``host_key`` is a file that keeps the key between runs; without one every start has a new key.
    """
    root.mkdir(parents=True, exist_ok=True)
    faults = TransferFaults()
    key = _load_host_key(host_key)

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            host,
            port,
            server_host_keys=[key],
            server_factory=lambda: _Login(user, password, faults),
            sftp_factory=lambda chan: _Files(chan, root, encoding, faults),
            allow_scp=False,
        )

    with running_loop("sftp") as thread:
        acceptor = thread.run(listen())

        def change_host_key() -> str:
            new = asyncssh.generate_private_key("ssh-ed25519")

            async def update() -> None:
                acceptor.update(server_host_keys=[new])

            thread.run(update())
            return _public(new)

        try:
            yield SftpServer(
                conn_id=conn_id,
                conn_type="sftp",
                host=host,
                port=acceptor.get_port(),
                login=user,
                password=password,
                extra={"host_key": _public(key)},
                root=root,
                faults=faults,
                change_host_key=change_host_key,
            )
        finally:

            async def close() -> None:
                acceptor.close()
                await acceptor.wait_closed()

            thread.run(close())


def _load_host_key(path: Path | None) -> asyncssh.SSHKey:
    if path is not None and path.exists():
        return asyncssh.read_private_key(path)
    key = asyncssh.generate_private_key("ssh-ed25519")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        key.write_private_key(path)
    return key


def _public(key: asyncssh.SSHKey) -> str:
    return " ".join(key.export_public_key("openssh").decode().split()[:2])
