"""Manifests: one file that names the files of a delivery with their sizes and hashes (F-33).

A line names a file and its size, SHA-256 or MD5, in any order, separated by tabs, commas or blanks, or as ``sha256sum``
writes it; or the manifest is JSON: a list of ``{"name": …, "size": …, "sha256": …}``, or an object with such a list.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from guiji.errors import DeliveryRefused
from guiji.sources.formats.json import parse_json
from guiji.sources.remote_folder import Folder, Listed

LARGEST = 4 << 20
LARGEST_MARKER = 4096
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_MD5 = re.compile(r"[0-9a-fA-F]{32}")
_SHA256_WITHIN = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{64}(?![0-9a-fA-F])")
_MD5_WITHIN = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{32}(?![0-9a-fA-F])")
_SUMS = re.compile(r"([0-9a-fA-F]{64}|[0-9a-fA-F]{32}) [ *](.+)")


@dataclass(frozen=True)
class Stated:
    """What is said of a file."""

    size: int | None = None
    sha256: str | None = None
    md5: str | None = None

    def find_fault(self, path: Path, size: int, sha256: str) -> str | None:
        """What differs in the file that arrived, in a department's words."""
        if self.size is not None and self.size != size:
            return "大小"
        if self.sha256 is not None:
            return "SHA-256" if self.sha256 != sha256 else None
        if self.md5 is not None and self.md5 != md5_of(path):
            return "MD5"
        return None


def md5_of(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def read_marker(folder: Folder, file: Listed) -> Stated | None:
    """What a marker says of its file: a hash anywhere in it, or nothing but a size. None where it says nothing."""
    if not 0 < file.size <= LARGEST_MARKER:
        return None
    text = folder.read_small(file, LARGEST_MARKER).decode("utf-8", "replace").strip("\ufeff \t\r\n\0")
    if m := _SHA256_WITHIN.search(text):
        return Stated(sha256=m.group().lower())
    if m := _MD5_WITHIN.search(text):
        return Stated(md5=m.group().lower())
    return Stated(size=int(text)) if re.fullmatch(r"[0-9]{1,15}", text) else None


def read_manifest(folder: Folder, file: Listed, pattern: re.Pattern[str]) -> tuple[dict[str, Stated], list[str]]:
    """What is said of each file whose name matches ``pattern``, and the other names. Raises DeliveryRefused."""
    content = folder.read_small(file, LARGEST + 1)
    if len(content) > LARGEST:
        raise _refuse(file, f"清单超过 {LARGEST >> 20} MB。")
    if len(content) != file.size:  # still being written
        return {}, []
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("gb18030", "replace")
    ours: dict[str, Stated] = {}
    others = []
    for name, stated in _read_json(file, text) if text.lstrip()[:1] in ("[", "{") else _read_lines(text, pattern):
        if not pattern.fullmatch(name):
            others.append(name)
            continue
        if stated == Stated():
            raise _refuse(file, f"文件 {name} 没有写明大小或校验值。")
        if ours.setdefault(name, stated) != stated:
            raise _refuse(file, f"文件 {name} 写了两次，内容不同。")
    return ours, others


def _read_lines(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[str, Stated]]:
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if m := _SUMS.fullmatch(line):
            yield m[2], _read_cells([m[1]])
            continue
        separator = "\t" if "\t" in line else "," if "," in line else None
        cells = [c.strip().strip('"') for c in line.split(separator)]
        values = [c for c in cells if c.isdigit() or _SHA256.fullmatch(c) or _MD5.fullmatch(c)]
        names = [c for c in cells if pattern.fullmatch(c)] or [c for c in cells if c not in values and "." in c]
        if names:  # else a heading
            yield names[0], _read_cells([c for c in values if c != names[0]])


def _read_cells(cells: list[str]) -> Stated:
    sha256 = next((c.lower() for c in cells if _SHA256.fullmatch(c)), None)
    md5 = next((c.lower() for c in cells if _MD5.fullmatch(c)), None)
    size = next((int(c) for c in cells if c.isascii() and c.isdigit() and len(c) < 16), None)
    return Stated(size, sha256, md5)


def _read_json(file: Listed, text: str) -> Iterator[tuple[str, Stated]]:
    try:
        document = parse_json(text)
    except (ValueError, RecursionError):
        raise _refuse(file, "清单不是有效的 JSON。") from None
    if isinstance(document, dict):
        lists = [v for v in document.values() if isinstance(v, list)]
        document = lists[0] if len(lists) == 1 else None
    if not isinstance(document, list):
        raise _refuse(file, "清单中没有文件列表。")
    for entry in document:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            raise _refuse(file, "清单中有一项没有文件名（name）。")
        yield name, _read_cells([str(entry[k]) for k in ("size", "sha256", "md5") if entry.get(k) is not None])


def _refuse(file: Listed, why: str) -> DeliveryRefused:
    return DeliveryRefused(
        f"清单 {file.name}：{why}现有数据继续有效；请更正清单后重新提供。", rule_id="delivery.structure"
    )
