"""zip and gzip: what is in them arrives whole, under its name and within limits, or the archive is refused."""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from delivering import Row, expect, make_resource, open_at, plain_settings, read_bytes, rows_of, sound
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guiji.errors import DeliveryRefused
from guiji.sources.formats import archive as archive_module
from guiji.sources.formats import zip_file
from guiji.sources.formats.zip_file import Budget, list_members, unpack_member

AB = expect("a", "b")
CSV = "a,b\n1,一\n2,二\n".encode()
ROWS: list[Row] = [("1", "一"), ("2", "二")]


def pack(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive as Python's ``zipfile`` writes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, content in members:
            z.writestr(zipfile.ZipInfo(name, (2026, 10, 1, 8, 0, 0)), content, method)
    return out.getvalue()


def craft(
    *members: tuple[bytes, bytes], flags: int = 0, method: int = 0, made_by: int = 3, mode: int = 0, **lies: Any
) -> bytes:
    """A zip archive built by hand, stored, so that its headers can say what no writer would."""
    body, directory = b"", b""
    for name, content in members:
        crc = zlib.crc32(content)
        local = struct.pack(
            "<4s5H3I2H", b"PK\x03\x04", 20, flags, method, 0, 33, crc, len(content), len(content), len(name), 0
        )
        size = lies.get("size", len(content))
        directory += struct.pack(
            "<4s6H3I5H2I", b"PK\x01\x02", made_by << 8, 20, flags, method, 0, 33, crc, len(content), size,
            len(name), 0, 0, 0, 0, mode << 16, lies.get("offset", len(body)),
        ) + name  # fmt: skip
        body += local + name + content
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, len(members), len(members), len(directory), len(body), 0)
    return body + directory + end


def read(tmp_path: Path, content: bytes, name: str = "a.zip", **form: Any) -> tuple[list[dict[str, Any]], Any]:
    return read_bytes(tmp_path, content, AB, name, **{"archive": "zip", **form})


def refusal(tmp_path: Path, content: bytes, name: str = "a.zip", **form: Any) -> str:
    """The rule by which the archive is refused; nothing of it is left in the folder."""
    with pytest.raises(DeliveryRefused) as refused:
        read(tmp_path, content, name, **form)
    assert os.listdir(tmp_path) == [name]
    assert "现有数据继续有效" in str(refused.value)
    return refused.value.rule_id.removeprefix("delivery.")


def test_members_are_read_one_after_another_with_their_name_and_line(tmp_path: Path) -> None:
    content = pack(("b.csv", b"a,b\n3,x\n"), ("sub/a.csv", CSV), ("说明.txt", b"read me"), ("__MACOSX/._b.csv", b"\0"))
    rows, report = read(tmp_path, content, member=r".*\.csv")
    assert [(r["_origin"], r["_line"], r["a"]) for r in rows] == [
        ("a.zip!b.csv", 2, "3"),
        ("a.zip!sub/a.csv", 2, "1"),
        ("a.zip!sub/a.csv", 3, "2"),
    ]
    assert report.notes == ["文件 a.zip：压缩包中另有 1 个文件不在约定之内，未读取"]
    assert os.listdir(tmp_path) == ["a.zip"]


@pytest.mark.parametrize(
    ("type_", "content"),
    [("csv", CSV), ("json", '[{"a":1,"b":"一"},{"a":2,"b":"二"}]'.encode())],
)
def test_any_form_may_be_packed(tmp_path: Path, type_: str, content: bytes) -> None:
    assert sound(read(tmp_path, pack(("x", content)), type=type_)[0], AB) == ROWS
    rows, _ = read(tmp_path, gzip.compress(content), "a.csv.gz", archive="gzip", type=type_)
    assert sound(rows, AB) == ROWS
    assert {r["_origin"] for r in rows} == {"a.csv.gz!a.csv"}


def test_a_workbook_is_a_file_and_not_an_archive_within_the_archive(tmp_path: Path) -> None:
    import xlsxwriter

    with xlsxwriter.Workbook(tmp_path / "w.xlsx") as book:
        sheet = book.add_worksheet()
        for i, row in enumerate([("a", "b"), *ROWS]):
            sheet.write_row(i, 0, row)
    content = (tmp_path / "w.xlsx").read_bytes()
    assert sound(read(tmp_path, pack(("w.xlsx", content)), type="xlsx")[0], AB) == ROWS


def test_a_missing_member_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, pack(("b.txt", b"x")), member=r".*\.csv") == "missing_member"
    assert refusal(tmp_path, pack()) == "missing_member"


# --- F-40: names --------------------------------------------------------------------------------------


def test_f40_gbk_and_utf8_names_are_read(tmp_path: Path) -> None:
    gbk = craft(("企业名录.csv".encode("gb18030"), CSV))
    unflagged = craft(("企业名录.csv".encode(), CSV))
    for content in (gbk, unflagged, pack(("企业名录.csv", CSV))):
        rows, _ = read(tmp_path, content, member="企业名录.csv")
        assert {r["_origin"] for r in rows} == {"a.zip!企业名录.csv"}
        assert sound(rows, AB) == ROWS
    assert refusal(tmp_path, craft(("企业.csv".encode("gb18030"), CSV), flags=0x800)) == "structure"


def test_f40_the_unicode_path_field_names_the_member() -> None:
    raw = "╚╦┐┌.csv".encode("cp437")
    field = struct.pack("<BI", 1, zlib.crc32(raw)) + "人口.csv".encode()
    extra = struct.pack("<2H", 0x7075, len(field)) + field
    assert zip_file.decode_member_name(raw, 0, extra) == "人口.csv"
    assert zip_file.decode_member_name(raw, 0, b"") == "人口.csv"  # GBK bytes shown as cp437
    assert zip_file.decode_member_name(b"other", 0, extra) == "other"


# --- F-41: bombs --------------------------------------------------------------------------------------


def test_f41_a_bomb_is_stopped_while_it_unpacks(tmp_path: Path) -> None:
    bomb = pack(("a.csv", b"a,b\n" + b"0" * (50 << 20)))
    assert len(bomb) < 60_000
    assert refusal(tmp_path, bomb) == "too_large"
    assert refusal(tmp_path, gzip.compress(b"0" * (50 << 20)), archive="gzip") == "too_large"
    many = pack(*((f"{i}.csv", b"a,b\n1," + b"0" * (4 << 20) + b"\n") for i in range(10)))
    assert refusal(tmp_path, many) == "too_large"


def test_f41_what_the_directory_claims_does_not_help(tmp_path: Path) -> None:
    """A member that claims to be small, and is not, is refused at that length; one that is shorter too."""
    content = b"a,b\n" + b"1,x\n" * 1000
    assert refusal(tmp_path, craft((b"a.csv", content), size=100)) == "archive"
    assert refusal(tmp_path, craft((b"a.csv", content), size=10_000)) == "archive"
    honest = bytearray(pack(("a.csv", content)))
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", honest, honest.index(signature) + at, 100)
    assert refusal(tmp_path, bytes(honest)) == "archive"
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", honest, honest.index(signature) + at, len(content) + 1)
    assert refusal(tmp_path, bytes(honest)) == "half_a_file"


def test_f41_overlapping_members_are_refused(tmp_path: Path) -> None:
    inner = (
        struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 33, zlib.crc32(CSV), len(CSV), len(CSV), 5, 0)
        + b"b.csv"
        + CSV
    )
    outer = craft((b"a.csv", inner), (b"b.csv", CSV))
    # the second entry's data lie within the first one's
    at = outer.rindex(b"PK\x01\x02") + 42
    crafted = bytearray(outer)
    struct.pack_into("<I", crafted, at, 30 + 5)
    assert refusal(tmp_path, bytes(crafted)) == "archive"
    assert "重叠" in why(tmp_path, bytes(crafted))


def why(tmp_path: Path, content: bytes, **form: Any) -> str:
    with pytest.raises(DeliveryRefused) as refused:
        read(tmp_path, content, **form)
    return str(refused.value)


def test_f41_archives_within_archives_are_refused(tmp_path: Path) -> None:
    """Also an archive that holds itself, which never ends."""
    inner = pack(("a.csv", CSV))
    assert refusal(tmp_path, pack(("lib0.zip", inner), ("lib1.zip", inner))) == "archive"
    assert "多层压缩" in why(tmp_path, pack(("a.csv", inner)))
    assert refusal(tmp_path, pack(("a.csv", gzip.compress(CSV)))) == "archive"
    assert refusal(tmp_path, gzip.compress(gzip.compress(CSV)), archive="gzip") == "archive"
    assert refusal(tmp_path, gzip.compress(inner), archive="gzip") == "archive"


def test_f41_too_many_entries_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_file, "MAX_ENTRIES", 3)
    read(tmp_path, pack(*((f"{i}.csv", CSV) for i in range(3))))
    assert refusal(tmp_path, pack(*((f"{i}.csv", CSV) for i in range(4)))) == "too_large"
    monkeypatch.setattr(archive_module, "MAX_STREAMS", 3)
    assert sound(read(tmp_path, gzip.compress(CSV) + gzip.compress(b"") * 2, archive="gzip")[0], AB) == ROWS
    assert refusal(tmp_path, gzip.compress(CSV) + gzip.compress(b"") * 3, archive="gzip") == "too_large"


def test_f41_the_total_is_limited_over_all_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_file, "MAX_UNPACKED", 2 * len(CSV))
    read(tmp_path, pack(("1.csv", CSV), ("2.csv", CSV)))
    assert refusal(tmp_path, pack(("1.csv", CSV), ("2.csv", CSV), ("3.csv", CSV))) == "too_large"


# --- F-42: names that lead out ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("../evil.csv", "a/../../evil.csv", "..\\evil.csv", "../../../../etc/cron.d/x", "..", "."),
        *("/abs.csv", "\\abs.csv", "\\\\host\\share.csv", "C:\\a.csv", "c:evil.csv", "a\x00.csv", "a\nb.csv"),
    ],
)
def test_f42_names_that_lead_out_refuse_the_archive(tmp_path: Path, name: str) -> None:
    """Also where another member is the one that is asked for, and where the name is the directory's only."""
    content = craft((b"good.csv", CSV), (name.encode(), CSV))
    assert refusal(tmp_path, content, member="good.csv") == "archive"
    assert not (tmp_path.parent / "evil.csv").exists()


@pytest.mark.parametrize(
    "pair", [("a.csv", "a.csv"), ("a.csv", "A.CSV"), ("d/a.csv", "d\\a.csv"), ("a.csv", "./a.csv")]
)
def test_f42_two_members_of_one_name_refuse_the_archive(tmp_path: Path, pair: tuple[str, str]) -> None:
    assert refusal(tmp_path, craft(*((n.encode(), CSV) for n in pair))) == "archive"


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_f42_links_and_devices_refuse_the_archive(tmp_path: Path, kind: int) -> None:
    assert refusal(tmp_path, craft((b"a.csv", b"/etc/passwd"), mode=kind | 0o777)) == "archive"
    assert sound(read(tmp_path, craft((b"a.csv", CSV), mode=stat.S_IFREG | 0o644))[0], AB) == ROWS


def test_f42_directory_and_member_header_must_name_the_same(tmp_path: Path) -> None:
    content = craft((b"a.csv", CSV))
    for old, new in ((b"a.csv", b"b.csv"), (b"PK\x01\x02", b"PK\x01\x03")):
        at = content.rindex(old)
        assert refusal(tmp_path, content[:at] + new + content[at + len(new) :]) in ("archive", "structure")


# --- half, damaged, encrypted -------------------------------------------------------------------------


def test_f33_a_cut_archive_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    whole = pack(("a.csv", CSV), ("b.csv", CSV))
    assert {refusal(tmp_path, whole[:n]) for n in range(2, len(whole))} == {"half_a_file"}
    packed = gzip.compress(CSV)
    assert {refusal(tmp_path, packed[:n], archive="gzip") for n in range(2, len(packed))} == {"half_a_file"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_f33_no_flipped_bit_changes_a_cell(tmp_path: Path, method: int) -> None:
    """Refused, or read as it was: a bit of a time stamp says nothing about the rows."""
    whole = pack(("a.csv", CSV), method=method)
    outcomes = [outcome_of(tmp_path, flip(whole, bit), archive="zip") for bit in range(0, 8 * len(whole), 3)]
    assert {str(o) for o in outcomes} == {"refused", str(ROWS)}
    assert outcomes.count("refused") > len(outcomes) * 3 // 4
    packed = gzip.compress(CSV)
    outcomes = [outcome_of(tmp_path, flip(packed, bit), archive="gzip") for bit in range(8 * len(packed))]
    assert {str(o) for o in outcomes} == {"refused", str(ROWS)}


def flip(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def outcome_of(tmp_path: Path, content: bytes, **form: Any) -> object:
    try:
        return sound(read(tmp_path, content, **form)[0], AB)
    except DeliveryRefused:
        return "refused"


def test_bytes_before_and_behind_an_archive_are_refused(tmp_path: Path) -> None:
    whole, packed = pack(("a.csv", CSV)), gzip.compress(CSV)
    assert refusal(tmp_path, whole + b"garbage") == "half_a_file"
    assert refusal(tmp_path, b"PK" + b"x" * 50 + whole) == "archive"
    assert refusal(tmp_path, whole + whole) == "archive"
    assert refusal(tmp_path, packed + b"garbage", archive="gzip") == "half_a_file"
    assert refusal(tmp_path, packed + b"\0" * 600_000 + b"x", archive="gzip") == "half_a_file"
    assert sound(read(tmp_path, packed + b"\0" * 600_000, archive="gzip")[0], AB) == ROWS  # padding of a tape or block
    assert sound(read(tmp_path, gzip.compress(CSV[:6]) + gzip.compress(CSV[6:]), archive="gzip")[0], AB) == ROWS


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, CSV) == "structure"
    assert refusal(tmp_path, CSV, archive="gzip") == "structure"
    assert refusal(tmp_path, b"") == "structure"


def test_encrypted_archives_are_refused_with_a_clear_word(tmp_path: Path) -> None:
    for content in (
        craft((b"a.csv", CSV), flags=1),
        craft((b"a.csv", CSV), method=99),
        craft((b"a.csv", CSV), flags=0x2000),
    ):
        assert refusal(tmp_path, content) == "encrypted"
        assert "已加密" in why(tmp_path, content)


def test_other_methods_and_volumes_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, pack(("a.csv", CSV), method=zipfile.ZIP_LZMA)) == "archive"
    volume = bytearray(pack(("a.csv", CSV)))
    struct.pack_into("<2H", volume, len(volume) - 22 + 4, 1, 1)
    assert refusal(tmp_path, bytes(volume)) == "half_a_file"


# --- everything a real writer writes ------------------------------------------------------------------

names = st.text(st.characters(codec="gb18030", categories=("L", "N")), min_size=1, max_size=8)


class Unseekable(io.RawIOBase):
    """A pipe: the writer must put lengths behind the data."""

    def __init__(self) -> None:
        self.content = io.BytesIO()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self.content.write(data)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        names, st.binary(max_size=400) | st.binary(max_size=4).map(lambda b: b * 5000), min_size=1, max_size=5
    ),
    st.booleans(),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    st.booleans(),
)
def test_any_archive_comes_back(
    tmp_path: Path, members: dict[str, bytes], piped: bool, method: int, zip64: bool
) -> None:
    folded = {n.casefold() for n in members}
    if len(folded) < len(members):
        return
    pipe = Unseekable()
    path = tmp_path / "any.zip"
    with zipfile.ZipFile(pipe if piped else path, "w", method) as z:
        for name, content in members.items():
            with z.open(zipfile.ZipInfo(name), "w", force_zip64=zip64) as f:
                f.write(content)
    if piped:
        path.write_bytes(pipe.content.getvalue())
    found = {}
    for member in list_members(path, "x"):
        pieces: list[bytes] = []
        unpack_member(path, member, pieces.append, Budget(1 << 20, "x"), "x")
        found[member.name] = b"".join(pieces)
    assert found == members


def test_a_delivery_in_a_zip_goes_the_usual_way(tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    (folder / "20261019.zip").write_bytes(pack(("数据.csv", CSV)))
    form = {"type": "csv", "archive": "zip", "member": r".*\.csv"}
    source = {"kind": "files", "directory": str(folder), "pattern": r"(?P<date>\d{8})\.zip", "format": form}
    delivery = open_at(make_resource(source, ["a", "b"]), plain_settings(tmp_path), tmp_path / "scratch")
    assert rows_of(delivery) == ROWS
    assert list((tmp_path / "scratch").iterdir()) == []


def test_what_a_mac_or_an_office_program_leaves_beside_a_file_is_no_member(tmp_path: Path) -> None:
    files = [("a.csv", CSV), ("._a.csv", b"\0\5\x16\7"), ("数据\\~$b.csv", b"x"), ("__MACOSX/._a.csv", b"")]
    rows, report = read(tmp_path, pack(*files), member=r".*\.csv")
    assert (sound(rows, AB), {r["_origin"] for r in rows}, report.notes) == (ROWS, {"a.zip!a.csv"}, [])


def test_f40_a_member_is_found_by_the_last_part_of_its_name_however_folders_are_parted(tmp_path: Path) -> None:
    for name in ("数据/库存.csv", "数据\\库存.csv"):
        rows, _ = read(tmp_path, pack((name, CSV), ("别的.csv", b"x")), member="库存.*")
        assert (sound(rows, AB), {r["_origin"] for r in rows}) == (ROWS, {f"a.zip!{name}"})
