"""FTP by the standard library: passive mode, IPv4 and IPv6, names in UTF-8 or GB18030 (F-40).

FTP itself is in clear; where the server offers TLS, connection type ``ftps`` demands it for login and data.
"""

from __future__ import annotations

import contextlib
import ftplib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.errors import SourceRefused, SourceUnavailable
from guiji.masking import scrub
from guiji.records import DeliveredFile, Delivery, Window
from guiji.sources.remote import Listed, decode_name, open_files

if TYPE_CHECKING:
    from guiji.catalog.models import RemoteFilesSource, Resource
    from guiji.connections import Connection
    from guiji.settings import Settings

TIMEOUT = 30.0  # seconds without a byte; the connection's extra.timeout overrides it
_NOT_FOUND = re.compile(r"^550")


class FtpFolder:
    """A directory on an FTP server; logs in again when the last session broke."""

    def __init__(self, connection: Connection, directory: str) -> None:
        self.connection = connection
        self.directory = directory
        self._ftp: ftplib.FTP | None = None

    def close(self) -> None:
        ftp, self._ftp = self._ftp, None
        if ftp is not None:
            with contextlib.suppress(Exception):
                ftp.quit()
            ftp.close()

    def _session(self) -> ftplib.FTP:
        if self._ftp is not None:
            return self._ftp
        c = self.connection
        secure = c.conn_type == "ftps"
        # latin-1 keeps every byte of a name; decode_name tells what it says
        ftp = (ftplib.FTP_TLS if secure else ftplib.FTP)(
            timeout=float(c.extra.get("timeout", TIMEOUT)), encoding="latin-1"
        )
        if secure:
            import ssl

            ftp.context = ssl.create_default_context()  # type: ignore[attr-defined]
        try:
            ftp.connect(c.host or "127.0.0.1", c.port or 21)
        except (OSError, EOFError, ftplib.Error) as exc:
            raise SourceUnavailable(
                f"Connection {c.conn_id}: {c.host}:{c.port or 21} can't be reached ({type(exc).__name__}). Nothing was "
                "read; it will be tried again, check that the front-end processor is up.",
                connection=c.conn_id,
            ) from exc
        try:
            ftp.login(c.login or "anonymous", c.password or "")
            if secure:
                ftp.prot_p()  # type: ignore[attr-defined]
        except ftplib.error_perm as exc:
            ftp.close()
            raise SourceRefused(
                f"Connection {c.conn_id}: the server refuses login or password of user {c.login}. Nothing was read, "
                f"trying again changes nothing; mend connection {c.conn_id}.",
                connection=c.conn_id,
            ) from exc
        except (OSError, EOFError, ftplib.Error) as exc:
            ftp.close()
            raise SourceUnavailable(
                f"Connection {c.conn_id}: the server broke off at login ({type(exc).__name__}). Nothing was read; "
                "it will be tried again.",
                connection=c.conn_id,
            ) from exc
        ftp.set_pasv(True)
        with contextlib.suppress(ftplib.Error):
            ftp.sendcmd("OPTS UTF8 ON")
        self._ftp = ftp
        return ftp

    @contextlib.contextmanager
    def _translated(self, action: str) -> Iterator[None]:
        c = self.connection
        try:
            yield
        except ftplib.error_perm as exc:
            words = scrub(str(exc)).encode("latin-1", "replace").decode("utf-8", "replace")[:120]
            if _NOT_FOUND.match(words):
                raise SourceUnavailable(
                    f"Connection {c.conn_id}: {action}: {words}. Nothing was read; check the directory in the catalog, "
                    "it will be tried again.",
                    connection=c.conn_id,
                ) from exc
            raise SourceRefused(
                f"Connection {c.conn_id}: {action}: {words}. Nothing was read; ask the department for read permission.",
                connection=c.conn_id,
            ) from exc
        except (OSError, EOFError, ftplib.Error) as exc:
            self.close()
            raise SourceUnavailable(
                f"Connection {c.conn_id}: {action}: the connection broke off or stood still ({type(exc).__name__}). "
                "Nothing was staged; it will be tried again.",
                connection=c.conn_id,
            ) from exc

    def list_files(self) -> list[Listed]:
        with self._translated(f"listing {self.directory}"):
            ftp = self._session()
            directory = self._wire(self.directory)
            try:
                entries = list(ftp.mlsd(directory, facts=["type", "size", "modify"]))
            except ftplib.error_perm as exc:
                if not str(exc).startswith(("500", "501", "502", "504")):
                    raise
                return list(self._list_old(ftp, directory))
            return [
                Listed(
                    decode_name(raw := name.encode("latin-1")), raw, int(facts["size"]), _parse_time(facts["modify"])
                )
                for name, facts in entries
                if facts.get("type", "").lower() == "file" and "size" in facts and "modify" in facts
            ]

    def _list_old(self, ftp: ftplib.FTP, directory: str) -> Iterator[Listed]:
        """Listing by NLST, SIZE and MDTM, for servers of before 2007."""
        try:
            names = ftp.nlst(directory)
        except ftplib.error_perm as exc:
            if str(exc).startswith("550") and "no files" in str(exc).lower():
                return
            raise
        ftp.voidcmd("TYPE I")
        for path in names:
            name = path.rpartition("/")[2]
            raw = name.encode("latin-1")
            try:
                size = ftp.size(f"{directory.rstrip('/')}/{name}")
                moment = ftp.voidcmd(f"MDTM {directory.rstrip('/')}/{name}").split()[-1]
            except ftplib.error_perm:
                continue  # a directory
            if size is not None:
                yield Listed(decode_name(raw), raw, size, _parse_time(moment))

    def fetch(self, file: Listed, target: Path, attempt: int) -> None:
        with self._translated(f"fetching {file.name}"), target.open("wb") as f:
            self._session().retrbinary(f"RETR {self._path(file)}", f.write, blocksize=1 << 18)

    def read_small(self, file: Listed) -> bytes:
        chunks: list[bytes] = []
        with self._translated(f"reading {file.name}"):
            self._session().retrbinary(f"RETR {self._path(file)}", chunks.append)
        return b"".join(chunks)

    def _wire(self, path: str) -> str:
        """A path of the catalog as the session sends it: its bytes in the server's encoding, as latin-1."""
        return path.encode(str(self.connection.extra.get("encoding", "utf-8"))).decode("latin-1")

    def _path(self, file: Listed) -> str:
        return f"{self._wire(self.directory).rstrip('/')}/{file.raw.decode('latin-1')}"


def _parse_time(text: str) -> datetime:
    return datetime.strptime(text[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)


def open_ftp_files(
    resource: Resource,
    settings: Settings,
    window: Window,
    *,
    known_files: Sequence[DeliveredFile],
    scratch: Path,
    explicit: bool,
) -> Delivery:
    """The delivery in the resource's FTP directory."""
    with contextlib.closing(_folder(resource, settings)) as folder:
        return open_files(
            resource, settings, window, folder, known_files=known_files, scratch=scratch, explicit=explicit
        )


def _folder(resource: Resource, settings: Settings) -> FtpFolder:
    from guiji.connections import get_connection

    source: RemoteFilesSource = resource.model.source  # type: ignore[assignment]
    return FtpFolder(get_connection(settings, source.connection), source.directory)


def probe_ftp(resource: Resource, settings: Settings) -> None:
    """Logs in and lists the directory."""
    with contextlib.closing(_folder(resource, settings)) as folder:
        folder.list_files()
