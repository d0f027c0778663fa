"""The doctor finds what is wrong, says the mend, and pins host keys only after a yes."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from guiji import connections, doctor, secrets, warehouse
from guiji.connections import Connection
from guiji.demo import servers
from guiji.doctor import Finding, diagnose, judge_disk, judge_skew, render_findings
from guiji.errors import SourceUnavailable, UsageError
from guiji.host_keys import enroll_host_key
from guiji.settings import TIME_ZONE, Settings


@pytest.fixture
def no_catalog(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with an empty catalog, for checks of everything else."""
    (tmp_path / "catalog").mkdir()
    return dataclasses.replace(settings, catalog=tmp_path / "catalog")


def troubles(settings: Settings) -> list[str]:
    return [f.what for f in diagnose(settings) if f.level == "error"]


def test_every_finding_that_is_not_ok_has_a_mend(no_catalog: Settings) -> None:
    findings = diagnose(no_catalog)
    assert [f for f in findings if f.level != "ok" and not f.mend] == []
    text = render_findings(findings)
    assert text.splitlines()[-1].startswith(f"{len(findings)} checks: ")


def test_one_trouble_does_not_hide_another(no_catalog: Settings) -> None:
    dead = dataclasses.replace(no_catalog, warehouse="postgresql://u:geheim@127.0.0.1:1/x", catalog=Path("/nowhere"))
    text = render_findings(diagnose(dead))
    assert "can't be reached" in text
    assert "/nowhere" in text
    assert "geheim" not in text


def test_readable_secrets_are_errors(no_catalog: Settings) -> None:
    secrets.seal(no_catalog, b"x")
    assert troubles(no_catalog) == []
    secrets.key_path(no_catalog).chmod(0o644)
    assert troubles(no_catalog) == [f"{no_catalog.home / 'key'} can be read by others"]


def test_a_key_that_opens_nothing_is_an_error(no_catalog: Settings, conn: Any) -> None:
    conn.execute(
        "INSERT INTO ops.batch (batch_id, resource_id, department_id, window_start, window_end, status, started_at) "
        "VALUES ('b', 'a.b', 'a', now(), now() + '1 day', 'refused', now())"
    )
    conn.execute(
        "INSERT INTO ops.rejected_row (batch_id, row_no, resource_id, locator, rules, sealed) VALUES ('b', 1, 'a.b', 'f:1', '{}', %s)",
        (secrets.seal(no_catalog, b"row"),),
    )
    conn.commit()
    assert troubles(no_catalog) == []
    other = dataclasses.replace(no_catalog, home=no_catalog.home.with_name("other"))
    assert [t for t in troubles(other) if "does not open" in t] != []


def test_mail_that_died_and_batches_that_wait_are_told(no_catalog: Settings, conn: Any) -> None:
    conn.execute(
        "INSERT INTO ops.outbox (department_id, kind, cause, created_at, dead_at) VALUES ('a', 'held', 'x', now(), now())"
    )
    conn.execute(
        "INSERT INTO ops.batch (batch_id, resource_id, department_id, window_start, window_end, status, started_at) "
        "VALUES ('b', 'a.b', 'a', now(), now() + '1 day', 'held', now())"
    )
    conn.commit()
    texts = [f.what for f in diagnose(no_catalog)]
    assert "1 notices could not be delivered for good" in texts
    assert "1 batches wait for a decision" in texts


def test_mail_server_is_tried(
    no_catalog: Settings, smtp_server: servers.MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "connection smtp_default is not defined" in [f.what for f in diagnose(no_catalog) if f.level == "warning"]
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", smtp_server.to_json())
    assert f"mail server 127.0.0.1:{smtp_server.port} answers" in [f.what for f in diagnose(no_catalog)]
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", "smtp://127.0.0.1:1")
    assert [f.what for f in diagnose(no_catalog) if "does not answer" in f.what] != []


def test_connections_of_the_shipped_catalog_are_asked_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_resolvers", [])
    missing = {t.split()[1] for t in troubles(settings) if t.startswith("connection ")}
    named = {
        conn_id
        for r in doctor._catalog(settings).resources.values()
        if (conn_id := getattr(r.model.source, "connection", None))
    }
    assert missing == named != set()


@pytest.mark.parametrize(
    ("extra", "found"),
    [
        ({"host_key": "ssh-ed25519 AAAA"}, None),
        ({}, "pins no host key"),
        ({"host_key": "k", "no_host_key_check": "true"}, "sets no_host_key_check"),
        ({"host_key": "k", "allow_host_key_change": True}, "sets allow_host_key_change"),
        ({"host_key": "k", "no_host_key_check": False}, None),
    ],
)
def test_f69_sftp_connections_must_pin(extra: dict[str, Any], found: str | None) -> None:
    flaw = doctor._find_flaw(Connection("c", "sftp", "h", extra=extra))
    assert (flaw is None) == (found is None)
    assert found is None or (
        flaw is not None and flaw.level == "error" and found in flaw.what and "enroll" in flaw.mend
    )


@pytest.mark.parametrize(
    ("seconds", "level"), [(0, "ok"), (2.9, "ok"), (3, "warning"), (9.9, "warning"), (10, "error"), (28800, "error")]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_f58_clock_skew_of_ten_seconds_is_an_error(seconds: float, level: str, sign: int) -> None:
    now = datetime(2026, 10, 24, 9, tzinfo=TIME_ZONE)
    found = judge_skew(now, now + sign * timedelta(seconds=seconds), "the warehouse's")
    assert (found.level, "the warehouse's" in found.what) == (level, True)


def test_f58_the_warehouse_s_clock_is_compared(no_catalog: Settings) -> None:
    assert [f.level for f in diagnose(no_catalog) if f.what.startswith("clock: ")] == ["ok"]


@pytest.mark.parametrize(
    ("free", "total", "level"),
    [(0, 100, "error"), (1, 100, "warning"), (4.9, 100, "warning"), (5, 100, "ok"), (6, 1000, "error")],
)
def test_f53_little_disk_space_is_told_before_it_is_gone(free: float, total: float, level: str) -> None:
    found = judge_disk("GUIJI_HOME", int(free * doctor.GIB), int(total * doctor.GIB))
    assert found.level == level


def test_edited_ddl_is_told(no_catalog: Settings, conn: Any) -> None:
    conn.execute("UPDATE ops.migration SET sha256 = 'x' WHERE name = '0001_ops.sql'")
    conn.commit()
    told = [f for f in diagnose(no_catalog) if "has been edited" in f.what]
    assert [(f.level, "0001_ops.sql" in f.what) for f in told] == [("warning", True)]


# --- host keys --------------------------------------------------------------------------------------


@pytest.fixture
def unpinned(settings: Settings, sftp_server: servers.SftpServer) -> Settings:
    """A connection fep_sftp to a real server, without its host key."""
    connections.save_connections(settings, [dataclasses.replace(plain(sftp_server), conn_id="fep_sftp", extra={})])
    return settings


def plain(server: Connection) -> Connection:
    return Connection(*(getattr(server, f.name) for f in dataclasses.fields(Connection)))


def test_f69_host_key_is_pinned_after_a_yes(
    unpinned: Settings, sftp_server: servers.SftpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    enroll_host_key(unpinned, "fep_sftp", assume_yes=True)
    assert "fingerprint SHA256:" in capsys.readouterr().out
    assert connections.get_connection(unpinned, "fep_sftp").extra == {"host_key": sftp_server.extra["host_key"]}
    enroll_host_key(unpinned, "fep_sftp")
    assert "pinned already" in capsys.readouterr().out


def test_f69_nothing_is_pinned_without_a_yes(unpinned: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="add --yes"):
        enroll_host_key(unpinned, "fep_sftp")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: "no")
    with pytest.raises(UsageError, match="Nothing was pinned"):
        enroll_host_key(unpinned, "fep_sftp")
    assert connections.load_host_keys(unpinned) == {}


def test_f69_a_changed_key_is_shown_as_changed(
    unpinned: Settings, sftp_server: servers.SftpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    enroll_host_key(unpinned, "fep_sftp", assume_yes=True)
    new = sftp_server.change_host_key()
    enroll_host_key(unpinned, "fep_sftp", assume_yes=True)
    assert "ANOTHER KEY IS PINNED" in capsys.readouterr().out
    assert connections.load_host_keys(unpinned) == {"fep_sftp": new}


def test_a_server_that_can_t_be_asked(settings: Settings) -> None:
    connections.save_connections(settings, [Connection("x", "sftp", "127.0.0.1", 1), Connection("y", "ftp", "h")])
    with pytest.raises(SourceUnavailable, match="Nothing was pinned"):
        enroll_host_key(settings, "x", assume_yes=True)
    with pytest.raises(UsageError, match="not sftp"):
        enroll_host_key(settings, "y", assume_yes=True)


def test_findings_render_one_block_each() -> None:
    assert render_findings([Finding("ok", "a"), Finding("error", "b", "do c")]).splitlines() == [
        "ok       a",
        "ERROR    b",
        "         → do c",
        "2 checks: 1 errors, 0 warnings",
    ]


def test_embedded_server_is_described(tmp_path: Path) -> None:
    from guiji import postgres

    (tmp_path / "catalog").mkdir()
    settings = Settings.from_env({"GUIJI_HOME": str(tmp_path / "home"), "GUIJI_CATALOG": str(tmp_path / "catalog")})
    try:
        with warehouse.connect(settings):
            texts = [f.what for f in diagnose(settings) if f.level == "ok"]
    finally:
        postgres.release(settings)
    assert [t for t in texts if t.startswith("embedded server: process ")] != []
