"""F-67: a personal value stands in no file, no ledger row, no mail and no message, unless masked or encrypted.

Canaries (numbers, names, phones that occur nowhere else) are planted in every kind of bad row over four ways of
supply; the whole way is run as an operator runs it; then everything readable that is left behind is searched.
"""

from __future__ import annotations

import email.message
import io
import json
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from bad_input import (
    GUIJI_NOW,
    HEADER,
    POPULATION,
    TO_POPULATION,
    command_env,
    connection_json,
    sound_rows,
    write_catalog,
    write_library,
)

from guiji.masking import scrub
from guiji.settings import ROOT, Settings

SOUND = sound_rows(60)
#: right check digits, but nobody in the sound rows has them
IDS = [r[0] for r in sound_rows(40, start=500)]
NAMES = [f"欧阳金丝雀{c}" for c in "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳"]
PHONES = [f"1380047{n:04d}" for n in range(1000, 1016)]
CANARIES = [*IDS, *NAMES, *PHONES]

COLUMNS = (*HEADER, "联系电话", "备注")
FIELDS = [
    {"name": "phone", "title": "联系电话", "sensitivity": 3, "pattern": r"1\d{10}"},
    {"name": "remark", "title": "备注", "length": 40, "pattern": "[^0-9]*"},
]


def wrong(number: str) -> str:
    """The number with a wrong check digit."""
    return number[:-1] + ("1" if number[-1] != "1" else "2")


WRONG = [wrong(n) for n in IDS]


def bad_rows() -> list[tuple[str | None, ...]]:
    """One row per way to be wrong; each carries canaries in the cell that is wrong and beside it."""
    t = "2026-10-01 08:00:00"
    return [
        (WRONG[0], NAMES[0], "1990-01-01", t, PHONES[0], ""),  # check digit
        (IDS[1], "", "1990-01-01", t, PHONES[1], ""),  # name missing
        ("", NAMES[2], "1990-01-01", t, PHONES[2], ""),  # key blank
        (IDS[3], NAMES[3], NAMES[4], t, PHONES[3], ""),  # columns shifted: a name where a date should be
        (IDS[4], NAMES[5], IDS[5], t, PHONES[4], ""),  # a number where a date should be
        (IDS[6], NAMES[6], "1990-01-01", t, PHONES[5] + "9", ""),  # phone too long
        (IDS[7], NAMES[7], "1990-01-01", t, PHONES[6], f"本人{IDS[8]}电话{PHONES[7]}"),  # numbers in a remark
        (IDS[9], NAMES[8] * 12, "1990-01-01", t, PHONES[8], ""),  # name too long
        (IDS[10], NAMES[9], "1990-01-01", t, PHONES[9], ""),  # two versions of one key
        (IDS[10], NAMES[10], "1991-01-01", "2026-10-02 08:00:00", PHONES[10], ""),
        (
            IDS[11].translate(str.maketrans("0123456789", "０１２３４５６７８９")) + "0",
            NAMES[11],
            "1990-01-01",
            t,
            "",
            "",
        ),
        (IDS[12], NAMES[12], "1990-01-01", t, PHONES[11], f"转＋86{PHONES[12]}"),
        (IDS[13], NAMES[13], "1990-01-01", "2099-01-01 00:00:00", PHONES[13], f"86{PHONES[13]}"),
    ]


def sound(n: int = 60) -> list[tuple[str, ...]]:
    return [(*r, "", "") for r in SOUND[:n]]


# --- the four ways ------------------------------------------------------------------------------------


def make_csv(folder: Path) -> dict[str, Any]:
    """CSV, with the ways in which only a file can be wrong: ragged, NUL, undecodable, an unclosed quote at the end."""
    lines = [",".join(COLUMNS)] + [",".join(c or "" for c in row) for row in [*sound(), *bad_rows()]]
    lines.append(f"{IDS[14]},{NAMES[14]},1990-01-01")
    lines.append(f"{IDS[15]},有\x00{NAMES[14]},1990-01-01,2026-10-01 08:00:00,{PHONES[14]},")
    content = "\r\n".join(lines).encode() + b"\r\n"
    content += f"{IDS[16]},{NAMES[15]}".encode() + b"\xff\xfe,1990-01-01,2026-10-01 08:00:00,,\r\n"
    content += f'{IDS[17]},{NAMES[15]}"x,1990-01-01,2026-10-01 08:00:00,"{PHONES[15]}"y,\r\n'.encode()
    (folder / "people_20261001.csv").write_bytes(content)
    return {"kind": "files", "directory": str(folder), "pattern": r"people_(?P<date>\d{8})\.csv"}


def make_xlsx(folder: Path) -> dict[str, Any]:
    import xlsxwriter

    with xlsxwriter.Workbook(folder / "people_20261001.xlsx") as book:
        sheet = book.add_worksheet("人员")
        sheet.write_row(0, 0, COLUMNS)
        for i, row in enumerate([*sound(), *bad_rows()], start=1):
            for j, cell in enumerate(row):
                sheet.write_string(i, j, cell or "")
        last = 1 + len(sound()) + len(bad_rows())
        sheet.write_number(last, 0, float(next(n for n in IDS[18:] if n.isdigit())))
        sheet.write_row(last, 1, (NAMES[14], "1990-01-01", "2026-10-01 08:00:00", PHONES[14], ""))
    pattern = r"people_(?P<date>\d{8})\.xlsx"
    return {"kind": "files", "directory": str(folder), "pattern": pattern, "format": {"type": "xlsx"}}


def make_table(server: Any) -> dict[str, Any]:
    import psycopg

    with psycopg.connect(server.admin_url, autocommit=True) as conn:
        conn.execute("CREATE TABLE people (" + ", ".join(f'"{c}" text' for c in COLUMNS) + ")")  # type: ignore[arg-type]
        with conn.cursor() as cursor:
            cursor.executemany("INSERT INTO people VALUES (%s, %s, %s, %s, %s, %s)", [*sound(), *bad_rows()])
    return {"kind": "database", "connection": "fep_ab", "schema": "public", "table": "people"}


def make_interface(server: Any) -> dict[str, Any]:
    server.data["/people"] = [dict(zip(COLUMNS, row, strict=True)) for row in [*sound(), *bad_rows()]]
    paging = {"style": "page", "size": 20}
    answer = {"records": "data.records", "total": "data.total", "code": "code", "message": "message"}
    return {
        "kind": "http",
        "connection": "web",
        "path": "/people",
        "paging": paging,
        "token_header": "X-Token",
    } | answer


WAYS = ("csv", "xlsx", "table", "interface")


@pytest.fixture
def city(
    settings: Settings,
    tmp_path: Path,
    fep_postgres: Any,
    http_server: Any,
    smtp_server: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Settings:
    """One resource per way, all feeding one library; everything they write goes below ``GUIJI_HOME``."""
    for name in ("csv", "xlsx"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("AIRFLOW_CONN_FEP_AB", connection_json(fep_postgres, "fep_ab"))
    monkeypatch.setenv("AIRFLOW_CONN_WEB", connection_json(http_server, "web"))
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", connection_json(smtp_server, "smtp_default"))
    sources = {
        "csv": make_csv(tmp_path / "csv"),
        "xlsx": make_xlsx(tmp_path / "xlsx"),
        "table": make_table(fep_postgres),
        "interface": make_interface(http_server),
    }
    city = settings
    for way, source in sources.items():
        base = write_catalog(settings, {"source": source, **TO_POPULATION, "tolerance": {"rejected": 1.0}}, way)
        path = base.catalog / "ab" / f"{way}.yml"
        body = yaml.safe_load(path.read_text())
        body["fields"] += FIELDS
        path.write_text(yaml.safe_dump(body, allow_unicode=True))
        city = base
    write_library(city, POPULATION)
    return city


def guiji(city: Settings, *arguments: str, stdin: str = "") -> tuple[int, str]:
    """(exit code, everything printed) of a command whose temporary files lie below ``GUIJI_HOME``, too."""
    temporary = city.home / "tmp"
    temporary.mkdir(exist_ok=True, mode=0o700)
    done = subprocess.run(
        [sys.executable, "-m", "guiji", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        cwd=ROOT,
        env=command_env(city, GUIJI_NOW=GUIJI_NOW, TMPDIR=str(temporary)),
    )
    return done.returncode, done.stdout + done.stderr


# --- the search ---------------------------------------------------------------------------------------


def spellings(canary: str) -> list[bytes]:
    """The canary as it may stand in a file."""
    forms = {canary, json.dumps(canary)[1:-1], canary.translate(str.maketrans("0123456789", "０１２３４５６７８９"))}
    return [form.encode(encoding) for form in forms for encoding in ("utf-8", "gb18030", "utf-16-le")]


NEEDLES = [(c, s) for c in [*CANARIES, *WRONG] for s in spellings(c)]


def find_canaries(content: bytes) -> set[str]:
    found = {c for c, needle in NEEDLES if needle in content}
    if content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                found |= find_canaries(archive.read(name))
    return found


def readable_files(home: Path) -> Iterator[Path]:
    """Every file below ``home`` but the Parquet of packages and caches, which only its owner may read."""
    for path in sorted(home.rglob("*")):
        if path.is_file() and not (
            path.suffix == ".parquet" and path.relative_to(home).parts[0] in ("staging", "cache")
        ):
            yield path


def search_files(home: Path) -> dict[str, set[str]]:
    return {
        str(p.relative_to(home)): found
        for p in readable_files(home)
        if (found := find_canaries(p.read_bytes()) | find_canaries(p.name.encode()))
    }


def search_ledger(conn: Any) -> dict[str, set[str]]:
    """Every column of every row of every table of ``ops``, as text."""
    conn.rollback()
    tables = [r["t"] for r in conn.execute("SELECT tablename AS t FROM pg_tables WHERE schemaname = 'ops'")]
    assert {"batch", "finding", "rejected_row", "outbox", "audit", "ticket", "conflict", "file"} <= set(tables)
    found: dict[str, set[str]] = {}
    for table in tables:
        text = "\n".join(str(r["x"]) for r in conn.execute(f'SELECT t::text AS x FROM ops."{table}" t'))
        if hits := find_canaries(text.encode()):
            found[table] = hits
    return found


def decode(message: email.message.EmailMessage) -> bytes:
    """Headers and every part of a mail, decoded."""
    parts = [str(v).encode() for v in message.values()]
    parts += [p.get_payload(decode=True) or b"" for p in message.walk() if not p.is_multipart()]
    return b"\n".join(parts) + b"".join(b"\n" for _ in parts)


def search_mails(server: Any) -> set[str]:
    found: set[str] = set()
    for mail in server.messages:
        found |= find_canaries(decode(mail.message))
        for part in mail.message.walk():
            if not part.is_multipart():
                found |= find_canaries(part.get_payload(decode=True) or b"")
    return found


def test_f67_canaries_stand_nowhere_readable(
    city: Settings, conn: Any, smtp_server: Any, http_server: Any, tmp_path: Path
) -> None:
    said = {}
    for way in WAYS:
        code, said[f"run {way}"] = guiji(city, "run", f"ab.{way}", "--json")
        assert code == 0, scrub(said[f"run {way}"])
    rejected = conn.execute("SELECT resource_id, rows_rejected AS n FROM ops.batch ORDER BY 1").fetchall()
    assert {r["resource_id"]: r["n"] >= 9 for r in rejected} == {f"ab.{w}": True for w in WAYS}
    kept = conn.execute("SELECT count(*) AS n FROM ops.rejected_row").fetchone()["n"]
    assert kept == sum(r["n"] for r in rejected)
    # deliveries that are refused as a whole, with canaries where a header should be, and an interface that quotes one
    (tmp_path / "csv" / "people_20261002.csv").write_text(
        "\n".join(",".join(c or "" for c in row) for row in bad_rows()), encoding="utf-8"
    )
    header = ",".join((NAMES[0], IDS[0], *COLUMNS[2:]))
    (tmp_path / "csv" / "people_20261003.csv").write_text(f"{header}\n", encoding="utf-8")
    for name in ("people_20261002.csv", "people_20261003.csv"):
        code, said[f"check {name}"] = guiji(city, "check", "ab.csv", str(tmp_path / "csv" / name))
        assert code == 1
    http_server.answers["/people"] = lambda _: {"code": "-1", "message": f"身份证{IDS[2]}电话{PHONES[1]}不存在"}
    for way in WAYS:
        said[f"again {way}"] = guiji(city, "run", f"ab.{way}")[1]
    said["check"] = guiji(city, "check", "ab.csv", str(tmp_path / "csv" / "people_20261001.csv"))[1]
    said["resolve"] = guiji(city, "resolve", "population")[1]
    said["trace"] = guiji(city, "trace", "population", "-", stdin=IDS[10])[1]
    said["trace nobody"] = guiji(city, "trace", "population", "-", stdin=IDS[30])[1]
    said["freshness"] = guiji(city, "freshness")[1]
    code, said["notices"] = guiji(city, "notices", "send")
    assert (code, len(smtp_server.messages) > 0) == (0, True), said["notices"]
    said["report"] = guiji(city, "report", "2026-10", "--as-of", "2026-10-20")[1]
    said["doctor"] = guiji(city, "doctor")[1]

    assert {name: hits for name, text in said.items() if (hits := find_canaries(text.encode()))} == {}
    assert search_files(city.home) == {}
    assert search_ledger(conn) == {}
    assert search_mails(smtp_server) == set()
    searched = {p.relative_to(city.home).parts[0] for p in readable_files(city.home)}
    assert {"staging", "data_docs", "reports"} <= searched

    # the search is not blind: the good canary row serves, and a planted one is found everywhere
    assert conn.execute("SELECT count(*) AS n FROM source.ab__csv WHERE person_id = %s", (IDS[10],)).fetchone()["n"]
    planted = city.home / "data_docs" / "planted.txt"
    planted.write_text(f"电话{PHONES[3]}", encoding="gb18030")
    book = city.home / "planted.xlsx"
    with zipfile.ZipFile(book, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sharedStrings.xml", NAMES[4])
    assert search_files(city.home) == {"data_docs/planted.txt": {PHONES[3]}, "planted.xlsx": {NAMES[4]}}
    conn.execute("UPDATE ops.batch SET reason = %s", (IDS[0],))
    conn.commit()
    assert search_ledger(conn) == {"batch": {IDS[0]}}
    message = email.message.EmailMessage()
    message.set_content(NAMES[3], cte="base64")
    assert find_canaries(decode(message)) == {NAMES[3]}


def test_what_rests_on_disk_is_its_owners_alone(city: Settings) -> None:
    for way in WAYS:
        assert guiji(city, "run", f"ab.{way}")[0] == 0
    for name in ("staging", "cache", "scratch", "data_docs"):
        root = city.home / name
        open_to_others = [
            f"{stat.S_IMODE(p.stat().st_mode):o} {p.relative_to(city.home)}"
            for p in (root, *root.rglob("*"))
            if stat.S_IMODE(p.stat().st_mode) & 0o077
        ]
        assert open_to_others == []
    assert [p for p in (city.home / "scratch").rglob("*") if p.is_file()] == []
    assert [p for p in (city.home / "tmp").rglob("*") if p.is_file()] == []


def test_f67_a_task_that_breaks_and_a_crash_of_the_command_are_scrubbed(
    city: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from guiji import cli
    from guiji.orchestration.tasks import UnexpectedError, run_step

    def break_down(*_: object, **__: object) -> None:
        raise ValueError(f"DETAIL: Key (id)=({IDS[0]}) tel {PHONES[0]} tel 86{PHONES[1]} fails")

    with caplog.at_level("DEBUG"), pytest.raises(UnexpectedError) as caught:
        run_step(break_down)
    assert caught.value.__cause__ is None
    assert find_canaries((str(caught.value) + caplog.text).encode()) == set()
    monkeypatch.setenv("GUIJI_HOME", str(city.home))
    monkeypatch.setattr(cli, "app", break_down)
    with pytest.raises(SystemExit) as stopped:
        cli._run()
    assert stopped.value.code == 4
    assert find_canaries(capsys.readouterr().err.encode()) == set()
    crash = city.home / "logs" / "crash.log"
    assert "ValueError" in crash.read_text()
    assert search_files(city.home) == {}
    assert stat.S_IMODE(os.stat(crash).st_mode) == 0o600


def test_f67_a_database_that_quotes_a_value_in_its_error(
    settings: Settings, fep_postgres: Any, conn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    monkeypatch.setenv("AIRFLOW_CONN_FEP_AB", connection_json(fep_postgres, "fep_ab"))
    with psycopg.connect(fep_postgres.admin_url, autocommit=True) as owner:
        owner.execute("CREATE TABLE raw (id text, name text)")
        owner.execute("INSERT INTO raw VALUES (%s, %s)", (IDS[0], NAMES[0]))
        owner.execute(
            f'CREATE VIEW people AS SELECT id AS "{HEADER[0]}", name AS "{HEADER[1]}", name::date AS "{HEADER[2]}",'
            f' now()::timestamp AS "{HEADER[3]}" FROM raw'
        )  # type: ignore[arg-type]
    source = {"kind": "database", "connection": "fep_ab", "schema": "public", "table": "people"}
    city = write_catalog(settings, {"source": source})
    code, said = guiji(city, "run", "ab.people")
    assert code == 1, scrub(said)
    assert find_canaries(said.encode()) == set()
    assert search_ledger(conn) == {}
    assert "delivery.structure" in conn.execute("SELECT cause FROM ops.batch").fetchone()["cause"]
