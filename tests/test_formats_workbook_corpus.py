"""Workbooks that LibreOffice saved, in every form it knows: each comes out as written beside it."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from delivering import aside, expect, read_bytes, sound

from guiji.errors import DeliveryRefused

CORPUS = Path(__file__).parent / "corpus" / "workbooks"
EXPECTED: dict[str, Any] = json.loads((CORPUS / "expected.json").read_text(encoding="utf-8"))
KINDS = {"xml": "xml2003"}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_f19_f23_f44_f45_a_workbook_of_the_corpus_comes_out_as_written_beside_it(tmp_path: Path, name: str) -> None:
    wanted = EXPECTED[name]
    expected = expect(*wanted["columns"])
    form = {"type": KINDS.get(name.rpartition(".")[2], name.rpartition(".")[2]), "layout": wanted["layout"]}
    content = (CORPUS / name).read_bytes()
    if "refused" in wanted:
        with pytest.raises(DeliveryRefused) as caught:
            read_bytes(tmp_path, content, expected, name, **form)
        assert caught.value.rule_id == wanted["refused"]
        assert "现有数据继续有效" in str(caught.value)
        return
    rows, report = read_bytes(tmp_path, content, expected, name, **form)
    assert [list(r) for r in sound(rows, expected)] == wanted["sound"]
    assert [list(a) for a in aside(rows)] == wanted["aside"]
    assert report.skipped == wanted["skipped"]


def test_what_must_come_out_is_what_the_script_of_the_corpus_says() -> None:
    make = runpy.run_path(str(CORPUS / "make.py"))
    assert make["describe"]() == (CORPUS / "expected.json").read_text(encoding="utf-8")
    assert {p.name for p in CORPUS.iterdir()} - {"make.py", "expected.json", "__pycache__"} == set(EXPECTED)
