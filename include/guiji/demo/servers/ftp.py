"""An FTP server over a folder (pyftpdlib)."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guiji.connections import Connection
from guiji.demo.servers.transfer import TransferFaults


@dataclass(frozen=True)
class FtpServer(Connection):
    """The running server."""

    root: Path = Path()
    faults: TransferFaults = field(default_factory=TransferFaults)


@contextlib.contextmanager
def serve_ftp(
    root: Path,
    user: str = "guiji",
    password: str = "guiji-ftp",  # noqa: S107 - a loopback server of the demo
    *,
    conn_id: str = "ftp_demo",
    encoding: str = "utf-8",
    mlsd: bool = True,
    writable: bool = False,
    certificate: Path | None = None,
    implicit: bool = False,
    ragged: bool = False,
    lacks: Collection[str] = (),
    windows: bool = False,
    host: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[FtpServer]:
    """Serves ``root``, passive mode; names are in ``encoding``. ``mlsd=False`` is a server of before 2007.

    With ``certificate`` (a PEM file with its key; needs pyOpenSSL) login and data are refused without TLS.
    ``implicit``: TLS from the first byte on. ``ragged``: data channels end without TLS's farewell. ``lacks``: commands that the server does not know. ``windows``: LIST is as
    Windows' server writes it. ``writable``: files may be renamed and folders made.
    """
    from pyftpdlib.authorizers import AuthenticationFailed, DummyAuthorizer
    from pyftpdlib.filesystems import AbstractedFS
    from pyftpdlib.handlers import DTPHandler, FTPHandler
    from pyftpdlib.ioloop import IOLoop
    from pyftpdlib.servers import FTPServer

    # without a handler of ours it would configure logging for the whole process and write a line per command
    logger = logging.getLogger("pyftpdlib")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
    root.mkdir(parents=True, exist_ok=True)
    faults = TransferFaults()

    class Authorizer(DummyAuthorizer):  # type: ignore[misc]
        def validate_authentication(self, username: str, secret: str, handler: Any) -> None:
            if faults.refuse_logins:
                raise AuthenticationFailed("Authentication failed.")
            super().validate_authentication(username, secret, handler)

    class Transfer(DTPHandler):  # type: ignore[misc]
        ac_out_buffer_size = 8192  # small steps, so that a fault comes where it is asked for
        _spoilt = False

        def handle_write(self) -> None:
            sent, f = self.get_transmitted_bytes(), faults
            if f.close_after_bytes is not None and sent >= f.close_after_bytes and f.spend():
                self.cmd_channel.close()
                self.close()
                return
            if f.stall_after_bytes is not None and sent >= f.stall_after_bytes and not self._spoilt and f.spend():
                self._spoilt = True
                self.ioloop.unregister(self._fileno)  # nothing more comes; the control channel goes on
                self.ioloop.call_later(f.stall_seconds, self.close)
                return
            super().handle_write()

    class Folder(AbstractedFS):  # type: ignore[misc]
        def getsize(self, path: str) -> int:
            return int(super().getsize(path)) + faults.size_lie

        def format_list(self, basedir: str, listing: list[str], ignore_err: bool = True) -> Iterator[bytes]:
            if not windows:
                yield from super().format_list(basedir, listing, ignore_err)
                return
            for name in listing:
                status = self.stat(f"{basedir}/{name}")
                at = time.strftime("%m-%d-%y  %I:%M%p", time.gmtime(status.st_mtime))
                size = f"{'<DIR>':<20}" if self.isdir(f"{basedir}/{name}") else f"{status.st_size:>20}"
                yield f"{at} {size} {name}\r\n".encode(encoding, "surrogateescape")

    control: Any = FTPHandler
    transfer: Any = Transfer
    if certificate is not None:
        from pyftpdlib.handlers import TLS_DTPHandler, TLS_FTPHandler

        control = TLS_FTPHandler

        class SecureTransfer(Transfer, TLS_DTPHandler):  # type: ignore[misc]
            def _do_ssl_shutdown(self) -> None:
                if not ragged:
                    super()._do_ssl_shutdown()
                    return
                self._ssl_established = self._ssl_closing = False
                with socket.socket(fileno=os.dup(self.socket.fileno())) as line, contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)
                self.close()

        transfer = SecureTransfer

        if implicit:

            class Implicit(TLS_FTPHandler):  # type: ignore[misc]
                def handle(self) -> None:
                    self.secure_connection(self.ssl_context)

                def handle_ssl_established(self) -> None:
                    super().handle()

            control = Implicit

    class Handler(control):  # type: ignore[misc]
        dtp_handler = transfer
        abstracted_fs = Folder
        banner = "guiji demo"
        use_sendfile = False
        auth_failed_timeout = 0

    if certificate is not None:
        Handler.certfile = str(certificate)
        Handler.tls_control_required = Handler.tls_data_required = True
    absent = {*lacks, *(() if mlsd else ("MLSD", "MLST"))}
    Handler.proto_cmds = {k: v for k, v in control.proto_cmds.items() if k not in absent}
    Handler.encoding = encoding
    Handler.authorizer = Authorizer()
    Handler.authorizer.add_user(user, password, str(root), perm="elrfm" if writable else "elr")
    loop = IOLoop()
    server = FTPServer((host, port), Handler, ioloop=loop)
    stopping = threading.Event()

    def run() -> None:
        while not stopping.is_set():
            loop.loop(timeout=0.05, blocking=False)  # serve_forever writes a log line at every call
            time.sleep(0)
        server.close_all()

    thread = threading.Thread(target=run, name="ftp", daemon=True)
    thread.start()
    try:
        yield FtpServer(
            conn_id=conn_id,
            conn_type="ftps" if certificate else "ftp",
            host=host,
            port=server.address[1],
            login=user,
            password=password,
            extra=({"encoding": encoding} if encoding != "utf-8" else {})
            | ({"implicit_tls": True} if implicit else {}),
            root=root,
            faults=faults,
        )
    finally:
        stopping.set()
        thread.join(10)
