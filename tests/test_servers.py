"""The demo's and the tests' servers do what their Connection says, and misbehave when told to."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ftplib
import gzip
import io
import json
import smtplib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import paramiko
import psycopg
import pymysql
import pytest

from guiji.connections import Connection
from guiji.demo import servers


@contextlib.contextmanager
def sftp_client(server: Connection, **changes: str) -> Iterator[paramiko.SFTPClient]:
    transport = paramiko.Transport((server.host, server.port))
    kind, text = server.extra["host_key"].split()
    key = paramiko.PKey.from_type_string(kind, base64.b64decode(text))
    with contextlib.closing(transport):
        transport.connect(hostkey=key, username=server.login, password=changes.get("password", server.password))
        client = paramiko.SFTPClient.from_transport(transport)
        assert client is not None
        client.get_channel().settimeout(5)
        yield client


def test_sftp_lists_and_sends_what_the_folder_holds(sftp_server: servers.SftpServer) -> None:
    (sftp_server.root / "人口.csv").write_bytes(b"x" * 100_000)
    with sftp_client(sftp_server) as client:
        assert client.listdir("/") == ["人口.csv"]
        assert client.stat("/人口.csv").st_size == 100_000
        with client.open("/人口.csv") as f:
            assert f.read() == b"x" * 100_000


def test_sftp_names_can_be_gbk(tmp_path: Path) -> None:
    with servers.serve_sftp(tmp_path / "gbk", encoding="gbk") as server:
        (server.root / "法人库").mkdir()
        (server.root / "法人库" / "企业.csv").write_text("1")

        async def look() -> tuple[list[str], int | None]:
            connect = asyncssh.connect(
                "127.0.0.1", server.port, username=server.login, password=server.password, known_hosts=None, config=None
            )
            async with connect as conn, conn.start_sftp_client(path_encoding="gbk") as client:
                return await client.listdir("法人库"), (await client.stat("法人库/企业.csv")).size

        assert asyncio.run(look()) == ([".", "..", "企业.csv"], 1)


def test_sftp_wrong_password_is_refused(sftp_server: servers.SftpServer) -> None:
    with pytest.raises(paramiko.AuthenticationException), sftp_client(sftp_server, password="wrong"):
        pass


def test_sftp_host_key_can_change(sftp_server: servers.SftpServer) -> None:
    new = sftp_server.change_host_key()
    assert new != sftp_server.extra["host_key"]
    with pytest.raises(paramiko.SSHException, match="Bad host key"), sftp_client(sftp_server):
        pass


def test_sftp_host_key_file_survives_a_restart(tmp_path: Path) -> None:
    keys = []
    for _ in range(2):
        with servers.serve_sftp(tmp_path / "root", host_key=tmp_path / "key") as server:
            keys.append(server.extra["host_key"])
    assert keys[0] == keys[1]
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_sftp_faults_cut_stall_and_lie(sftp_server: servers.SftpServer) -> None:
    (sftp_server.root / "a").write_bytes(b"x" * 200_000)
    sftp_server.faults.close_after_bytes = 50_000
    with pytest.raises((EOFError, OSError, paramiko.SSHException)), sftp_client(sftp_server) as client:
        client.open("/a").read()
    sftp_server.faults.clear()
    sftp_server.faults.stall_after_bytes = 50_000
    with sftp_client(sftp_server) as client:
        client.get_channel().settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.open("/a").read()
    sftp_server.faults.clear()
    sftp_server.faults.size_lie = 7
    with sftp_client(sftp_server) as client:
        assert client.listdir_attr("/")[0].st_size == 200_007
        sftp_server.faults.clear()
        assert client.listdir_attr("/")[0].st_size == 200_000


def ftp_client(server: Connection, encoding: str = "utf-8") -> ftplib.FTP:
    client = ftplib.FTP(encoding=encoding, timeout=5)
    client.connect(server.host or "", server.port or 0)
    client.login(server.login or "", server.password or "")
    return client


@pytest.mark.parametrize("encoding", ["utf-8", "gbk"])
def test_ftp_lists_and_sends(tmp_path: Path, encoding: str) -> None:
    with servers.serve_ftp(tmp_path / "ftp", encoding=encoding) as server:
        (server.root / "人口.csv").write_bytes(b"x" * 100_000)
        with ftp_client(server, encoding) as client:
            assert [name for name, _ in client.mlsd()] == ["人口.csv"]
            got = io.BytesIO()
            client.retrbinary("RETR 人口.csv", got.write)
            assert got.getvalue() == b"x" * 100_000


def test_ftp_without_mlsd(tmp_path: Path) -> None:
    with servers.serve_ftp(tmp_path / "ftp", mlsd=False) as server, ftp_client(server) as client:
        (server.root / "a").write_text("1")
        with pytest.raises(ftplib.error_perm, match="500"):
            list(client.mlsd())
        assert client.nlst() == ["a"]


def test_ftp_faults_cut_stall_and_refuse(ftp_server: servers.FtpServer) -> None:
    (ftp_server.root / "a").write_bytes(b"x" * 4_000_000)
    for fault in ("close_after_bytes", "stall_after_bytes"):
        ftp_server.faults.clear()
        setattr(ftp_server.faults, fault, 50_000)
        client = ftp_client(ftp_server)
        client.sock.settimeout(0.5)  # type: ignore[union-attr]
        client.timeout = 0.5
        got = io.BytesIO()
        with pytest.raises((OSError, EOFError)):
            client.retrbinary("RETR a", got.write)
        assert 0 < len(got.getvalue()) < 4_000_000
        client.close()
    ftp_server.faults.clear()
    ftp_server.faults.refuse_logins = True
    with pytest.raises(ftplib.error_perm, match="530"):
        ftp_client(ftp_server)


def get(server: servers.HttpServer, path: str, token: str | None = "guiji-token") -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://{server.base_url}{path}", headers={"X-Token": token} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=2) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read()


@pytest.mark.parametrize("n", [0, 1, 3, 4])
@pytest.mark.parametrize("style", ["page", "offset", "cursor"])
def test_http_pages_hold_every_record_once(http_server: servers.HttpServer, n: int, style: str) -> None:
    http_server.data["/people"] = [{"n": i} for i in range(n)]
    got, position = [], {"page": "1", "offset": "0", "cursor": ""}[style]
    while position is not None:
        page = json.loads(get(http_server, f"/people?{style}={position}&size=3")[1])["data"]
        assert page["total"] == n
        got += page["records"]
        following = page["next"]
        position = str(int(position) + 1) if style == "page" and following else following
    assert got == [{"n": i} for i in range(n)]


def test_http_wants_its_token(http_server: servers.HttpServer) -> None:
    http_server.data["/a"] = []
    assert (get(http_server, "/a", token=None)[0], get(http_server, "/a")[0]) == (401, 200)
    assert get(http_server, "/nowhere")[0] == 404


def test_http_faults(http_server: servers.HttpServer) -> None:
    http_server.data["/a"] = [{"n": 1}, {"n": 2}]
    faults = http_server.faults
    faults.kind, faults.status, faults.times = "status", 429, 1
    assert [get(http_server, "/a")[0] for _ in range(2)] == [429, 200]
    faults.clear()
    faults.kind = "business"
    assert json.loads(get(http_server, "/a")[1])["code"] == "500"
    faults.kind = "loop"
    assert json.loads(get(http_server, "/a?page=9&size=1")[1])["data"]["records"] == [{"n": 1}]
    faults.kind = "short"
    assert json.loads(get(http_server, "/a?page=1")[1])["data"]["records"] == [{"n": 1}]
    faults.kind = "truncated"
    with pytest.raises(EOFError):
        gzip.decompress(get(http_server, "/a")[1])
    faults.kind = "cut"
    with pytest.raises(Exception, match="IncompleteRead"):
        get(http_server, "/a")
    faults.clear()
    assert get(http_server, "/a")[0] == 200


def send(server: servers.MailServer, to: str = "a@x.test") -> None:
    with smtplib.SMTP(server.host or "", server.port or 0, timeout=2) as client:
        if server.login:
            client.login(server.login, server.password or "")
        client.sendmail("us@x.test", [to], b"Subject: =?utf-8?b?6YCa55+l?=\r\n\r\nbody")


def test_smtp_keeps_mails_and_refuses_when_told(smtp_server: servers.MailServer) -> None:
    send(smtp_server)
    assert [(m.sender, m.recipients, m.message["Subject"]) for m in smtp_server.messages] == [
        ("us@x.test", ("a@x.test",), "通知")
    ]
    smtp_server.faults.refuse = "451 later"
    with pytest.raises(smtplib.SMTPDataError, match="451"):
        send(smtp_server)
    smtp_server.faults.clear()
    smtp_server.faults.refuse_recipients["b@x.test"] = "550 nobody"
    with pytest.raises(smtplib.SMTPRecipientsRefused, match="550"):
        send(smtp_server, "b@x.test")
    smtp_server.faults.clear()
    smtp_server.faults.cut_after_data = True
    with pytest.raises(smtplib.SMTPServerDisconnected):
        send(smtp_server)
    assert len(smtp_server.messages) == 2


def test_smtp_wants_its_login() -> None:
    with servers.serve_smtp(user="us", password="word") as server:
        send(server)
        with pytest.raises(smtplib.SMTPAuthenticationError):
            send(Connection("x", "smtp", server.host, server.port, "us", "other"))  # type: ignore[arg-type]
        assert len(server.messages) == 1


def test_mariadb_reader_reads_and_may_not_write(mariadb_server: servers.DatabaseServer) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(mariadb_server.admin_url)
    with engine.begin() as conn:
        conn.execute(sqlalchemy.text("CREATE TABLE 企业 (id int PRIMARY KEY, 名称 varchar(50))"))
        conn.execute(sqlalchemy.text("INSERT INTO 企业 VALUES (1, '鄂尔多斯𠮷')"))
    engine.dispose()
    s = mariadb_server
    conn = pymysql.connect(host=s.host, port=s.port or 0, user=s.login, password=s.password or "", database=s.schema)
    with conn, conn.cursor() as cursor:
        cursor.execute("SELECT * FROM 企业")
        assert cursor.fetchall() == ((1, "鄂尔多斯𠮷"),)
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            cursor.execute("INSERT INTO 企业 VALUES (2, 'x')")


def test_postgres_reader_reads_and_may_not_write(fep_postgres: servers.DatabaseServer) -> None:
    with psycopg.connect(fep_postgres.admin_url) as conn:
        conn.execute("CREATE TABLE people (id int PRIMARY KEY); INSERT INTO people VALUES (1)")
    s = fep_postgres
    with psycopg.connect(host=s.host, port=s.port, user=s.login, password=s.password, dbname=s.schema) as conn:
        assert conn.execute("SELECT * FROM people").fetchall() == [(1,)]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            conn.execute("INSERT INTO people VALUES (2)")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host=s.host, port=s.port, user=s.login, password="wrong", dbname=s.schema)


def test_a_department_s_postgres_can_fail_and_come_back(tmp_path: Path) -> None:
    with servers.serve_postgres(tmp_path / "fep") as cluster:
        s = cluster.make_database("fep", "fep")
        cluster.stop()
        with pytest.raises(psycopg.OperationalError, match="refused"):
            psycopg.connect(s.admin_url)
        cluster.start()
        psycopg.connect(s.admin_url).close()
