"""Connections in Airflow's formats, and what is sealed at rest."""

from __future__ import annotations

import base64
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guiji import connections, secrets
from guiji.connections import Connection, get_connection, parse_connection
from guiji.errors import GuijiError, UsageError
from guiji.settings import Settings


@pytest.fixture
def at_home(tmp_path: Path) -> Settings:
    return Settings.from_env({"GUIJI_HOME": str(tmp_path / "home")})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "postgresql://reader:p%40ss%2Fw@10.0.0.1:5433/fep?sslmode=require",
            Connection("c", "postgres", "10.0.0.1", 5433, "reader", "p@ss/w", "fep", {"sslmode": "require"}),
        ),
        (
            "sftp://u:p@host:22?__extra__=%7B%22host_key%22%3A%20%22ssh-ed25519%20AAAA%22%7D",
            Connection("c", "sftp", "host", 22, "u", "p", None, {"host_key": "ssh-ed25519 AAAA"}),
        ),
        ("http://https://api.example.cn:8443/v1", Connection("c", "http", "https://api.example.cn", 8443, schema="v1")),
        ("google-cloud-platform://", Connection("c", "google_cloud_platform")),
        ("ftp://%E7%94%A8%E6%88%B7:@host", Connection("c", "ftp", "host", None, "用户", None)),
        ("mysql://u@[::1]:3306/db", Connection("c", "mysql", "::1", 3306, "u", None, "db")),
        (
            '{"conn_type": "mysql", "host": "h", "port": "3306", "login": "u", "password": "p", "extra": "{\\"a\\": 1}"}',
            Connection("c", "mysql", "h", 3306, "u", "p", None, {"a": 1}),
        ),
    ],
)
def test_uri_and_json_are_read(text: str, expected: Connection) -> None:
    assert parse_connection("c", text, "VAR") == expected


# Airflow itself is the oracle where it is the format's owner
@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://reader:p%40ss%2Fw@Host.Example:5433/fep?sslmode=require&x=",
        "http://https://api.example.cn:8443/v1?timeout=5",
        "sftp://u:p@host:22?__extra__=%7B%22a%22%3A%20%7B%22b%22%3A%201%7D%7D",
        "mysql://u%3Aser:@h/d%C3%A9b",
        "smtp://mail.example:25",
    ],
)
def test_uris_mean_what_airflow_reads_in_them(uri: str) -> None:
    code = (
        "import json, sys; from airflow.sdk.definitions.connection import Connection as C; c = C.from_uri(sys.argv[1], conn_id='c');"
        "print(json.dumps([c.conn_type, c.host, c.port, c.login, c.password, c.schema, c.extra_dejson]))"
    )
    done = subprocess.run([sys.executable, "-c", code, uri], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = [x or None for x in json.loads(done.stdout.splitlines()[-1])]
    ours = parse_connection("c", uri, "VAR")
    got = [ours.conn_type, ours.host, ours.port, ours.login, ours.password, ours.schema, ours.extra]
    assert [x or None for x in got] == theirs


@pytest.mark.parametrize(
    "text", ["geheim", "://u:geheim@h", '{"host": "geheim"}', "{geheim", "ftp://u:geheim@h:port/x"]
)
def test_what_can_t_be_read_is_named_but_not_shown(text: str) -> None:
    with pytest.raises(UsageError, match="AIRFLOW_CONN_C") as caught:
        parse_connection("c", text, "AIRFLOW_CONN_C")
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_order_is_environment_then_resolver_then_file(at_home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_resolvers", [])
    with pytest.raises(UsageError, match="AIRFLOW_CONN_FEP_AB"):
        get_connection(at_home, "fep_ab")
    connections.save_connections(at_home, [Connection("fep_ab", "ftp", "file")])
    assert get_connection(at_home, "fep_ab").host == "file"
    connections.register_resolver(
        lambda conn_id: Connection(conn_id, "ftp", "airflow") if conn_id == "fep_ab" else None
    )
    assert get_connection(at_home, "fep_ab").host == "airflow"
    monkeypatch.setenv("AIRFLOW_CONN_FEP_AB", "ftp://environment")
    assert get_connection(at_home, "fep_ab").host == "environment"


def test_saved_connections_come_back_whole_and_closed_to_others(at_home: Settings) -> None:
    whole = Connection("a", "sftp", "h", 22, "u", "p", "s", {"host_key": "k", "n": {"x": [1]}})
    connections.save_connections(at_home, [whole, Connection("b", "http")])
    connections.save_connections(at_home, [Connection("b", "https")])
    assert connections.load_connections(at_home) == {"a": whole, "b": Connection("b", "https")}
    assert (at_home.home / "connections.json").stat().st_mode & 0o077 == 0


def test_pinned_host_key_completes_a_connection_and_never_overrides_it(at_home: Settings) -> None:
    own = Connection("b", "sftp", "h", extra={"host_key": "own"})
    connections.save_connections(at_home, [Connection("a", "sftp", "h", extra={"x": 1}), own])
    for conn_id in "ab":
        connections.save_host_key(at_home, conn_id, "ssh-ed25519 AAAA")
    assert get_connection(at_home, "a").extra == {"x": 1, "host_key": "ssh-ed25519 AAAA"}
    assert get_connection(at_home, "b") == own


def test_password_is_in_no_repr() -> None:
    assert "geheim" not in repr(Connection("c", "ftp", password="geheim", extra={"token": "geheim"}))


@given(st.binary(max_size=300))
def test_what_is_sealed_comes_back(plain: bytes) -> None:
    settings = dataclasses.replace(Settings.from_env({}), key=base64.urlsafe_b64encode(bytes(32)).decode())
    assert secrets.unseal(settings, secrets.seal(settings, plain)) == plain


def test_sealed_bytes_tell_nothing_and_notice_a_change(at_home: Settings) -> None:
    sealed = secrets.seal(at_home, b"110105199001010017")
    assert b"1101" not in sealed
    assert sealed != secrets.seal(at_home, b"110105199001010017")
    for changed in (sealed[:-1], sealed[:20] + bytes([sealed[20] ^ 1]) + sealed[21:], b"", b"\x02" + sealed[1:]):
        with pytest.raises(GuijiError, match="can't be opened"):
            secrets.unseal(at_home, changed)


def test_another_key_opens_nothing(at_home: Settings) -> None:
    sealed = secrets.seal(at_home, b"x")
    other = dataclasses.replace(at_home, key=base64.urlsafe_b64encode(b"k" * 32).decode())
    with pytest.raises(GuijiError, match="another key"):
        secrets.unseal(other, sealed)
    assert secrets.hmac_key(at_home, "x") != secrets.hmac_key(other, "x")
    assert secrets.hmac_key(at_home, "x") == secrets.hmac_key(at_home, "x")


def test_key_file_is_made_once_and_closed_to_others(at_home: Settings) -> None:
    code = "from guiji import secrets; from guiji.settings import Settings; print(secrets.hmac_key(Settings.from_env(), 'x'))"
    runs = [
        subprocess.Popen([sys.executable, "-c", code], env={"GUIJI_HOME": str(at_home.home)}, stdout=subprocess.PIPE)
        for _ in range(6)
    ]
    assert len({r.communicate()[0] for r in runs}) == 1
    assert [r.returncode for r in runs] == [0] * 6
    assert secrets.key_path(at_home).stat().st_mode & 0o777 == 0o600
    assert [p.name for p in at_home.home.iterdir()] == ["key"]


@pytest.mark.parametrize("key", ["short", "ä" * 44, base64.urlsafe_b64encode(bytes(16)).decode()])
def test_a_wrong_key_is_refused_without_showing_it(at_home: Settings, key: str) -> None:
    with pytest.raises(UsageError, match="GUIJI_KEY must be 32 random bytes") as caught:
        secrets.seal(dataclasses.replace(at_home, key=key), b"x")
    assert key not in str(caught.value)
