"""What a file that goes by the name of a spreadsheet really is, by its first bytes and its members.

Much of what business systems export as .xls is a web page or 2003 XML; these are read as what they are, for opening and
saving them in a spreadsheet program costs long numbers their last digits. Of anything else a department is told what its
file is, and how it becomes a workbook.
"""

from __future__ import annotations

import codecs
import re
import zipfile
from pathlib import Path
from typing import NoReturn

from guiji.errors import DeliveryRefused
from guiji.sources.formats import workbook as limits
from guiji.sources.formats.media import ARCHIVES, EMPTY, detect_media_type
from guiji.sources.formats.workbook import refuse_damaged, refuse_encrypted, refuse_unreadable, refuse_workbook

_ODS = b"application/vnd.oasis.opendocument.spreadsheet"
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|meta|table|tr|td|style|script|body|div|center|font)[\s>]", re.I)
_SPREADSHEET_NAME = re.compile(r"(?i).*\.(?:xlsx|xlsm|xls|xlsb|ods|et|csv)")
_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
#: a mark within the first bytes of a text -> the kind
_MARKUP = ((b"schemas-microsoft-com:office:spreadsheet", "xml2003"), (_ODS, "fods"))
#: the first record of Excel 2 to 4, and of later ones without a container
_BARE_XLS = re.compile(rb"\x09[\x00\x02\x04\x08][\x04\x06\x08\x10]\x00")
_AS_CSV = "请另存为 xlsx，或请数据中心将该资源的格式约定为 csv"


def detect_kind(path: Path, what: str) -> str:
    """xlsx, xls, xlsb, ods, fods, html or xml2003, by content. Raises DeliveryRefused for anything else, and says what it is."""
    with path.open("rb") as f:
        head = f.read(8192)
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return "xls"
    if head.startswith(b"PK\x03\x04"):
        return _detect_member(path, what)
    return _detect_text(head) or _refuse_other(path, head, what)


def _detect_text(head: bytes) -> str | None:
    if head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"mime-version:", b"from:")):
        return None  # web pages in the form of a mail
    text = _plain(head)
    if not head.startswith(_BOMS) and any(byte < 9 for byte in text[:4096]):
        return None
    for mark, kind in _MARKUP:
        if mark in text:
            return kind
    return "html" if _HTML.search(text[:4096]) else None


def _plain(head: bytes) -> bytes:
    return head.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n\x00").replace(b"\x00", b"")


def _refuse_other(path: Path, head: bytes, what: str) -> NoReturn:
    media = detect_media_type(path)
    if media == EMPTY:
        refuse_workbook(what, "文件是空的", "请完整提供该文件", "delivery.half_a_file")
    if media in ARCHIVES:
        refuse_workbook(what, "其实是压缩文件，只是文件名像电子表格", "请解压")
    for beginning, name in (("image/", "图片"), ("application/pdf", " PDF 文件")):
        if media.startswith(beginning):
            refuse_workbook(what, f"其实是{name}，不是电子表格", "请换成电子表格")
    if _BARE_XLS.match(head):
        refuse_workbook(what, "是旧版 Excel（4.0 及更早）的表格，无法可靠读取", "请在 Excel 或 WPS 中打开并另存为 xlsx")
    text = _plain(head)
    if text.lower().startswith((b"mime-version:", b"from:")):
        refuse_workbook(what, "其实是单个文件的网页（mht），不是电子表格", "请从业务系统重新导出为 xlsx 或 CSV")
    if text.startswith(b"<?xml"):
        refuse_workbook(what, "其实是 XML 文件，不是电子表格", "请另存为 xlsx，或请数据中心将该资源的格式约定为 xml")
    if head.startswith(_BOMS) or (len(text) > 8 and b"\x00" not in head and _is_text(head)):
        refuse_workbook(what, "其实是文本（CSV 等），只是文件名像电子表格", _AS_CSV)
    refuse_workbook(what, "不是完整的电子表格，可能只上传了一部分", "请完整上传该文件", "delivery.half_a_file")


def _is_text(head: bytes) -> bool:
    if any(byte < 9 for byte in head):
        return False
    for encoding in ("utf-8", "gb18030"):
        try:
            head[: len(head) - 3 if len(head) > 4000 else len(head)].decode(encoding)
        except UnicodeDecodeError as error:
            if error.start < len(head) - 8:
                continue
        return True
    return False


def _detect_member(path: Path, what: str) -> str:
    """The kind of a zip container, whose size is checked here."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [e.filename for e in entries]
            _check_container(path, entries, what)
            is_ods = "mimetype" in names and archive.open("mimetype").read(200).startswith(_ODS)
    except DeliveryRefused:
        raise
    except Exception as exc:
        refuse_unreadable(exc, what)
    lower = {n.lower() for n in names}
    if is_ods:
        return "ods"
    if "xl/workbook.bin" in lower:
        return "xlsb"
    if any(n.endswith("workbook.xml") for n in lower):
        return "xlsx"
    if any(map(_SPREADSHEET_NAME.fullmatch, names)):
        refuse_workbook(
            what, "是压缩文件，电子表格在压缩文件之内", "请解压，或请数据中心在资源目录中登记（archive: zip）"
        )
    refuse_workbook(what, "是压缩文件，但不是电子表格", "请另存为 xlsx")


def _check_container(path: Path, entries: list[zipfile.ZipInfo], what: str) -> None:
    total = sum(e.file_size for e in entries)
    packed = max(1, path.stat().st_size)
    too_many = len(entries) > limits.MAX_ENTRIES
    if too_many or total > limits.MAX_UNPACKED or (total > 50 << 20 and total / packed > limits.MAX_RATIO):
        refuse_workbook(what, f"解压后约 {total >> 20} MB，超出允许的大小", "请拆分或改用 CSV", "delivery.too_large")
    if any(e.flag_bits & 1 for e in entries):
        refuse_encrypted(what)
    if len({e.filename for e in entries}) < len(entries):  # readers disagree on which of the two counts
        refuse_damaged(what)
