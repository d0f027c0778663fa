"""The body of an interface's answer: unpacked within its cap, and its text."""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

from guiji.errors import DeliveryRefused, SourceRefused
from guiji.sources.formats.encoding import normalise_private_use
from guiji.sources.formats.encoding_votes import judge_text
from guiji.sources.formats.mojibake import count_cjk, is_chinese_utf8, is_valid

if TYPE_CHECKING:
    import httpx

    from guiji.catalog.models import HttpSource
    from guiji.connections import Connection

_MB = 1 << 20
_UTF8 = re.compile(r"charset\s*=\s*\"?\s*utf-?8", re.IGNORECASE)
_GB = re.compile(r"charset\s*=\s*\"?\s*gb", re.IGNORECASE)


class DamagedBody(Exception):
    """A packed body that is not whole."""


def read_body(response: httpx.Response, source: HttpSource, connection: Connection) -> bytes:
    """The unpacked body. Raises DamagedBody when the packed one breaks off, DeliveryRefused beyond the cap."""
    limit = source.max_page_mb * _MB
    packing = response.headers.get("Content-Encoding", "identity").strip().lower()
    if packing not in ("identity", "", "gzip", "x-gzip", "deflate"):
        raise SourceRefused(
            f"Connection {connection.conn_id}: {source.path} answers packed as {packing[:20]!r}, which was "
            "not asked for. Nothing was read; ask the department to answer in gzip or plainly.",
            connection=connection.conn_id,
        )
    unpack = zlib.decompressobj(wbits=47) if packing not in ("identity", "") else None
    body = bytearray()
    for chunk in response.iter_raw():
        try:
            body += unpack.decompress(chunk, limit + 1 - len(body)) if unpack else chunk
            while unpack is not None and unpack.unused_data and len(body) <= limit:  # gzip may have several members
                rest, unpack = unpack.unused_data, zlib.decompressobj(wbits=47)
                body += unpack.decompress(rest, limit + 1 - len(body))
        except zlib.error:
            raise DamagedBody("the packed body is damaged") from None
        if len(body) > limit:
            raise DeliveryRefused(
                f"接口 {source.path}：一次返回超过 {source.max_page_mb} MB。现有数据继续有效；"
                "请减小每页条数后重新提供（上限由 max_page_mb 声明）。",
                rule_id="delivery.too_large",
            )
    if unpack is not None and not unpack.eof:
        raise DamagedBody("the packed body breaks off")
    return bytes(body)


def decode_body(body: bytes, content_type: str, source: HttpSource) -> str:
    """The body's text. UTF-8 with a few damaged characters keeps their marks: those records are set aside."""
    declared = source.encoding
    gb18030 = declared == "gb18030" or (declared == "auto" and bool(_GB.search(content_type)))
    said_utf8 = declared == "utf-8" or bool(_UTF8.search(content_type))
    text = body.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    if not damaged and not (gb18030 and _is_rather_gb18030(body)):
        if declared == "gb18030" and not body.isascii():  # valid UTF-8 with Chinese in it is no accident
            raise _wrong_encoding(source, declared)
        if not said_utf8 and not count_cjk(text) and judge_text(body) == "chinese":
            raise _too_few_words(source)
        return text
    if not gb18030 and sum(not c.isascii() for c in text) > 4 * damaged:
        found = "utf-8" if said_utf8 else _judge_damaged(body, text, damaged)
        if found == "utf-8":
            return text
        if found == "?":
            raise _too_few_words(source)
    if declared == "utf-8":
        raise _wrong_encoding(source, declared)
    try:
        return normalise_private_use(body.decode("gb18030"))
    except UnicodeDecodeError:
        raise _wrong_encoding(source, "utf-8 或 gb18030" if declared == "auto" else declared) from None


def _judge_damaged(body: bytes, text: str, damaged: int) -> str:
    """``utf-8``, ``gb18030`` or ``?`` for a body with many sound characters of UTF-8 and few damaged ones: of GB18030 short
    words are often valid UTF-8 (女 is ``Ů``), but Chinese hardly ever comes of it."""
    if count_cjk(text) > damaged or not is_valid(body, "gb18030"):
        return "utf-8"
    beyond = [c for c in text if not c.isascii()]
    return "?" if sum(c <= "\u00ff" for c in beyond) * 2 > len(beyond) else "gb18030"


def _too_few_words(source: HttpSource) -> DeliveryRefused:
    return DeliveryRefused(
        f"接口 {source.path}：返回内容中的文字太少，无法判断编码。现有数据继续有效；"
        "请在 Content-Type 中写明 charset，或请数据中心在资源目录中登记 encoding。",
        rule_id="delivery.encoding",
    )


def _wrong_encoding(source: HttpSource, wanted: str) -> DeliveryRefused:
    return DeliveryRefused(
        f"接口 {source.path}：返回内容的编码不是 {wanted}，无法正确读出文字。现有数据继续有效；请更正编码后重新提供。",
        rule_id="delivery.encoding",
    )


def _is_rather_gb18030(body: bytes) -> bool:
    """True for a body said to be GB18030 that is UTF-8 as well, by accident of one rare word (猫)."""
    return not body.isascii() and not is_chinese_utf8(body) and is_valid(body, "gb18030")
