"""Workbooks: the time that reading one may take, programs that calculate, cells that stand twice."""

from __future__ import annotations

import io
import struct
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from delivering import aside, expect, read_bytes, sound
from workbooks import KINDS, Formula, Sheet, Shown, make_book, make_compound, make_summary, record, zip_members

from guiji.catalog.models import Format
from guiji.errors import DeliveryRefused
from guiji.records import ReadReport
from guiji.sources.formats import read_file
from guiji.sources.formats.clock import Clock
from guiji.sources.formats.compound_file import read_program, read_streams

ABC = expect("姓名", "编号", "地址")
every_kind = pytest.mark.parametrize("kind", KINDS)


def refused(tmp_path: Path, content: bytes, kind: str, **form: Any) -> DeliveryRefused:
    with pytest.raises(DeliveryRefused) as caught:
        read_bytes(tmp_path, content, ABC, f"a.{kind}", type=kind, **form)
    return caught.value


# --- the clock ------------------------------------------------------------------------------------------


def read_within(path: Path, kind: str, seconds: float) -> Iterator[Any]:
    """The batches of a workbook, read under a limit shorter than the catalog allows."""
    path.write_bytes(make_book(kind, Sheet([ABC.columns, *[("张三", "1", "街")] * 20_000])))
    form = Format.model_validate({"type": kind}).model_copy(update={"max_seconds": seconds})
    return read_file(path, path.name, ABC, form, ReadReport())


@every_kind
@pytest.mark.parametrize("seconds", [0.0, 0.02])
def test_f45_a_workbook_that_takes_too_long_is_refused(tmp_path: Path, kind: str, seconds: float) -> None:
    with pytest.raises(DeliveryRefused) as caught:
        list(read_within(tmp_path / f"a.{kind}", kind, seconds))
    assert caught.value.rule_id == "delivery.too_slow"
    assert f"读取超过 {seconds:g} 秒" in str(caught.value)
    assert "现有数据继续有效" in str(caught.value)


def test_f45_the_time_of_who_takes_the_rows_does_not_count(tmp_path: Path) -> None:
    rows = 0
    for batch in read_within(tmp_path / "a.xlsx", "xlsx", 3.0):
        time.sleep(1.1)
        rows += batch.num_rows
    assert rows == 20_000


def test_f45_a_parser_that_does_not_end_is_left_behind() -> None:
    ends = threading.Event()
    clock = Clock("文件 a.xlsx", 0.2)
    start = time.monotonic()
    try:
        with pytest.raises(DeliveryRefused) as caught:
            clock.wait(clock.start(ends.wait))
        assert caught.value.rule_id == "delivery.too_slow"
        assert time.monotonic() - start < 10
        assert [t.daemon for t in threading.enumerate() if t.name == "guiji-workbook"] == [True]
    finally:
        ends.set()


def test_what_a_parser_raises_or_returns_is_carried_over() -> None:
    clock = Clock("文件 a.xlsx")

    def fail() -> None:
        raise TimeoutError("of its own")

    assert clock.wait(clock.start(lambda: 7)) == 7
    with pytest.raises(TimeoutError, match="of its own"):
        clock.wait(clock.start(fail))


# --- who saved an xls ----------------------------------------------------------------------------------

ZEROS = Sheet([ABC.columns, ("张三", Formula("1-1", 0.0), "街"), ("李四", Formula("2-2", 0.0), "街")])


def saved_by(program: str, sheet: Sheet) -> bytes:
    """An xls without the record by which Excel says that it calculated, saved by a program of this name."""
    streams = read_streams(make_book("xls", sheet, calculated=False))
    return make_compound({"Workbook": streams["Workbook"], "\x05SummaryInformation": make_summary(program)})


@pytest.mark.parametrize(
    "program", ["Microsoft Excel", "WPS 表格", "WPS Office", "LibreOffice/7.4", "Microsoft Macintosh Excel"]
)
def test_f44_zeros_of_programs_that_calculate_are_results(tmp_path: Path, program: str) -> None:
    content = saved_by(program, ZEROS)
    assert read_program(read_streams(content)) == program
    rows, _ = read_bytes(tmp_path, content, ABC, "a.xls", type="xls")
    assert sound(rows, ABC) == [("张三", "0", "街"), ("李四", "0", "街")]


@pytest.mark.parametrize("program", ["", "Apache POI", "xlwt", "Etwas"])
def test_f44_zeros_of_other_programs_are_none(tmp_path: Path, program: str) -> None:
    assert refused(tmp_path, saved_by(program, ZEROS), "xls").rule_id == "delivery.uncalculated_formula"
    mixed = Sheet([*ZEROS.rows, ("王五", Formula("1+1", 2.0), "街")])
    rows, _ = read_bytes(tmp_path, saved_by(program, mixed), ABC, "a.xls", type="xls")
    assert (aside(rows), sound(rows, ABC)) == (
        [(2, "uncalculated"), (3, "uncalculated")],
        [("王五", "2", "街")],
    )


def test_f44_a_summary_that_is_none_names_no_program(tmp_path: Path) -> None:
    whole = make_summary("Microsoft Excel")
    said = {read_program({"\x05SummaryInformation": whole[:n]}) for n in range(len(whole))}
    assert all("Microsoft Excel".startswith(program) for program in said)
    assert read_program({}) == ""


# --- times outside of all calendars ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["xlsx", "xls", "xlsb"])
@pytest.mark.parametrize(
    ("number", "form"), [(-2e11, "yyyy-mm-dd"), (110105199001010017.0, "[h]:mm"), (-1e300, "[h]:mm")]
)
def test_f23_a_row_with_a_time_that_no_reader_can_tell_is_set_aside(
    tmp_path: Path, kind: str, number: float, form: str
) -> None:
    rows = [("张三", 1.0, "街"), ("李四", Shown(number, form), "街"), ("王五", 2.0, "街")]
    for above in (0, 70):  # within the rows that are read in search of the header, and below
        more = [("某", "1", "街")] * above
        content = make_book(kind, Sheet([ABC.columns, *more, *rows]))
        got, _ = read_bytes(tmp_path, content, ABC, f"a.{kind}", type=kind)
        assert aside(got) == [(3 + above, "out_of_range")]
        assert sound(got, ABC) == [*more, ("张三", "1", "街"), ("王五", "2", "街")]


# --- cells that stand twice ------------------------------------------------------------------------------


def test_f45_an_xls_cell_that_stands_twice_refuses_its_sheet(tmp_path: Path) -> None:
    streams = read_streams(make_book("xls", Sheet([ABC.columns, ("张三", 1.5, "街"), ("李四", 2.5, "街")])))
    stream = bytearray(streams["Workbook"])
    at = stream.index(struct.pack("<HHHH", 0x27E, 10, 2, 1))
    stream[at + 4 : at + 6] = struct.pack("<H", 1)  # the number of the third row moves to the second
    error = refused(tmp_path, make_compound({"Workbook": bytes(stream)}), "xls")
    assert (error.rule_id, "第 2 行" in str(error)) == ("delivery.structure", True)


@pytest.mark.parametrize("twice", ["cell", "row"])
def test_f45_an_xlsb_cell_or_row_that_stands_twice_refuses_its_sheet(tmp_path: Path, twice: str) -> None:
    content = make_book("xlsb", Sheet([ABC.columns, ("张三", 1.5, "街")]))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members: dict[str, str | bytes] = {n: archive.read(n) for n in archive.namelist()}
    name = "xl/worksheets/sheet1.bin"
    number = record(5, struct.pack("<IId", 1, 0, 1.5))
    more = number if twice == "cell" else record(0, struct.pack("<II", 1, 0) + bytes(9)) + number
    part = members[name]
    assert isinstance(part, bytes)
    members[name] = part.replace(number, number + more)
    assert members[name] != part
    error = refused(tmp_path, zip_members(members), "xlsb")
    assert (error.rule_id, "第 2 行" in str(error)) == ("delivery.structure", True)
