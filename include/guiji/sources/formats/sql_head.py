"""What the first and last lines of an SQL backup say: whose it is, in which encoding, and whether it is whole."""

from __future__ import annotations

import re
from pathlib import Path

from guiji.errors import DeliveryRefused
from guiji.sources.formats.charset import decide_charset
from guiji.sources.formats.encoding import detect_encoding, half_a_file
from guiji.sources.formats.media import ARCHIVES, detect_media_type

_POSTGRES = re.compile(
    rb"^-- PostgreSQL database|Target Server Type\s*:\s*PostgreSQL|^SET standard_conforming_strings|^COPY [^\n]+ FROM stdin;",
    re.M,
)
_MYSQL = re.compile(
    rb"^-- M(?:ySQL|ariaDB) dump|^/\*M?!\d{5}|phpMyAdmin|Navicat M|Target Server Type\s*:\s*M(?:ySQL|ariaDB)|HeidiSQL|^(?:CREATE TABLE|INSERT INTO) (?:IF NOT EXISTS )?`",
    re.M,
)
_BEGINNINGS = (
    (re.compile(rb"^-- PostgreSQL database (?:cluster )?dump\s*$", re.M), b"dump complete"),
    (re.compile(rb"^-- M(?:ySQL|ariaDB) dump ", re.M), b"-- Dump completed"),
)
_CHARSETS = (
    re.compile(rb"\bSET\s+NAMES\s+'?(\w+)", re.I),
    re.compile(rb"\bSET\s+client_encoding\s*(?:=|TO)\s*'?(\w+)", re.I),
)
#: the bytes were written as they lay there: nothing is said about what they mean
_SILENT = {"sql_ascii", "latin1", "binary"}


def refuse_packed(path: Path, what: str) -> None:
    """Raises DeliveryRefused for a backup that is packed (``pg_dump -Ft``, ``mysqldump | gzip``), and says so."""
    if (found := detect_media_type(path)) in ARCHIVES:
        kind = found.rsplit("/", 1)[-1].removeprefix("x-")
        raise DeliveryRefused(
            f"{what}：是 {kind} 格式的归档或压缩文件，不是文本格式的备份。现有数据继续有效；请导出为文本格式（pg_dump -Fp、mysqldump）"
            "后提供；整个文件压缩为 zip 或 gzip 的，由数据工程师在资源目录中写明 archive。",
            rule_id="delivery.structure",
        )


def find_dialect(head: bytes, declared: str, what: str) -> str:
    """``postgresql`` or ``mysql``. A backslash means something else in each, so that a guess would change values."""
    if head.startswith(b"PGDMP"):
        raise DeliveryRefused(
            f"{what}：是 pg_dump 的自定义格式，不是文本格式。现有数据继续有效；请用 pg_dump -Fp 重新导出后提供。",
            rule_id="delivery.structure",
        )
    if declared != "auto":
        return declared
    first = [begins.search(head[:4096]) for begins, _ in _BEGINNINGS]
    postgres, mysql = first if any(first) else (_POSTGRES.search(head), _MYSQL.search(head))
    if bool(postgres) == bool(mysql):
        raise DeliveryRefused(
            f"{what}：看不出是哪种数据库的备份。现有数据继续有效；请用 pg_dump 或 mysqldump 的默认设置重新导出，"
            "或由数据工程师在资源目录中写明 dialect。",
            rule_id="delivery.structure",
        )
    return "postgresql" if postgres else "mysql"


def check_end(path: Path, head: bytes, what: str) -> None:
    """Raises DeliveryRefused when a backup that says where it begins does not say that it is complete."""
    for begins, ends in _BEGINNINGS:
        if begins.search(head[:4096]):
            with path.open("rb") as f:
                f.seek(max(0, path.stat().st_size - 4096))
                if ends not in f.read():
                    raise half_a_file(what)


def find_script_encoding(path: Path, head: bytes, declared: str, dialect: str, what: str) -> str:
    """``utf-8`` or ``gb18030``: what the catalog declares, else what the script says, else what the bytes prove."""
    m = _CHARSETS[dialect == "postgresql"].search(head)
    said = m[1].decode().lower() if m else ""
    if declared != "auto":
        said = declared
    elif said in _SILENT or not said:
        found = detect_encoding(path, "auto", what)
        if found == "utf-16":
            said = found
        else:
            return found
    return decide_charset(path, said, what)
