"""What stands in front of a department's PostgreSQL: takes, as PgBouncer does, no settings at the start of a session."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

_ENCRYPTION_REQUESTS = (80877103, 80877104)


@contextlib.contextmanager
def serve_pooler(host: str, port: int) -> Iterator[int]:
    """Passes sessions on to the server at ``host:port``; yields its own port on the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, host, port), name="pooler", daemon=True).start()
        yield int(listener.getsockname()[1])


def _accept(listener: socket.socket, host: str, port: int) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_pass_on, args=(client, host, port), daemon=True).start()


def _pass_on(client: socket.socket, host: str, port: int) -> None:
    with client, contextlib.suppress(OSError):
        while True:
            head = _receive(client, 8)
            length, code = struct.unpack("!II", head)
            rest = _receive(client, length - 8)
            if code not in _ENCRYPTION_REQUESTS:
                break
            client.sendall(b"N")
        if b"options\0" in rest:
            said = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0"
            client.sendall(b"E" + struct.pack("!I", len(said) + 4) + said)
            return
        with socket.create_connection((host, port)) as server:
            server.sendall(head + rest)
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            _copy(client, server)
            back.join(5)


def _receive(line: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        if not (more := line.recv(count - len(received))):
            raise OSError("closed")
        received += more
    return received


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while more := source.recv(1 << 16):
            target.sendall(more)
        target.shutdown(socket.SHUT_WR)
