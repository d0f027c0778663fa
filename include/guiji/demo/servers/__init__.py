"""Real servers on free ports of the loopback, for the demo and the tests.

Each ``serve_…`` is a context manager; what it yields *is* the Connection by which the server is reached, with the
server's knobs beside it (``faults``, ``messages``, ``admin_url`` …). Nothing of them is reachable from outside the
machine. A fault can be set and cleared while the server runs.
"""

from guiji.demo.servers.databases import (
    DatabaseServer,
    MariadbCluster,
    PostgresCluster,
    serve_mariadb,
    serve_postgres,
)
from guiji.demo.servers.ftp import FtpServer, serve_ftp
from guiji.demo.servers.http import HttpServer, serve_http
from guiji.demo.servers.mail import MailServer, serve_smtp
from guiji.demo.servers.sftp import SftpServer, serve_sftp
from guiji.demo.servers.transfer import TransferFaults

__all__ = [
    "DatabaseServer",
    "FtpServer",
    "HttpServer",
    "MailServer",
    "MariadbCluster",
    "PostgresCluster",
    "SftpServer",
    "TransferFaults",
    "serve_ftp",
    "serve_http",
    "serve_mariadb",
    "serve_postgres",
    "serve_sftp",
    "serve_smtp",
]
