"""Folders that a department fills, on each kind of server, and resources that read them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from certificates import make_certificates
from delivering import make_resource

from guiji.catalog.models import Resource
from guiji.connections import Connection
from guiji.demo import servers
from guiji.ledger import KnownFile
from guiji.records import Delivery


def plain(server: Any, **changes: Any) -> Connection:
    """The server as a connection; ``extra`` is merged."""
    names = [f.name for f in dataclasses.fields(Connection)]
    values = {n: getattr(server, n) for n in names} | {"conn_id": "drop"}
    extra = values["extra"] | {"timeout": 2} | changes.pop("extra", {})
    return Connection(**{**values, **changes, "extra": {k: v for k, v in extra.items() if v is not None}})


@lru_cache(maxsize=1)
def certificates() -> tuple[str, Path]:
    """(the authority's certificate, the server's with its key), made once."""
    return make_certificates()


@contextlib.contextmanager
def serve(kind: str, folder: Path, *, host: str = "127.0.0.1", encoding: str = "utf-8") -> Iterator[Any]:
    """A server of ``sftp``, ``ftp``, ``old ftp`` (before 2007), ``bare ftp`` and ``windows ftp`` (LIST only), ``ftps``,
    ``implicit ftps`` or ``ragged ftps``; what it gives pins its key or authority."""
    with contextlib.ExitStack() as stack:
        if kind == "sftp":
            yield stack.enter_context(servers.serve_sftp(folder, host=host, encoding=encoding))
            return
        secure = kind.endswith("ftps")
        authority, certificate = certificates()
        found = stack.enter_context(
            servers.serve_ftp(
                folder,
                mlsd=kind in ("ftp", "ftps", "implicit ftps", "ragged ftps"),
                lacks=("SIZE", "MDTM") if kind.startswith(("bare", "windows")) else (),
                windows=kind.startswith("windows"),
                implicit=kind.startswith("implicit"),
                ragged=kind.startswith("ragged"),
                host=host,
                encoding=encoding,
                writable=True,
                certificate=certificate if secure else None,
            )
        )
        found.extra.update({"ca_pem": authority} if secure else {})
        yield found


def kind_of(server: Any) -> str:
    """``source.kind`` of what a server offers."""
    return "sftp" if server.conn_type == "sftp" else "ftp"


def drop(kind: str, pattern: str = r"p_(?P<date>\d{8})\.csv", seconds: float = 0, **more: Any) -> Resource:
    where = {"directory": "${GUIJI_TEST_DROP}"} if kind == "files" else {"connection": "drop", "directory": "/"}
    complete = more.pop("complete", {"seconds": seconds})
    return make_resource({"kind": kind, **where, "pattern": pattern, "complete": complete}, ["编号", "姓名"], **more)


def write(folder: Path, name: str, *names: str, at: int = 1_790_000_000) -> Path:
    path = folder / name
    path.write_text("编号,姓名\n" + "".join(f"{i},{n}\n" for i, n in enumerate(names)), encoding="utf-8")
    os.utime(path, (at, at))
    return path


def known(delivery: Delivery, batch_id: str) -> list[KnownFile]:
    return [KnownFile(**dataclasses.asdict(f), batch_id=batch_id) for f in delivery.files]
