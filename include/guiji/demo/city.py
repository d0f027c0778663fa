"""Starts the city: its front-end databases, SFTP and FTP servers, export folder, interfaces and mail server.

``front_ends``, ``exports`` and ``interfaces`` put one delivery where its department puts it, note in the truth which of
its rows are spoilt, and leave everything else to the pipeline.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from guiji.connections import Connection, save_connections
from guiji.demo.interfaces import open_interfaces
from guiji.demo.population import City
from guiji.demo.running import RunningCity
from guiji.demo.servers import serve_ftp, serve_http, serve_mariadb, serve_postgres, serve_sftp, serve_smtp
from guiji.settings import Settings


@contextlib.contextmanager
def run_city(settings: Settings, city: City) -> Iterator[RunningCity]:
    """Starts every server on a free port of the loopback and publishes the connections in ``GUIJI_HOME``."""
    root = settings.home / "city"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(serve_postgres(root / "fep"))
        gaj, scjg = cluster.make_database("gaj", "fep_gaj"), cluster.make_database("scjg", "fep_scjg")
        wjw, wjw_url, mariadb = _serve_wjw(stack, root)
        sftp = [
            stack.enter_context(serve_sftp(root / name, conn_id=f"sftp_{name}", host_key=root / f"{name}_key"))
            for name in ("mzj", "xzsp", "jtj")
        ]
        ftp = stack.enter_context(serve_ftp(root / "swj", conn_id="ftp_swj"))
        interfaces = stack.enter_context(serve_http(token=None, conn_id="http_rsj"))
        mail = stack.enter_context(serve_smtp(folder=settings.home / "mail"))
        connections = {c.conn_id: c for c in (gaj, scjg, wjw, *sftp, ftp, mail)}
        for name in ("rsj", "cgj", "qxj", "fgw", "sthj"):
            connections[f"http_{name}"] = Connection(
                f"http_{name}", "http", interfaces.host, interfaces.port, password=f"demo-{name}"
            )
        save_connections(settings, connections.values())
        exports = root / "exports"
        os.environ["GUIJI_EXPORTS"] = str(exports)
        running = RunningCity(
            city,
            settings,
            root,
            connections,
            {"gaj": gaj.admin_url, "scjg": scjg.admin_url, "wjw": wjw_url},
            interfaces,
            mail,
            mariadb,
            cluster.stop,
            cluster.start,
        )
        open_interfaces(running)
        for folder in ("mzj/upload/hydj", "xzsp/out/xzxk", "jtj/share/road", "swj/swdj", "swj/sssr"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for folder in ("mzj", "tjj", "czj", "yjj", "lcj", "swt", "fgw", "rsj", "gzw", "gxj"):
            (exports / folder).mkdir(parents=True, exist_ok=True)
        yield running


def _serve_wjw(stack: contextlib.ExitStack, root: Path) -> tuple[Connection, str, bool]:
    """卫健's front-end: MariaDB where it is installed, else SQLite through the same connector."""
    from guiji.errors import UsageError

    try:
        cluster = stack.enter_context(serve_mariadb(root / "mariadb"))
    except UsageError:
        path = root / "wjw.sqlite"
        return Connection("fep_wjw", "sqlite", host=str(path)), f"sqlite:///{path}", False
    database = cluster.make_database("wjw", "fep_wjw")
    return database, database.admin_url, True
