"""Interfaces that give a token for a login: asked for once, asked for again when it is refused, shown nowhere."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from delivering import open_at, plain_settings, rows_of
from interfaces import as_rows, connect, fails, interface, records
from pydantic import ValidationError

from guiji.catalog.models import TokenRequest
from guiji.demo import servers
from guiji.demo.servers.http import Request
from guiji.errors import DeliveryRefused, SourceRefused, SourceUnavailable
from guiji.settings import Settings
from guiji.sources import probe

LOGIN, PASSWORD = "市局{password}", "nur & wir = zwei {login}"
OAUTH = {
    "path": "/oauth/token",
    "form": "form",
    "values": {"grant_type": "client_credentials", "client_id": "{login}", "client_secret": "{password}"},
    "found": "access_token",
}


class Platform:
    """A platform that gives tokens, each for so many questions."""

    def __init__(self, server: Any, each_for: int = 1000) -> None:
        self.server = server
        self.each_for = each_for
        self.given: dict[str, int] = {}  # token -> questions left
        self.asked_with: list[Mapping[str, str]] = []
        server.data["/things"] = records(5)
        server.answers["/oauth/token"] = lambda q: {"access_token": self.give(q), "expires_in": 7200}
        server.answers["/login"] = lambda q: {"code": 0, "data": {"token": self.give(q)}}

    def give(self, values: Mapping[str, str]) -> str:
        self.asked_with.append(dict(values))
        token = f"opaque-{len(self.asked_with)}"
        self.given[token] = self.each_for
        return token

    def admit(self, request: Request) -> bool:
        if request.path in self.server.answers:
            return True
        left = self.given.get(request.headers.get("authorization", "").removeprefix("Bearer "), 0)
        self.given[request.headers.get("authorization", "").removeprefix("Bearer ")] = left - 1
        return left > 0


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    return plain_settings(tmp_path / "home")


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    made: list[Platform] = []
    with servers.serve_http(admit=lambda request: made[0].admit(request)) as server:
        made.append(Platform(server))
        connect(server, monkeypatch, login=LOGIN, password=PASSWORD)
        yield made[0]


def asking(token: dict[str, Any], **more: Any) -> Any:
    return interface(source={"token_header": "Authorization", "token_prefix": "Bearer ", "token": token, **more})


@pytest.mark.parametrize("by", ["form", "json", "get", "basic"])
def test_a_token_is_asked_for_once_and_carried_by_every_page(
    platform: Platform, place: Settings, tmp_path: Path, by: str, caplog: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    token = {
        "form": OAUTH,
        "json": {"path": "/login"},
        "get": {"path": "login", "method": "get"},
        "basic": {**OAUTH, "basic": True, "values": {"grant_type": "client_credentials"}},
    }[by]
    sent = {
        "form": {"grant_type": "client_credentials", "client_id": LOGIN, "client_secret": PASSWORD},
        "json": {"username": LOGIN, "password": PASSWORD},
        "get": {"username": LOGIN, "password": PASSWORD},
        "basic": {"grant_type": "client_credentials"},
    }[by]
    assert rows_of(open_at(asking(token), place, tmp_path)) == as_rows(records(5))
    assert platform.asked_with == [sent]
    first, *pages = platform.server.received
    assert [r.headers["authorization"] for r in pages] == ["Bearer opaque-1"] * 3
    basic = "Basic " + base64.b64encode(f"{LOGIN}:{PASSWORD}".encode()).decode()
    assert first.headers.get("authorization") == (basic if by == "basic" else None)
    assert PASSWORD not in caplog.text
    assert "opaque-1" not in caplog.text


@pytest.mark.parametrize("each_for", [1, 2])
def test_a_token_that_runs_out_is_asked_for_again(
    platform: Platform, place: Settings, tmp_path: Path, each_for: int
) -> None:
    platform.each_for = each_for
    assert rows_of(open_at(asking(OAUTH), place, tmp_path)) == as_rows(records(5))
    assert len(platform.asked_with) == -(-3 // each_for)


def test_a_business_code_may_say_that_a_token_ran_out(platform: Platform, place: Settings, tmp_path: Path) -> None:
    def answer(query: Mapping[str, str]) -> object:
        if len(platform.asked_with) == 1 and query["page"] == "2":
            return {"code": "A0230", "message": "登录已过期"}
        start = 2 * (int(query["page"]) - 1)
        return {"code": "0", "data": {"records": records(5)[start : start + 2], "total": 5}}

    platform.server.answers["/things"] = answer
    assert rows_of(open_at(asking({**OAUTH, "expired": ["A0230"]}), place, tmp_path)) == as_rows(records(5))
    assert len(platform.asked_with) == 2
    platform.asked_with.clear()
    assert "business code A0230 登录已过期" in str(
        fails(platform.server, place, tmp_path, SourceUnavailable, asking(OAUTH))
    )


def test_a_token_that_is_refused_at_once_is_not_asked_for_for_ever(
    platform: Platform, place: Settings, tmp_path: Path
) -> None:
    platform.each_for = 0
    said = str(fails(platform.server, place, tmp_path, SourceRefused, asking(OAUTH)))
    assert "mend the token or login of connection api" in said
    assert len(platform.asked_with) == 1
    with pytest.raises(SourceRefused):
        probe(asking(OAUTH), place)


@pytest.mark.parametrize(
    "answer", [{"code": "1", "message": "密码错误"}, {"data": {"token": None}}, {"data": {"token": ""}}, []]
)
def test_an_answer_without_a_token_is_refused_and_shows_no_secret(
    platform: Platform, place: Settings, tmp_path: Path, answer: Any
) -> None:
    if isinstance(answer, dict) and "message" in answer:
        answer = {**answer, "message": f"密码错误：{PASSWORD}"}
    platform.server.answers["/login"] = lambda _: answer
    error = fails(platform.server, place, tmp_path, SourceRefused, asking({"path": "/login"}))
    assert "/login gave no token at data.token" in str(error)
    assert ("(1 密码错误：***)" in str(error)) == (isinstance(answer, dict) and "message" in answer)
    assert PASSWORD not in f"{error!r}{error.context}"
    assert [r.path for r in platform.server.received] == ["/login"]


def test_f49_of_two_tokens_none_is_taken(platform: Platform, place: Settings, tmp_path: Path) -> None:
    body = b'{"data": {"token": "opaque-1", "token": "opaque-2"}}'
    platform.server.raw["/login"] = (200, {"Content-Type": "application/json"}, body)
    said = str(fails(platform.server, place, tmp_path, DeliveryRefused, asking({"path": "/login"})))
    assert "返回内容中同一数据项出现了两次（在“data.token”的路径上）" in said
    assert [r.path for r in platform.server.received] == ["/login"]


def test_a_token_that_the_interface_says_back_is_not_shown(platform: Platform, place: Settings, tmp_path: Path) -> None:
    platform.server.answers["/things"] = lambda _: {"code": "500", "message": "bad: opaque-1"}
    words = str(fails(platform.server, place, tmp_path, SourceUnavailable, asking(OAUTH)))
    assert "business code 500 bad: ***" in words


def test_where_tokens_are_given_may_fail_for_a_while(platform: Platform, place: Settings, tmp_path: Path) -> None:
    give, asked = platform.server.answers["/oauth/token"], []

    def answer(query: Mapping[str, str]) -> object:
        asked.append(1)
        if len(asked) < 3:
            raise ConnectionAbortedError
        return give(query)

    platform.server.answers["/oauth/token"] = answer
    assert rows_of(open_at(asking(OAUTH), place, tmp_path)) == as_rows(records(5))
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"user": "{user}"}, "only {login} and {password} are replaced"),
        ({"password": "geheim"}, "values.password holds a secret; write {password}"),
        ({"clientSecret": "geheim"}, "values.clientSecret holds a secret"),
    ],
)
def test_a_secret_has_no_place_in_the_catalog(values: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TokenRequest(path="/login", values=values)
    assert said in str(caught.value)


def test_a_token_needs_a_header_that_carries_it() -> None:
    with pytest.raises(ValidationError, match="token needs token_header"):
        interface(source={"token_header": None, "token": OAUTH})
