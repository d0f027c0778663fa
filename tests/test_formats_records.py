"""The same table in every form of records gives the same rows; the backups were made by the real tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from delivering import expect, sound

from guiji.catalog.models import Format
from guiji.records import ReadReport
from guiji.sources.formats import read_file

CORPUS = Path(__file__).parent / "corpus" / "records"
TABLE = {
    ("000123", "鄂尔多斯市东胜区", "1.50"),
    ("0592", "运煲 'A' \\N \"b\"", "-0.05"),
    ("7", "R&D <x>; --", None),
    ("NULL", "", "12345678901234567890.00"),
}
FORMS: dict[str, dict[str, Any]] = {
    "gbk.dbf": {"type": "dbf"},
    "gbk.xml": {"type": "xml", "records": "data/row"},
    "lines.jsonl": {"type": "jsonl"},
    "wrapped.json": {"type": "json", "records": "result.rows"},
    "table.parquet": {"type": "parquet"},
    "mysql_utf8.sql": {"type": "sql", "table": "org"},
    "mysql_gbk.sql": {"type": "sql", "table": "org"},
    "postgres.sql": {"type": "sql", "table": "public.org"},
    "postgres_inserts_gb18030.sql": {"type": "sql", "table": "org"},
}


def test_every_file_of_the_corpus_is_read() -> None:
    assert {p.name for p in CORPUS.iterdir()} == set(FORMS)


@pytest.mark.parametrize("name", FORMS)
def test_the_same_table_in_every_form(name: str) -> None:
    expected = expect("code", "name", "amount")
    report = ReadReport()
    batches = list(read_file(CORPUS / name, name, expected, Format.model_validate(FORMS[name]), report))
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert (set(sound(rows, expected)), len(rows), report.skipped, report.notes) == (TABLE, 4, {}, [])
    assert [r["_origin"].partition("#")[0] for r in rows] == [name] * 4
    assert len({r["_line"] for r in rows}) == 4
