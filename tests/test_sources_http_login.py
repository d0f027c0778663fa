"""How an interface is asked who we are: token, basic, signed, over TLS; and that no secret goes anywhere else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from certificates import make_certificates
from delivering import open_at, plain_settings, rows_of
from dropping import certificates
from interfaces import as_rows, connect, fails, interface, paging, records

from guiji.catalog.models import Signature
from guiji.demo import servers
from guiji.demo.servers.http import Request
from guiji.errors import SourceRefused, SourceUnavailable
from guiji.settings import Settings
from guiji.sources.http_signature import Unsigned, sign

SECRET = "nur-wir-zwei-wissen-es"


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    return plain_settings(tmp_path / "home")


@pytest.fixture
def asked() -> list[bool]:
    """What the server decided, request by request."""
    return []


def check_signature(request: Request, where: str, parts: str = "key\ntimestamp\nnonce\nquery") -> bool:
    """The department's side of the default signature, written independently."""
    query = dict(request.query)
    said = request.headers if where == "header" else {k.lower(): v for k, v in request.query}
    names = ("x-app-key", "x-timestamp", "x-nonce")
    if any(n not in said for n in (*names, "x-signature")) or abs(time.time() - int(said["x-timestamp"])) > 30:
        return False
    query.pop("X-Signature", None)
    values = {
        "key": said["x-app-key"],
        "timestamp": said["x-timestamp"],
        "nonce": said["x-nonce"],
        "query": "&".join(f"{k}={query[k]}" for k in sorted(query)),
        "body": request.body.decode(),
    }
    text = "\n".join(values[p] for p in parts.split("\n"))
    wanted = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
    return said["x-app-key"] == "市局" and hmac.compare_digest(wanted, said["x-signature"])


@pytest.mark.parametrize("style", ["page", "link", "cursor"])
@pytest.mark.parametrize("where", ["header", "query"])
def test_signed_requests_are_admitted_page_by_page(
    place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, style: str, caplog: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    with servers.serve_http(admit=lambda r: check_signature(_decoded(r), where)) as server:
        server.data["/things"] = records(5)
        server.linked.update({"/things"} if style == "link" else ())
        connect(server, monkeypatch, login="市局", password=SECRET)
        source = {"token_header": None, "signature": {"place": where}, "parameters": {"城市": "甲 乙&b=1", "a": ""}}
        assert rows_of(open_at(interface(style, source=source), place, tmp_path)) == as_rows(records(5))
        nonces = {_decoded(r).headers.get("x-nonce") or dict(r.query)["X-Nonce"] for r in server.received}
        assert len(nonces) == len(server.received) == 3
        assert not any("authorization" in r.headers for r in server.received)
    assert SECRET not in caplog.text
    assert "X-Signature" not in caplog.text
    assert "X-Nonce" not in caplog.text


def _decoded(request: Request) -> Request:
    """Headers travel as latin-1 here and carry UTF-8."""
    headers = {k: v.encode("latin-1").decode("utf-8") for k, v in request.headers.items()}
    return Request(request.method, request.path, request.query, headers, request.body)


def test_a_wrong_secret_is_refused_and_not_shown(
    place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers.serve_http(admit=lambda r: check_signature(_decoded(r), "header")) as server:
        server.data["/things"] = records(1)
        connect(server, monkeypatch, login="市局", password="falsch-geheim")
        resource = interface(source={"token_header": None, "signature": {}})
        error = fails(server, place, tmp_path, SourceRefused, resource)
    assert "falsch-geheim" not in f"{error!r}{error.context}{error.__cause__!r}"


def test_the_body_can_be_signed(place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = "key\ntimestamp\nnonce\nbody"
    with servers.serve_http(admit=lambda r: check_signature(_decoded(r), "header", parts)) as server:
        server.data["/things"] = records(3)
        connect(server, monkeypatch, login="市局", password=SECRET)
        source: dict[str, Any] = {"token_header": None, "signature": {"parts": parts.split("\n")}}
        source |= {"method": "post", "body": {"城市": "甲"}}
        assert rows_of(open_at(interface(source=source), place, tmp_path)) == as_rows(records(3))


def test_signatures_are_those_of_the_declared_parts() -> None:
    request = Unsigned("get", "/a b", [("b", "2"), ("a", "甲 1"), ("a", "0")], b"{}")
    said = {"method": "GET", "path": "/a b", "key": "k", "timestamp": "1790000000500", "nonce": "n"}
    said |= {"query": "a=0&a=甲 1&b=2", "escaped_query": "a=0&a=%E7%94%B2%201&b=2", "body": "{}"}
    for encoding in ("hex", "base64"):
        spec = Signature.model_validate(
            {"parts": list(said), "separator": "|", "encoding": encoding, "timestamp_unit": "milliseconds"}
        )
        digest = hmac.new(b"s", "|".join(said.values()).encode(), hashlib.sha256).digest()
        text = digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()
        assert sign(spec, request, "k", "s", 1_790_000_000.5, "n") == [
            ("X-App-Key", "k"), ("X-Timestamp", "1790000000500"), ("X-Nonce", "n"), ("X-Signature", text),
        ]  # fmt: skip


def test_sm3_signatures_are_hmac_over_gbt_32905() -> None:
    from cryptography.hazmat.primitives.hashes import SM3, Hash

    def sm3(data: bytes) -> bytes:
        digest = Hash(SM3())
        digest.update(data)
        return digest.finalize()

    # the standard's own example, then HMAC by its definition (RFC 2104, blocks of 64 bytes)
    assert sm3(b"abc").hex() == "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
    key = b"s".ljust(64, b"\0")
    inner = sm3(bytes(b ^ 0x36 for b in key) + b"k")
    wanted = sm3(bytes(b ^ 0x5C for b in key) + inner).hex()
    spec = Signature(algorithm="hmac-sm3", parts=["key"])
    assert sign(spec, Unsigned("get", "/", [], b""), "k", "s", 0, "n")[-1] == ("X-Signature", wanted)


def test_a_login_without_token_or_signature_is_basic(
    place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = "Basic " + base64.b64encode("用户:密码".encode()).decode()
    with servers.serve_http(admit=lambda r: r.headers.get("authorization") == wanted) as server:
        server.data["/things"] = records(3)
        connect(server, monkeypatch, login="用户", password="密码")
        assert rows_of(open_at(interface(source={"token_header": None}), place, tmp_path)) == as_rows(records(3))


def test_a_token_may_have_a_prefix(place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.serve_http(token="Bearer abc", token_header="Authorization") as server:
        server.data["/things"] = records(3)
        connect(server, monkeypatch, login="somebody", password="abc")
        source = {"token_header": "Authorization", "token_prefix": "Bearer "}
        assert rows_of(open_at(interface(source=source), place, tmp_path)) == as_rows(records(3))


# --- no other server ----------------------------------------------------------------------------------


@pytest.fixture
def elsewhere() -> Iterator[servers.HttpServer]:
    with servers.serve_http(token=None) as server:
        server.data["/things"] = records(2)
        yield server


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    http_server: Any, elsewhere: Any, place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    connect(http_server, monkeypatch)
    http_server.raw["/things"] = (status, {"Location": f"http://{elsewhere.base_url}/things?token=abc"}, b"")
    error = fails(http_server, place, tmp_path, SourceRefused)
    assert "leads to 127.0.0.1" in str(error)
    assert "token=abc" not in str(error)
    assert (len(http_server.requests), elsewhere.requests) == (1, [])


@pytest.mark.parametrize(
    "path", ["http://evil/x", "//evil/x", "\\\\evil\\x", "/a?b=c", "/a#b", "", "/a b", "https:/x", "///x"]
)
def test_a_path_is_a_path(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        interface(source={"path": path})


@pytest.mark.parametrize("path", ["/things", "things", "/v1/东西/list.do", "/", "/a:b/c", "/a%20b/"])
def test_paths_of_interfaces_are_taken_as_they_are(
    http_server: Any, place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    connect(http_server, monkeypatch)
    sent = quote("/" + path.lstrip("/"), safe="/:%")
    http_server.answers[sent] = lambda _: {"code": "0", "data": {"records": [], "total": 0}}
    assert rows_of(open_at(interface(source={"path": path}), place, tmp_path)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"body": {"a": "b"}},
        {"paging": {**paging("page"), "place": "body"}},
        {"signature": {}, "token_header": "X-Token"},
        {"signature": {"parts": []}},
        {"max_per_minute": 0},
    ],
)
def test_contradictions_are_catalog_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        interface(source=wrong)


def test_interfaces_may_be_on_ipv6(place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.serve_http(host="::1") as server:
        server.data["/things"] = records(3)
        server.linked.add("/things")
        connect(server, monkeypatch)
        assert rows_of(open_at(interface("link"), place, tmp_path)) == as_rows(records(3))
        assert server.received[0].headers["host"] == f"[::1]:{server.port}"


def test_https_needs_the_pinned_authority(place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, certificate = certificates()
    stranger, _ = make_certificates()
    with servers.serve_http(certificate=certificate) as server:
        server.data["/things"] = records(3)
        for extra, says in (
            ({}, "is not trusted"),
            ({"ca_pem": stranger}, "is not trusted"),
            ({"ca_pem": authority, "verify": False}, "sets verify"),
        ):
            connect(server, monkeypatch, extra=extra)
            assert says in str(fails(server, place, tmp_path, SourceRefused))
        assert server.requests == []
        connect(server, monkeypatch, extra={"ca_pem": authority})
        assert rows_of(open_at(interface(), place, tmp_path)) == as_rows(records(3))
        # over TLS a dribbling answer is cut as well
        server.faults.kind, server.faults.seconds = "dribble", 0.1
        connect(server, monkeypatch, extra={"ca_pem": authority, "page_timeout": 0.5, "attempts": 2})
        before = time.monotonic()
        assert "2 tries" in str(fails(server, place, tmp_path, SourceUnavailable))
        assert time.monotonic() - before < 4


def test_the_example_in_the_documentation_is_a_source() -> None:
    from guiji.catalog.models import HttpSource
    from guiji.settings import ROOT

    text = (ROOT / "docs" / "supply.md").read_text(encoding="utf-8")
    (example,) = [b for b in re.findall(r"```yaml\n(.*?)```", text, re.S) if "kind: http" in b]
    source = HttpSource.model_validate(yaml.safe_load(example)["source"])
    assert source.signature is not None
    assert (source.method, source.paging.parameter, source.signature.separator) == ("post", "page.no", "&")
