"""Whether a document or image has its end, as far as its form has one that can be looked for (F-33)."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import BinaryIO

from guiji.errors import DeliveryRefused
from guiji.sources.formats.zip_file import list_members

_CHUNK = 1 << 20
_LINEARIZED = re.compile(rb"/Linearized\b[^>]{0,200}?/L\s+(\d{1,12})\b")


def has_its_end(path: Path, media_type: str, *, is_packed: bool) -> bool:
    """False when the file breaks off; true for a form that has no end to look for. ``is_packed``: it is a zip archive."""
    if is_packed:
        try:
            list_members(path, "")
        except DeliveryRefused:
            return False
        return True
    size = path.stat().st_size
    with path.open("rb") as f:
        if media_type == "application/pdf":
            return _ends_pdf(f, size)
        if media_type == "image/jpeg":
            return _ends_jpeg(f, size)
        if media_type == "image/png":
            return _ends_png(f, size)
        if media_type == "image/gif":
            f.seek(max(0, size - _CHUNK))
            return f.read().rstrip(b"\0\r\n").endswith(b";")
        if media_type == "image/webp":
            return size >= 8 + int.from_bytes(f.read(8)[4:], "little")
        if media_type in ("video/mp4", "image/heic"):
            return _ends_boxes(f, size)
    return True


def _ends_pdf(f: BinaryIO, size: int) -> bool:
    """A linearized PDF has an end mark near its beginning too, and says how long it is."""
    if (m := _LINEARIZED.search(f.read(1024))) and int(m[1]) > size:
        return False
    f.seek(max(0, size - _CHUNK))
    return b"%%EOF" in f.read().rstrip(b"\0")[-4096:]  # some systems fill up to whole blocks


def _ends_jpeg(f: BinaryIO, size: int) -> bool:
    """The end of the picture itself: a thumbnail in its head has one of its own, and a telephone's film may follow."""
    f.seek(2)
    while True:
        mark = f.read(1)
        if not mark:
            return False
        if mark != b"\xff":  # some scanners fill up between the parts of the head, and every viewer passes over it
            f.seek(max(0, size - (_CHUNK >> 4)))
            return b"\xff\xd9" in f.read()
        while mark == b"\xff":
            mark = f.read(1)
        if mark == b"\xda":
            break
        if mark == b"\xd9":
            return True
        length = f.read(2)
        if len(length) < 2:
            return False
        f.seek(int.from_bytes(length, "big") - 2, os.SEEK_CUR)
    before = b""
    while chunk := f.read(_CHUNK):
        if b"\xff\xd9" in before + chunk:
            return True
        before = chunk[-1:]
    return False


def _ends_png(f: BinaryIO, size: int) -> bool:
    at = 8
    while True:
        f.seek(at)
        head = f.read(8)
        at += 12 + int.from_bytes(head[:4], "big")
        if len(head) < 8 or at > size:
            return False
        if head[4:] == b"IEND":
            return True


def _ends_boxes(f: BinaryIO, size: int) -> bool:
    """MP4 and its kin are boxes one after another, each with its length."""
    at = 0
    while at < size:
        f.seek(at)
        head = f.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0:  # to the end of the file
            return True
        if len(head) < 8:
            return at > 0  # a few bytes behind the last box
        if length < 8 or at + length > size:
            return False
        at += length
    return True
