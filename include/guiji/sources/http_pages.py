"""The pages of an interface, each once and in order, whatever it says about itself (F-47).

Pages end with an empty one, when the declared total is reached, or when no next one is named; never with a short one.
What would go on silently wrong is an error: a page that comes twice, a total that changes or is not met, a page that
does not join the one before it. By page numbers without a total, rows deleted between two pages can't be seen: the
report says so.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from guiji.errors import DeliveryRefused, SourceUnavailable
from guiji.sources.formats.json import dump_json, find_path
from guiji.sources.http_client import Answer, Call, Interface

if TYPE_CHECKING:
    from guiji.records import ReadReport

_MB = 1 << 20
_LINK = re.compile(r"\s*<([^<>]*)>((?:\s*;\s*[^\s=;,]+(?:\s*=\s*(?:\"(?:[^\"\\]|\\.)*\"|[^\s;,\"]*))?)*)\s*(?:,|$)")
_ATTRIBUTE = re.compile(r";\s*([^\s=;,]+)\s*(?:=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;,\"]*)))?")


@dataclass(frozen=True)
class Page:
    """The records of one answer; ``texts`` holds each as text."""

    records: list[Any]
    texts: list[str]
    total: int | None
    next: str | None
    digest: bytes
    size: int


@dataclass
class _Progress:
    """What is known after some pages."""

    pages: int = 0  # with records
    count: int = 0
    size: int = 0  # bytes
    total: int | None = None
    digests: set[bytes] = field(default_factory=set)
    positions: set[str] = field(default_factory=set)
    last: list[str] = field(default_factory=list)  # the records of the page before, as text
    repeated: int = 0


def read_pages(
    interface: Interface, parameters: Mapping[str, str], body: Mapping[str, Any], report: ReadReport
) -> Iterator[Page]:
    """Every page that has records. Raises DeliveryRefused for paging that does not get on and a total that is not
    met, SourceUnavailable when the data changed meanwhile."""
    paging = interface.source.paging
    so_far = _Progress()
    position: str | None = {"page": str(paging.first), "offset": "0"}.get(paging.style)
    for number in range(1, paging.max_pages + 2):
        if number > paging.max_pages:
            raise _refuse(interface, f"超过 {paging.max_pages} 页仍未结束。", "请检查分页后重新提供。")
        link = position if paging.style == "link" else None
        call = make_call(interface, parameters, body, position if link is None else None, link)
        page = _read_page(interface, call, first=number == 1)
        fresh = _account(interface, so_far, page, number, report)
        if fresh.records:
            yield fresh
        position = _find_next(interface, so_far, page, fresh, position)
        if position is None:
            break
    if so_far.total is not None and so_far.count != so_far.total:
        raise DeliveryRefused(
            f"{interface.what}：声明共 {so_far.total} 条，实际读到 {so_far.count} 条。现有数据继续有效；请修复接口后重新提供。",
            rule_id="delivery.total",
        )
    _note_doubt(interface, so_far, report)


def make_call(
    interface: Interface, parameters: Mapping[str, str], body: Mapping[str, Any], position: str | None, link: str | None
) -> Call:
    """The question for one page. A link is taken as it is: its query already says which page."""
    paging = interface.source.paging
    in_body = (paging.place or ("body" if interface.source.method == "post" else "query")) == "body"
    asked: dict[str, str | int] = {}
    if position is not None:
        asked[paging.parameter] = position if paging.style == "cursor" else int(position)
    if paging.style != "none" and paging.size_parameter:
        asked[paging.size_parameter] = paging.size
    if in_body:
        body = dict(body)
        for path, value in asked.items():
            _put(body, path, value)
        asked = {}
    if link is not None:
        return Call((), body, link)
    return Call(tuple({**parameters, **{k: str(v) for k, v in asked.items()}}.items()), body)


def _put(body: dict[str, Any], path: str, value: str | int) -> None:
    *above, name = path.split(".")
    for step in above:
        inner = body.get(step)
        body[step] = body = dict(inner) if isinstance(inner, dict) else {}
    body[name] = value


def _read_page(interface: Interface, call: Call, *, first: bool) -> Page:
    source = interface.source
    answer = interface.ask(call)
    if not _has_path(answer.document, source.records):
        raise DeliveryRefused(
            f"{interface.what}：返回内容中没有“{source.records}”。现有数据继续有效；请修复接口后重新提供。",
            rule_id="delivery.structure",
        )
    records = find_path(answer.document, source.records)
    if records is None:  # many interfaces write null for no rows
        records = []
    if not isinstance(records, list):
        raise DeliveryRefused(
            f"{interface.what}：返回内容的“{source.records}”不是记录列表。现有数据继续有效；请修复接口后重新提供。",
            rule_id="delivery.structure",
        )
    total = find_path(answer.document, source.total) if source.total else None
    if total is not None and not (str(total).isascii() and str(total).isdigit() and len(str(total)) < 16):
        raise _refuse(interface, f"“{source.total}”不是总条数。", "请修复接口后重新提供。", "delivery.total")
    if total is None and source.total and first and records:
        raise _refuse(interface, f"没有给出总条数“{source.total}”。", "请修复接口后重新提供。", "delivery.total")
    texts = [dump_json(r) for r in records]
    digest = hashlib.sha256("\n".join(texts).encode("utf-8", "surrogatepass")).digest()
    return Page(
        records,
        texts,
        int(total) if total is not None else None,
        _name_next(interface, answer),
        digest,
        answer.size,
    )


def _has_path(document: Any, path: str) -> bool:
    """False where what stands on the way lacks the name; null on the way counts as there."""
    for part in path.split(".") if path else ():
        if document is None:
            return True
        found = find_path(document, part)
        if found is None and not (isinstance(document, dict) and part in document):
            return False
        document = found
    return True


def _name_next(interface: Interface, answer: Answer) -> str | None:
    """The cursor or checked URL of the next page, as the answer names it; None where it names none."""
    paging = interface.source.paging
    if paging.style == "cursor":
        found = find_path(answer.document, paging.next or "")
        return None if found is None or found in ("", False) else str(found)
    if paging.style != "link":
        return None
    found = find_path(answer.document, paging.next) if paging.next else find_next_link(answer.link)
    if found is None or found == "":
        return None
    return check_link(interface, answer.url, str(found))


def find_next_link(header: str) -> str | None:
    """The target of ``rel=next`` in Link headers (RFC 8288); links about other resources (``anchor``) don't count."""
    position = 0
    while position < len(header) and (m := _LINK.match(header, position)) and m.end() > position:
        attributes: dict[str, str] = {}
        for a in _ATTRIBUTE.finditer(m[2]):
            quoted = re.sub(r"\\(.)", r"\1", a[2]) if a[2] is not None else a[3] or ""
            attributes.setdefault(a[1].lower(), quoted)  # the first rel counts (§3.3)
        if "next" in attributes.get("rel", "").lower().split() and "anchor" not in attributes:
            return m[1]
        position = m.end()
    return None


def check_link(interface: Interface, origin: str, target: str) -> str:
    """``target`` as an absolute URL. Raises DeliveryRefused when it leads to another server or protocol."""
    import httpx

    try:
        url = httpx.URL(origin).join(target)
    except (httpx.InvalidURL, ValueError):
        raise _refuse(interface, "下一页的地址不是有效的网址。", "请修复分页后重新提供。") from None
    base = interface.base_url
    if (url.scheme, url.host, _port(url)) != (base.scheme, base.host, _port(base)) or url.userinfo:
        raise _refuse(
            interface, f"下一页的地址指向另一台服务器（{url.host[:100]}），未跟随。", "请让接口给出本机地址后重新提供。"
        )
    return str(url.copy_with(fragment=None))


def _port(url: Any) -> int | None:
    return url.port or {"http": 80, "https": 443}.get(url.scheme)


def _account(interface: Interface, so_far: _Progress, page: Page, number: int, report: ReadReport) -> Page:
    """Enters a page in what is known; returns what of it is new. Raises where it does not fit."""
    source, paging = interface.source, interface.source.paging
    if page.total is not None:
        if so_far.total is not None and page.total != so_far.total:
            raise _changed(interface, f"total {so_far.total}, then {page.total}")
        so_far.total = report.declared_rows = page.total
    if page.records and page.digest in so_far.digests:
        raise _refuse(
            interface,
            f"第 {number} 页与之前的一页完全相同，分页没有前进。",
            "请修复分页（页码超过末页时应返回空页，或提供总条数）后重新提供。",
        )
    so_far.digests.add(page.digest)
    so_far.size += page.size
    if so_far.size > source.max_mb * _MB:
        raise DeliveryRefused(
            f"{interface.what}：累计返回超过 {source.max_mb} MB。现有数据继续有效；请缩小范围后重新提供（上限由 max_mb 声明）。",
            rule_id="delivery.too_large",
        )
    fresh = page
    if _overlaps(interface, so_far):
        if not page.texts or page.texts[0] != so_far.last[-1]:
            raise _changed(interface, f"page {number} does not begin with the last row of the page before")
        fresh = Page(page.records[1:], page.texts[1:], page.total, page.next, page.digest, page.size)
    elif paging.style in ("page", "offset") and so_far.last:
        before = set(so_far.last)
        so_far.repeated += sum(t in before for t in page.texts)
    so_far.pages += bool(fresh.records)
    so_far.count += len(fresh.records)
    so_far.last = page.texts
    return fresh


def _overlaps(interface: Interface, so_far: _Progress) -> bool:
    """True when the page after ``so_far.last`` begins with its last row. One row can't both overlap and get on."""
    paging = interface.source.paging
    return paging.style == "offset" and paging.overlap and len(so_far.last) > 1


def _find_next(interface: Interface, so_far: _Progress, page: Page, fresh: Page, position: str | None) -> str | None:
    """Where the next page is; None at the end."""
    style = interface.source.paging.style
    if style == "none":
        return None
    if style in ("cursor", "link"):
        if page.next is not None:
            if page.next in so_far.positions:
                raise _refuse(interface, "下一页指回已读过的一页，分页没有前进。", "请修复分页后重新提供。")
            so_far.positions.add(page.next)
        return page.next
    if not fresh.records or (so_far.total is not None and so_far.count >= so_far.total):
        return None
    if style == "page":
        return str(int(position or 0) + 1)
    return str(so_far.count - 1 if _overlaps(interface, so_far) else so_far.count)


def _note_doubt(interface: Interface, so_far: _Progress, report: ReadReport) -> None:
    if so_far.repeated:
        report.notes.append(
            f"{interface.what}：有 {so_far.repeated} 条记录在相邻两页中重复出现，读取期间源数据可能有增删，建议核对总数"
        )
    if interface.source.paging.style == "page" and so_far.total is None and so_far.pages > 1:
        report.notes.append(
            f"{interface.what}：按页码分页且没有总条数，读取期间源数据的增删无法发现；建议接口提供总条数或改用游标分页"
        )


def _changed(interface: Interface, how: str) -> SourceUnavailable:
    return SourceUnavailable(
        f"{interface.source.path} of connection {interface.connection.conn_id} changed while it was read ({how}). "
        "Nothing was staged; it will be tried again.",
        connection=interface.connection.conn_id,
    )


def _refuse(interface: Interface, what: str, mend: str, rule_id: str = "delivery.paging") -> DeliveryRefused:
    return DeliveryRefused(f"{interface.what}：{what}现有数据继续有效；{mend}", rule_id=rule_id)
