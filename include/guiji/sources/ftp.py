"""FTP by the standard library: passive mode, IPv4 and IPv6, names in UTF-8 or GB18030 (F-40).

FTP itself is in clear. Connection type ``ftps`` demands TLS for login and data, the certificate is verified, and data
channels resume the session of the control channel, as servers demand that want to know whose they are.
"""

from __future__ import annotations

import contextlib
import ftplib
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.errors import SourceRefused, SourceUnavailable
from guiji.masking import scrub
from guiji.sources.ftp_list import parse_list
from guiji.sources.remote_folder import MOST_FILES, Listed, Pace, decode_name, join_archive
from guiji.sources.tls import find_certificate_error, make_tls_context, refuse_certificate

if TYPE_CHECKING:
    from guiji.connections import Connection

TIMEOUT = 30.0  # seconds without a byte; the connection's extra.timeout overrides it
_NOT_FOUND = re.compile(r"^550")
_DENIED = re.compile("denied|not permitted", re.IGNORECASE)


class _EnoughError(Exception):
    """No more of this file is wanted."""


class _Line(ssl.SSLSocket):
    """A line of TLS whose other end may hang up without a farewell, as many servers do after the last byte: whether all
    came, the answer on the control channel and the size say."""

    def unwrap(self) -> socket.socket:
        with contextlib.suppress(OSError):
            return super().unwrap()
        return self


class _SecureFtp(ftplib.FTP_TLS):
    """FTPS whose data channels resume the control channel's TLS session, which most servers demand."""

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        line, size = ftplib.FTP.ntransfercmd(self, cmd, rest)  # noqa: S321
        control: ssl.SSLSocket = self.sock  # type: ignore[assignment]
        try:
            line = self.context.wrap_socket(line, server_hostname=self.host, session=control.session)
        except BaseException:
            line.close()
            raise
        return line, size


class _ImplicitFtp(_SecureFtp):
    """FTPS that speaks TLS from the first byte on (port 990)."""

    _line: socket.socket | None = None

    @property
    def sock(self) -> socket.socket | None:
        return self._line

    @sock.setter
    def sock(self, line: socket.socket | None) -> None:
        if line is not None and not isinstance(line, ssl.SSLSocket):
            line = self.context.wrap_socket(line, server_hostname=self.host)
        self._line = line


class FtpFolder:
    """A directory on an FTP server; logs in again when the last session broke."""

    def __init__(self, connection: Connection, directory: str, archive: str | None = None) -> None:
        self.connection = connection
        self.directory = directory
        self.archive = join_archive(directory, archive)
        self._ftp: ftplib.FTP | None = None
        self._home = "/"  # where a session begins

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
        implicit = c.conn_type == "ftps" and (c.port == 990 or is_set(c.extra.get("implicit_tls")))
        port = c.port or (990 if implicit else 21)
        timeout = float(c.extra.get("timeout", TIMEOUT))
        # latin-1 keeps every byte of a name; decode_name tells what it says
        ftp: ftplib.FTP
        if c.conn_type == "ftps":
            context = make_tls_context(c)
            context.sslsocket_class = _Line
            ftp = (_ImplicitFtp if implicit else _SecureFtp)(context=context, timeout=timeout, encoding="latin-1")
        else:
            ftp = ftplib.FTP(timeout=timeout, encoding="latin-1")  # noqa: S321 - what the department has
        try:
            ftp.connect(c.host or "127.0.0.1", port)
        except (OSError, EOFError, ftplib.Error) as exc:
            if (flaw := find_certificate_error(exc)) is not None:
                raise refuse_certificate(c, flaw) from None
            raise SourceUnavailable(
                f"Connection {c.conn_id}: {c.host}:{port} can't be reached ({type(exc).__name__}). Nothing was "
                "read; it will be tried again, check that the front-end processor is up.",
                connection=c.conn_id,
            ) from exc
        try:
            if isinstance(ftp, _SecureFtp) and not implicit:
                self._demand_tls(ftp)
            ftp.login(c.login or "anonymous", c.password or "")
            if isinstance(ftp, _SecureFtp):
                ftp.prot_p()
        except ftplib.error_perm as exc:
            ftp.close()
            raise SourceRefused(
                f"Connection {c.conn_id}: the server refuses login or password of user {c.login}. Nothing was read, "
                f"trying again changes nothing; mend connection {c.conn_id}.",
                connection=c.conn_id,
            ) from exc
        except (OSError, EOFError, ftplib.Error) as exc:
            ftp.close()
            if (flaw := find_certificate_error(exc)) is not None:
                raise refuse_certificate(c, flaw) from None
            raise SourceUnavailable(
                f"Connection {c.conn_id}: the server broke off at login ({type(exc).__name__}). Nothing was read; "
                "it will be tried again.",
                connection=c.conn_id,
            ) from exc
        ftp.set_pasv(True)
        with contextlib.suppress(ftplib.Error):
            ftp.sendcmd("OPTS UTF8 ON")
        with contextlib.suppress(ftplib.Error):
            self._home = ftp.pwd()
        self._ftp = ftp
        return ftp

    def _demand_tls(self, ftp: _SecureFtp) -> None:
        try:
            ftp.auth()
        except ftplib.error_perm as exc:
            ftp.close()
            raise SourceRefused(
                f"Connection {self.connection.conn_id}: the server does not offer TLS, and connection type ftps demands "
                "it. Nothing was sent or read; ask the server's owner to switch it on.",
                connection=self.connection.conn_id,
            ) from exc

    @contextlib.contextmanager
    def _translated(self, action: str) -> Iterator[None]:
        c = self.connection
        try:
            yield
        except ftplib.error_perm as exc:
            words = scrub(str(exc)).encode("latin-1", "replace").decode("utf-8", "replace")[:120]
            if _NOT_FOUND.match(words) and not _DENIED.search(words):
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

    def list_files(self, *, archived: bool = False) -> list[Listed]:
        where = self.archive if archived else self.directory
        try:
            with self._translated(f"listing {where}"):
                return list(self._list(self._session(), self._wire(where), archived))
        except SourceUnavailable as error:
            if archived and isinstance(error.__cause__, ftplib.error_perm):
                return []
            raise

    def _list(self, ftp: ftplib.FTP, directory: str, archived: bool) -> Iterator[Listed]:
        # vsftpd lists a directory that is not there as an empty one
        ftp.cwd(directory)
        ftp.cwd(self._home)
        try:
            entries = self._ask_lines(ftp, f"MLSD {directory}")
        except ftplib.error_perm as exc:
            if not is_unknown(exc):
                raise
            yield from self._list_old(ftp, directory, archived)
            return
        for line in entries:
            facts_found, _, name = line.rstrip("\r\n").partition(" ")
            facts = dict(f.lower().split("=", 1) for f in facts_found.split(";") if "=" in f)
            if facts.get("type") == "file" and "size" in facts and "modify" in facts:
                raw = name.encode("latin-1")
                yield Listed(decode_name(raw), raw, int(facts["size"]), _parse_time(facts["modify"]), archived)

    @staticmethod
    def _ask_lines(ftp: ftplib.FTP, command: str) -> list[str]:
        lines: list[str] = []

        def keep(line: str) -> None:
            if len(lines) >= MOST_FILES:
                raise OSError("a listing without end")
            lines.append(line)

        ftp.retrlines(command, keep)
        return lines

    def _list_old(self, ftp: ftplib.FTP, directory: str, archived: bool) -> Iterator[Listed]:
        """Listing by NLST, SIZE and MDTM, for servers of before 2007 and vsftpd."""
        try:
            names = self._ask_lines(ftp, f"NLST {directory}")
        except ftplib.error_perm as exc:
            if str(exc).startswith("550") and "no files" in str(exc).lower():
                return
            raise
        found = []
        for path in names:
            name = path.rpartition("/")[2]
            raw = name.encode("latin-1")
            try:
                look = self._look(ftp, f"{directory.rstrip('/')}/{name}")
            except ftplib.error_perm as exc:
                if is_unknown(exc):
                    yield from self._list_by_words(ftp, directory, archived)
                    return
                if self._is_directory(ftp, f"{directory.rstrip('/')}/{name}"):
                    continue
                look = 0, datetime.fromtimestamp(0, UTC)  # a file that we may not read: it is named when it is fetched
            found.append(Listed(decode_name(raw), raw, *look, archived))
        yield from found

    def _is_directory(self, ftp: ftplib.FTP, path: str) -> bool:
        try:
            ftp.cwd(path)
        except ftplib.error_perm:
            return False
        ftp.cwd(self._home)
        return True

    def _list_by_words(self, ftp: ftplib.FTP, directory: str, archived: bool) -> Iterator[Listed]:
        """Listing by LIST, for servers that know neither MLSD nor SIZE and MDTM."""
        lines = self._ask_lines(ftp, f"LIST {directory}")
        try:
            for name, size, moment, day_only in parse_list(lines, datetime.now(UTC)):
                raw = name.encode("latin-1")
                yield Listed(decode_name(raw), raw, size, moment, archived, day_only)
        except ValueError as exc:
            raise OSError(str(exc)) from None

    @staticmethod
    def _look(ftp: ftplib.FTP, path: str) -> tuple[int, datetime]:
        """Size and time of one file. Raises error_perm for a directory, and where the server knows no such question."""
        ftp.voidcmd("TYPE I")
        size = ftp.size(path)
        return int(size or 0), _parse_time(ftp.voidcmd(f"MDTM {path}").split()[-1])

    def look(self, file: Listed) -> object:
        with self._translated(f"looking at {file.name}"), contextlib.suppress(ftplib.error_perm):
            return self._look(self._session(), self._path(file))
        return None

    def fetch(self, file: Listed, target: Path, attempt: int) -> None:
        pace = Pace(file.size, float(self.connection.extra.get("timeout", TIMEOUT)))
        with self._translated(f"fetching {file.name}"), target.open("wb") as f:
            self._retrieve(file, lambda chunk: f.write(pace.count(chunk)))

    def read_small(self, file: Listed, limit: int = 4096) -> bytes:
        content = bytearray()

        def keep(chunk: bytes) -> None:
            content.extend(chunk[: limit - len(content)])
            if len(content) >= limit:
                raise _EnoughError

        with self._translated(f"reading {file.name}"):
            try:
                self._retrieve(file, keep)
            except _EnoughError:
                self.close()  # the rest of it would still come
        return bytes(content)

    def _retrieve(self, file: Listed, keep: Callable[[bytes], object]) -> None:
        self._session().retrbinary(f"RETR {self._path(file)}", keep, blocksize=1 << 18)

    def move(self, file: Listed, target: Listed) -> bool:
        with self._translated(f"moving {file.name}"):
            ftp = self._session()
            if target.archived:
                with contextlib.suppress(ftplib.error_perm):
                    ftp.mkd(self._wire(self.archive))
            ftp.voidcmd("TYPE I")
            with contextlib.suppress(ftplib.error_perm):
                ftp.size(self._path(target))
                return False  # many servers would overwrite it
            ftp.rename(self._path(file), self._path(target))
            return True

    def _wire(self, path: str) -> str:
        """A path of the catalog as the session sends it: its bytes in the server's encoding, as latin-1."""
        return path.encode(str(self.connection.extra.get("encoding", "utf-8"))).decode("latin-1")

    def _path(self, file: Listed) -> str:
        where = self.archive if file.archived else self.directory
        return f"{self._wire(where).rstrip('/')}/{file.raw.decode('latin-1')}"


def is_unknown(error: ftplib.error_perm) -> bool:
    """Whether the server does not know the command."""
    return str(error).startswith(("500", "501", "502", "504"))


def is_set(value: object) -> bool:
    return str(value).lower() in ("true", "1", "yes")


def _parse_time(text: str) -> datetime:
    return datetime.strptime(text[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
