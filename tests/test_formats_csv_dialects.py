"""CSV in every dialect and encoding that we claim: what is written comes back, and damage costs its own rows only."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from delivering import aside, expect, read_bytes, sound
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from guiji.catalog.models import Format
from guiji.errors import DeliveryRefused
from guiji.records import ReadReport
from guiji.sources.columns import Expected
from guiji.sources.formats import encoding as encoding_module
from guiji.sources.formats.ahead import read_ahead
from guiji.structure import NULL_MARK

CORPUS = Path(__file__).parent / "corpus" / "csv"
EXPECTED: dict[str, dict[str, Any]] = json.loads((CORPUS / "expected.json").read_text(encoding="utf-8"))


@contextmanager
def block_size(size: int) -> Iterator[None]:
    """Files are read in blocks of this size."""
    before, encoding_module.BLOCK = encoding_module.BLOCK, size
    try:
        yield
    finally:
        encoding_module.BLOCK = before


def read_or_refuse(
    tmp_path: Path, content: bytes, expected: Expected, block: int, **form: Any
) -> tuple[list[dict[str, Any]], ReadReport] | str:
    """The rows and the report, or the rule by which the file is refused."""
    with block_size(block):
        try:
            return read_bytes(tmp_path, content, expected, **form)
        except DeliveryRefused as error:
            return error.rule_id


# --- the corpus ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [4 << 20, 64])
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_f20_f21_f22_f37_f38_f39_the_corpus_comes_out_as_written_beside_it(
    tmp_path: Path, name: str, block: int
) -> None:
    wanted = EXPECTED[name]
    form = {k: v for k, v in wanted["format"].items() if k != "_columns"}
    expected = expect(*wanted["format"].get("_columns", ("姓名", "编号", "地址")))
    content = (CORPUS / name).read_bytes()
    with block_size(block):
        if "refused" in wanted:
            with pytest.raises(DeliveryRefused) as caught:
                read_bytes(tmp_path, content, expected, **form)
            assert caught.value.rule_id == wanted["refused"]
            assert "现有数据继续有效" in str(caught.value)
            return
        rows, report = read_bytes(tmp_path, content, expected, **form)
    assert [list(r) for r in sound(rows, expected)] == wanted["sound"]
    assert [list(a) for a in aside(rows)] == wanted["aside"]
    assert report.skipped == wanted["skipped"]


def test_the_corpus_is_what_its_script_makes(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_csv_corpus", CORPUS / "make.py")
    assert spec is not None
    assert spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    make.write(tmp_path)
    made = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert made == {p.name: p.read_bytes() for p in CORPUS.iterdir() if p.suffix in (".csv", ".json")}


# --- any table, any dialect ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Written:
    """A dialect to write in: as in ``Format``, and what only a writer decides."""

    delimiter: str
    quote: str
    escape: str
    end: str
    quoting: str  # minimal | all | none
    encoding: str
    header: bool
    trailing: bool

    @property
    def form(self) -> dict[str, Any]:
        declared = {"utf-8-sig": "auto", "utf-16": "auto"}.get(self.encoding, self.encoding)
        return {
            "delimiter": self.delimiter,
            "quote": self.quote,
            "escape": self.escape or None,
            "encoding": declared,
            "header": self.header,
            "trailing_delimiter": self.trailing,
        }

    def can_hold(self, cell: str) -> bool:
        """Without a quote and an escape no dialect can hold its own marks."""
        return bool(self.escape) or self.quoting != "none" or not set(cell) & {self.delimiter, self.quote, "\r", "\n"}

    def write(self, rows: list[tuple[str, ...]]) -> bytes:
        lines = [self.delimiter.join(map(self._cell, row)) + self.delimiter * self.trailing for row in rows]
        return "".join(line + self.end for line in lines).encode(self.encoding)

    def _cell(self, cell: str) -> str:
        special = {self.delimiter, self.quote, self.escape, "\r", "\n"} - {""}
        if self.quoting == "none":
            return "".join(self.escape + c if self.escape and c in special else c for c in cell)
        if self.quoting == "minimal" and not set(cell) & special:
            return cell
        if self.escape:
            cell = cell.replace(self.escape, self.escape * 2)
        return self.quote + cell.replace(self.quote, self.quote * 2) + self.quote


@st.composite
def dialects(draw: st.DrawFn) -> Written:
    quoting = draw(st.sampled_from(["minimal", "all", "none"]))
    quote = draw(st.sampled_from(["", '"'] if quoting == "none" else ['"', "'"]))
    return Written(
        delimiter=draw(st.sampled_from([",", ";", "\t", "|", "\x01"])),
        quote=quote,
        escape=draw(st.sampled_from(["", "\\"])),
        end=draw(st.sampled_from(["\n", "\r\n", "\r"])),
        quoting=quoting,
        encoding=draw(st.sampled_from(["utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-16-le", "utf-16-be"])),
        header=draw(st.booleans()),
        trailing=draw(st.booleans()),
    )


MARKS = list(",;\t|\x01\"'\\\r\nNnt #")
character = st.one_of(
    st.sampled_from(MARKS),
    st.sampled_from("张䶮𠮷偀€é联通"),
    st.characters(exclude_categories=("Cs", "Co"), exclude_characters="\x00\ufffd\ufeff"),
)
cell = st.lists(character, max_size=6).map("".join).filter(lambda t: "锟斤拷" not in t)
COLUMNS = ("姓名", "编号", "地址", "备注")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dialects(), st.integers(1, 4), st.data(), st.sampled_from([4 << 20, 64]))
def test_any_table_in_any_dialect_and_encoding_comes_back(
    tmp_path: Path, written: Written, width: int, data: st.DataObject, block: int
) -> None:
    """Exactly the same table, or, where a dialect leaves two readings, its rows set aside; never another table."""
    # a file whose lines end with a carriage return alone can't hold a line feed: it would not be a line end
    fits = cell.filter(written.can_hold).filter(lambda c: written.end != "\r" or not set(c) & {"\r", "\n"})
    table = data.draw(st.lists(st.tuples(*[fits] * width), min_size=1, max_size=10))
    table = [tuple(encoding_module.normalise_private_use(c) for c in row) for row in table]
    expected = expect(*COLUMNS[:width])
    content = written.write([*([COLUMNS[:width]] if written.header else []), *table])
    outcome = read_or_refuse(tmp_path, content, expected, block, **written.form)
    if isinstance(outcome, str):
        event(f"refused: {outcome}")
        # without a header a table may be nothing but blanks, its first row may hold the columns' names, or there may be
        # too little text to tell the encoding
        assert not written.header
        assert outcome in ("delivery.empty", "delivery.encoding", "delivery.structure")
        return
    rows, report = outcome
    got = sound(rows, expected)
    if not written.escape and any(r"\N" in row for row in table):  # no value to whoever writes it: never a text
        event("null mark")
        table = [row for row in table if r"\N" not in row]
        rows = [r for r in rows if r["_broken"] != NULL_MARK]
    if not aside(rows):
        assert got == [row for row in table if any(map(str.strip, row))]
        assert report.skipped.get("blank", 0) == len(table) - len(got)
        return
    event("set aside")
    assert {rule for _, rule in aside(rows)} <= {"unclosed_quote", "bad_escape"}
    assert any(set(c) & {"\n", "\r"} for row in table for c in row)
    kept = iter(table)
    assert all(row in kept for row in got)  # what is accepted is the table's, in its order


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16", "utf-16-be"])
def test_f37_a_carriage_return_in_a_cell_stays_one_wherever_a_block_ends(tmp_path: Path, encoding: str) -> None:
    table = [("张" * n, f"a\r{'b' * 40}\rc", "\r;") for n in range(40)]
    lines = ["姓名,编号,地址", *(f'{a},"{b}","{c}"' for a, b, c in table)]
    content = "".join(f"{line}\r\n" for line in lines).encode(encoding)
    declared = encoding if encoding == "utf-16-be" else "auto"
    expected = expect("姓名", "编号", "地址")
    outcome = read_or_refuse(tmp_path, content, expected, 64, encoding=declared)
    assert not isinstance(outcome, str)
    assert (sound(outcome[0], expected), aside(outcome[0])) == (table, [])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setattr(encoding_module, "LONGEST_LINE", 1 << 10)
    content = ("姓名,编号,地址\n张三,1," + "街" * 5000).encode(encoding)
    assert read_or_refuse(tmp_path, content, expect("姓名", "编号", "地址"), 256) == "delivery.structure"


# --- damage -------------------------------------------------------------------------------------------

plain_cell = st.text(st.sampled_from("张三丰李四abc0123 ·-"), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(plain_cell, plain_cell, plain_cell, plain_cell), min_size=2, max_size=9),
    st.sampled_from(["utf-8", "gb18030"]),
    st.booleans(),
    st.data(),
    st.sampled_from([4 << 20, 48]),
)
def test_damage_in_one_line_never_changes_another(
    tmp_path: Path, table: list[tuple[str, ...]], encoding: str, quoted: bool, data: st.DataObject, block: int
) -> None:
    """A byte of structure put in, taken out or replaced by one that nobody can read: the other rows are equal or set
    aside, and no row is there that was not in the table."""
    lines = [",".join(f'"{c}"' if quoted else c for c in row).encode(encoding) for row in table]
    hurt = data.draw(st.integers(0, len(lines) - 1), label="line")
    line = lines[hurt]
    at = data.draw(st.integers(0, len(line) - 1), label="at")
    how = data.draw(st.sampled_from(["insert", "delete", "spoil", "cut"]), label="how")
    if how == "insert":
        line = line[:at] + data.draw(st.sampled_from([b",", b'"', b"\r", b"\x00", b"\n"])) + line[at:]
    elif how == "delete":
        marks = [i for i, byte in enumerate(line) if byte in b',"']
        at = data.draw(st.sampled_from(marks))
        line = line[:at] + line[at + 1 :]
    elif how == "spoil":
        line = line[:at] + b"\xff\xff" + line[at:]
    else:
        line = line[:at]
    lines[hurt] = line
    content = ",".join(COLUMNS).encode(encoding) + b"\n" + b"".join(x + b"\n" for x in lines)
    expected = expect(*COLUMNS)
    outcome = read_or_refuse(tmp_path, content, expected, block, encoding=encoding)
    if isinstance(outcome, str):
        event(f"refused: {outcome}")
        assert outcome in ("delivery.half_a_file", "delivery.encoding")
        return
    rows, report = outcome
    extra = line.count(b"\n")
    number_of = {n: n + 2 + (extra if n > hurt else 0) for n in range(len(table))}
    by_line = {r["_line"]: tuple(r[c] for c in COLUMNS) for r in rows if r["_broken"] is None}
    set_aside = {n for n, _ in aside(rows)}
    for n, row in enumerate(table):
        if n == hurt:
            continue
        assert by_line.get(number_of[n], row) == row
        assert number_of[n] in by_line.keys() | set_aside or how == "delete", "a row is lost"
    assert set(by_line) <= {*number_of.values(), *range(hurt + 2, hurt + 3 + extra)}
    assert report.skipped.get("blank", 0) <= (1 if how in ("cut", "insert") else 0)


# --- what a catalog may declare -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        {"delimiter": "||"}, {"delimiter": ""}, {"delimiter": "，"}, {"delimiter": "a"}, {"delimiter": "\n"},
        {"quote": "''"}, {"quote": "”"}, {"delimiter": ";", "quote": ";"}, {"escape": '"'}, {"escape": "\\\\"},
        {"comment": "//"}, {"comment": ","}, {"header": False, "layout": {"metadata": {"月份": "(.*)"}}},
    ],
)  # fmt: skip
def test_a_dialect_that_can_not_be_read_beyond_doubt_is_refused_by_the_catalog(form: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Format.model_validate(form)


# --- reading ahead ------------------------------------------------------------------------------------


def test_reading_ahead_keeps_order_errors_and_ends_with_its_reader() -> None:
    closed: list[int] = []

    def count(stop_at: int) -> Any:
        try:
            for n in range(10):
                if n == stop_at:
                    raise ValueError(n)
                yield n
        finally:
            closed.append(stop_at)

    assert list(read_ahead(count(99))) == list(range(10))
    failing = read_ahead(count(4))
    assert [next(failing) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="4"):
        next(failing)
    reader = read_ahead(count(98))
    assert next(reader) == 0
    reader.close()
    assert closed == [99, 4, 98]


def test_f39_a_file_of_unclosed_quotes_takes_no_more_than_seconds(tmp_path: Path) -> None:
    expected = expect("姓名", "编号", "地址")
    lines = [f'"张{i},{i},东街' for i in range(20_000)]
    rows, _ = read_bytes(tmp_path, ("姓名,编号,地址\n" + "\n".join(lines) + "\n李四,1,街\n").encode(), expected)
    assert len(aside(rows)) == 20_000
    assert sound(rows, expected) == [("李四", "1", "街")]


@pytest.mark.parametrize("block", [4 << 20, 64])
def test_an_escaped_line_end_of_two_readings_takes_the_lines_with_it_that_it_may_belong_to(
    tmp_path: Path, block: int
) -> None:
    """``\\<CR><LF>`` is an escaped line end, or an escaped carriage return at the end of a row."""
    expected = expect("姓名")
    outcome = read_or_refuse(
        tmp_path, "姓名\n张\\\r\n李\\\n王\\\n赵\n周\n".encode(), expected, block, quote="", escape="\\"
    )
    assert not isinstance(outcome, str)
    assert sound(outcome[0], expected) == [("周",)]
    assert aside(outcome[0]) == [(n, "bad_escape") for n in (2, 3, 4, 5)]
