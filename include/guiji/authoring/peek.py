"""A first look into forms that hold more than one table: archives, XML documents, table backups, layers with a system."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from guiji.errors import DeliveryRefused, UsageError

#: XML elements, and bytes of a backup, that are looked at
_ELEMENTS = 100_000
_BACKUP_BYTES = 64 << 20
_TABLE = re.compile(
    rb"^\s*(?:CREATE TABLE(?: IF NOT EXISTS)?|INSERT INTO|COPY)\s+([`\"\w$.\x80-\xff]+)", re.MULTILINE | re.IGNORECASE
)


def unpack_first(path: Path, name: str, scratch: Path) -> tuple[Path, dict[str, Any]]:
    """(a member of the archive as a file in ``scratch``, the keys of ``format`` that lead to it and its like).

    Raises DeliveryRefused for an archive that the pipeline would refuse, UsageError for one that holds several forms.
    """
    from guiji.sources.formats.archive import choose_members, plain_suffix, refuse_nested, unpack_gzip, unpack_to
    from guiji.sources.formats.zip_file import Budget, list_members

    what = f"文件 {name}"
    budget = Budget(path.stat().st_size, what)
    if path.suffix.lower() in (".gz", ".gzip"):
        target = scratch / f"inner{plain_suffix(Path(name).stem)}"
        unpack_gzip(path, target, budget, what)
        return target, {"archive": "gzip"}
    from guiji.records import ReadReport

    members = choose_members(list_members(path, what), None, ReadReport(), what)
    endings = Counter(plain_suffix(m.name).lower() for m in members)
    if ".shp" in endings:
        return path, {"archive": "zip", **({"member": r".*\.shp"} if len(endings) > 4 or endings[".shp"] > 1 else {})}
    read = [e for e in endings if e not in (".txt", ".doc", ".docx", ".pdf", ".md", ".png", ".jpg", ".ok", "")] or list(
        endings
    )
    if len(read) > 1:
        raise UsageError(
            f"{name} holds files of several forms ({', '.join(sorted(read))}). Nothing was written; unpack it and "
            "draft a resource from each, with format.archive and format.member."
        )
    member = next(m for m in members if plain_suffix(m.name).lower() == read[0])
    target = scratch / f"inner{read[0]}"
    unpack_to(path, member, target, budget, what)
    refuse_nested(target, member.name, what)
    only = {"member": f".*{re.escape(read[0])}"} if len(endings) > 1 else {}
    return target, {"archive": "zip", **only}


def find_record_path(path: Path, what: str) -> str:
    """The path of the element that repeats in an XML document, as ``format.records`` takes it. Raises DeliveryRefused."""
    from guiji.sources.formats.xml import read_elements

    counts: Counter[tuple[str, ...]] = Counter()
    parents: set[tuple[str, ...]] = set()
    for here, has_attributes in itertools.islice(read_elements(path, what), _ELEMENTS):
        counts[here] += 1
        parents.add(here[:-1])
        if has_attributes:
            parents.add(here)
    repeated = [p for p, n in counts.items() if n > 1 and p in parents]
    found = min(repeated, key=len, default=None) or max(parents - {()}, key=len, default=None)
    if found is None:
        raise DeliveryRefused(
            f"{what}：没有找到重复出现的记录元素。没有生成任何内容；请确认文件内容。", rule_id="delivery.structure"
        )
    return "/".join(found)


_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')


def find_record_lists(text: str) -> dict[tuple[str, ...], int]:
    """Path of keys -> objects, of every list of objects that lies in objects only, as far as ``text`` goes. Nothing of a
    document that is a list itself, or of several documents one after another (JSON lines)."""
    found: dict[tuple[str, ...], int] = {}
    #: of each open object the key that is being read; of each open list None
    stack: list[str | None] = []
    last = ""
    for match in _JSON_TOKEN.finditer(text):
        part = match.group()
        if not stack and (last or part != "{"):
            return {}
        if part == "{":
            if len(stack) > 1 and stack[-1] is None and None not in stack[:-1]:
                place = tuple(str(k) for k in stack[:-1])
                found[place] = found.get(place, 0) + 1
            stack.append("")
        elif part == "[":
            stack.append(None)
        elif part in "}]":
            stack.pop()
        elif part == ":" and stack and stack[-1] is not None:
            stack[-1] = _read_key(last)
        last = part
    return found


def _read_key(token: str) -> str:
    """A key as its reader takes it; as it is written where that is no JSON, which the reader refuses."""
    try:
        return str(json.loads(token, strict=False))
    except ValueError:
        return token[1:-1]


def find_backup_table(path: Path, wanted: str | None, what: str) -> str:
    """The one table of an SQL backup, or the one that is wanted. Raises UsageError that names them where there are several."""
    with path.open("rb") as f:
        head = f.read(_BACKUP_BYTES)
    names = [_plain_name(n) for n in _TABLE.findall(head)]
    tables = list(dict.fromkeys(names))
    if wanted is not None:
        return wanted
    if len(tables) == 1:
        return tables[0]
    if not tables:
        raise UsageError(f"{what} holds no table that is read. Nothing was written; check that it is a table backup.")
    raise UsageError(
        f"{what} holds {len(tables)} tables: {', '.join(tables[:20])}. Nothing was written; name one with --sheet."
    )


def _plain_name(raw: bytes) -> str:
    for encoding in ("utf-8", "gb18030"):
        try:
            return raw.decode(encoding).replace("`", "").replace('"', "")
        except UnicodeDecodeError:
            continue
    return raw.decode("utf-8", "replace")
