"""A paged HTTP interface, trusted in nothing: every record once, or a clear failure."""

from __future__ import annotations

import email.utils
import gzip
import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from delivering import open_at, plain_settings, rows_of
from interfaces import as_rows, connect, fails, interface, paging, records

from guiji.errors import CatalogError, DeliveryRefused, SourceRefused, SourceUnavailable
from guiji.settings import Settings
from guiji.sources import probe
from guiji.sources.http_client import read_retry_after
from guiji.sources.http_pages import find_next_link


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    return plain_settings(tmp_path / "home")


@pytest.fixture(autouse=True)
def _connected(http_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(http_server, monkeypatch)


@pytest.mark.parametrize(
    "style", ["page", "offset", "offset without overlap", "cursor", "link", "link in body", "none"]
)
@pytest.mark.parametrize("total", [True, False])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_pages_at_0_1_n_and_n_plus_1(
    http_server: Any, place: Settings, tmp_path: Path, style: str, total: bool, count: int
) -> None:
    http_server.data["/things"] = records(count)
    http_server.linked.update({"/things"} if style.startswith("link") else ())
    delivery = open_at(interface(style, total=total), place, tmp_path)
    assert delivery.columns == ("id", "name")
    assert rows_of(delivery) == as_rows(records(count))
    assert delivery.report.declared_rows == (count if total else None)


def test_rows_carry_page_and_position(http_server: Any, place: Settings, tmp_path: Path) -> None:
    http_server.data["/things"] = records(3)
    rows = [r for b in open_at(interface(), place, tmp_path).batches for r in b.to_pylist()]
    assert [(r["_origin"], r["_line"]) for r in rows] == [
        ("/things#page=1", 1),
        ("/things#page=1", 2),
        ("/things#page=2", 1),
    ]


@pytest.mark.parametrize("style", ["page", "offset", "cursor", "link"])
def test_a_server_that_caps_the_page_size_loses_nothing(
    http_server: Any, place: Settings, tmp_path: Path, style: str
) -> None:
    http_server.data["/things"] = records(7)
    http_server.caps["/things"] = 3
    http_server.linked.update({"/things"} if style == "link" else ())
    assert rows_of(open_at(interface(style, total=False, size=500), place, tmp_path)) == as_rows(records(7))


# --- F-47 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [True, False])
def test_f47_an_endless_first_page_is_refused(http_server: Any, place: Settings, tmp_path: Path, total: bool) -> None:
    http_server.data["/things"] = records(5)
    http_server.faults.kind = "loop"
    error = fails(http_server, place, tmp_path, DeliveryRefused, interface(total=total))
    assert error.rule_id == "delivery.paging"  # type: ignore[attr-defined]
    assert len(http_server.requests) == 2


def test_f47_a_short_page_does_not_add_up(http_server: Any, place: Settings, tmp_path: Path) -> None:
    http_server.data["/things"] = records(5)
    http_server.faults.kind, http_server.faults.at = "short", "2"
    error = fails(http_server, place, tmp_path, DeliveryRefused)
    assert error.rule_id == "delivery.total"  # type: ignore[attr-defined]


def test_f47_rows_inserted_while_reading_are_no_delivery(http_server: Any, place: Settings, tmp_path: Path) -> None:
    everything = records(5)

    def growing(query: Any) -> list[dict[str, Any]]:
        if query["page"] == "2":
            everything.insert(0, {"id": "new", "name": "新"})
        return everything

    http_server.data["/things"] = growing
    assert "changed while it was read" in str(fails(http_server, place, tmp_path, SourceUnavailable))


@pytest.mark.parametrize("kind", ["status", "business", "truncated", "html", "cut", "empty", "stall"])
def test_f47_a_passing_fault_is_tried_again(http_server: Any, place: Settings, tmp_path: Path, kind: str) -> None:
    http_server.data["/things"] = records(5)
    http_server.faults.kind, http_server.faults.times, http_server.faults.at = kind, 2, "2"
    http_server.faults.seconds = 1.5
    assert len(rows_of(open_at(interface(), place, tmp_path))) == 5


@pytest.mark.parametrize("kind", ["status", "business", "truncated", "html", "cut", "empty"])
def test_f47_a_lasting_fault_is_unavailable(http_server: Any, place: Settings, tmp_path: Path, kind: str) -> None:
    http_server.data["/things"] = records(5)
    http_server.faults.kind = kind
    assert "3 tries" in str(fails(http_server, place, tmp_path, SourceUnavailable))


def test_f47_retry_after_is_obeyed(http_server: Any, place: Settings, tmp_path: Path) -> None:
    http_server.data["/things"] = records(1)
    http_server.faults.kind, http_server.faults.status, http_server.faults.retry_after = "status", 429, 2
    http_server.faults.times = 1
    before = time.monotonic()
    assert len(rows_of(open_at(interface(), place, tmp_path))) == 1
    assert 1.9 <= time.monotonic() - before < 5


def test_too_many_pages_are_refused(http_server: Any, place: Settings, tmp_path: Path) -> None:
    http_server.data["/things"] = records(9)
    source = {"paging": {"style": "page", "parameter": "page", "size": 2, "max_pages": 3}}
    error = fails(http_server, place, tmp_path, DeliveryRefused, interface(source=source))
    assert error.rule_id == "delivery.paging"  # type: ignore[attr-defined]


def test_an_answer_beyond_the_cap_is_refused(http_server: Any, place: Settings, tmp_path: Path) -> None:
    http_server.data["/things"] = [{"id": "x" * (1 << 20), "name": ""}]
    error = fails(http_server, place, tmp_path, DeliveryRefused, interface(source={"max_page_mb": 1}))
    assert error.rule_id == "delivery.too_large"  # type: ignore[attr-defined]


# --- access -------------------------------------------------------------------------------------------


def test_a_wrong_token_is_refused_and_not_shown(
    http_server: Any, place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    http_server.data["/things"] = records(1)
    connect(http_server, monkeypatch, password="falsch-geheim")
    error = fails(http_server, place, tmp_path, SourceRefused)
    assert "connection api" in str(error)
    assert "falsch-geheim" not in f"{error!r}{error.context}"
    with pytest.raises(SourceRefused):
        probe(interface(), place)


def test_a_wrong_path_is_refused_and_a_dead_server_unavailable(
    http_server: Any, place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "404" in str(fails(http_server, place, tmp_path, SourceRefused))
    connect(http_server, monkeypatch, port=1)
    fails(http_server, place, tmp_path, SourceUnavailable)


# --- what comes ---------------------------------------------------------------------------------------


def test_f49_numbers_keep_their_digits_and_nesting_its_text(http_server: Any, place: Settings, tmp_path: Path) -> None:
    http_server.data["/things"] = [
        {"id": 12345678901234567890, "name": None},
        {"id": 1.5, "name": {"甲": [1, True]}},
        {"id": "000123", "name": ""},
    ]
    assert rows_of(open_at(interface(size=9), place, tmp_path)) == [
        ("12345678901234567890", None), ("1.5", '{"甲": [1, true]}'), ("000123", ""),
    ]  # fmt: skip


def test_f16_keys_are_compared_on_every_page(http_server: Any, place: Settings, tmp_path: Path) -> None:
    http_server.data["/things"] = [{"id": "1"}]
    error = fails(http_server, place, tmp_path, DeliveryRefused)
    assert error.rule_id == "delivery.missing_column"  # type: ignore[attr-defined]
    http_server.data["/things"] = [*records(4), {"id": "9", "name": "x", "secret": "y"}]
    error = fails(http_server, place, tmp_path, DeliveryRefused)
    assert error.rule_id == "delivery.undeclared_column"  # type: ignore[attr-defined]
    assert len(rows_of(open_at(interface(contract="evolve"), place, tmp_path))) == 5


def test_windows_and_watermarks_become_parameters(http_server: Any, place: Settings, tmp_path: Path) -> None:
    http_server.data["/things"] = [
        {"id": "1", "name": "a", "ts": "2026-10-02 08:00:00"},
        {"id": "2", "name": "b", "ts": "2099-01-01 00:00:00"},
        {"id": "3", "name": "c", "ts": "2026-10-01 08:00:00"},
    ]
    source = {"cursor": "ts", "lag_seconds": 60, "parameters": {"since": "{window_start}", "until": "{window_end}"}}
    resource = interface(source=source, load="incremental", size=9)
    delivery = open_at(resource, place, tmp_path)
    assert len(rows_of(delivery)) == 3
    assert delivery.report.cursor_max == "2026-10-02 08:00:00"
    assert "since=2026-10-01T00%3A00%3A00%2B08%3A00" in http_server.requests[-1]
    again = open_at(resource, place, tmp_path, watermark=delivery.report.cursor_max)
    rows_of(again)
    assert "since=2026-10-02T07%3A59%3A00%2B08%3A00" in http_server.requests[-1]
    assert again.report.cursor_max == "2026-10-02 08:00:00"


CURSORS = {
    "20261002080000": "2026-10-02",
    "2026/10/02 08:00:00": "2026-10-02",
    1790899200000: "2026-10-02",
    1790899200: "2026-10-02",
    "2026-10-02T08:00:00.000+0800": "2026-10-02",
}


@pytest.mark.parametrize("cursor", CURSORS)
def test_cursors_and_windows_have_the_form_of_the_interface(
    http_server: Any, place: Settings, tmp_path: Path, cursor: str | int
) -> None:
    http_server.data["/things"] = [{"id": "1", "name": "a", "ts": cursor}, {"id": "2", "name": "b", "ts": None}]
    parameters = {
        "a": "{window_start:%Y-%m-%d %H:%M:%S}",
        "b": "{window_start:milliseconds}",
        "c": "{window_end:seconds}",
    }
    source = {"cursor": "ts", "lag_seconds": 60, "parameters": parameters}
    resource = interface(source=source, load="incremental", size=9)
    delivery = open_at(resource, place, tmp_path)
    assert len(rows_of(delivery)) == 2
    assert delivery.report.cursor_max == str(cursor)
    rows_of(open_at(resource, place, tmp_path, watermark=delivery.report.cursor_max))
    asked = dict(http_server.received[-1].query)
    assert (asked["a"], asked["b"], asked["c"]) == ("2026-10-02 07:59:00", "1790899140000", "1793462400")


def test_a_cursor_that_is_no_moment_is_an_error_of_the_catalog(
    http_server: Any, place: Settings, tmp_path: Path
) -> None:
    http_server.data["/things"] = [{"id": "1", "name": "a", "ts": "V7"}]
    resource = interface(source={"cursor": "ts"}, load="incremental", size=9)
    with pytest.raises(CatalogError, match="holds no moments"):
        rows_of(open_at(resource, place, tmp_path))


SINCE = {"cursor": "ts", "parameters": {"since": "{window_start}"}}
STAMPED = ["id", "name", {"title": "ts", "required": False}]


def stamped(*moments: object) -> list[dict[str, Any]]:
    return [{"id": str(i), "name": "a", "ts": moment} for i, moment in enumerate(moments)]


@pytest.mark.parametrize("spelling", ["TS", " ts", "ｔｓ"])
def test_f16_a_cursor_is_read_however_the_interface_spells_its_key(
    http_server: Any, place: Settings, tmp_path: Path, spelling: str
) -> None:
    http_server.data["/things"] = [{"id": "1", "name": "a", spelling: "2026-10-02 08:00:00"}]
    resource = interface(source=SINCE, load="incremental", fields=STAMPED)
    delivery = open_at(resource, place, tmp_path)
    assert rows_of(delivery) == [("1", "a", "2026-10-02 08:00:00")]
    assert delivery.report.cursor_max == "2026-10-02 08:00:00"


@pytest.mark.parametrize("data", [stamped(None, ""), [{"id": "1", "name": "a"}]])
def test_f04_a_cursor_in_no_record_is_an_error_of_the_catalog_where_rows_would_be_lost(
    http_server: Any, place: Settings, tmp_path: Path, data: list[dict[str, Any]]
) -> None:
    http_server.data["/things"] = data
    resource = interface(source=SINCE, load="incremental", fields=STAMPED)
    with pytest.raises(CatalogError, match="empty or absent in every record"):
        rows_of(open_at(resource, place, tmp_path))
    # nothing is lost where a watermark is there already, where one window is read again, or where all is asked for
    for more in ({"watermark": "2026-10-02 08:00:00"}, {"explicit": True}):
        delivery = open_at(resource, place, tmp_path, **more)  # type: ignore[arg-type]
        assert (len(rows_of(delivery)), delivery.report.cursor_max) == (len(data), more.get("watermark"))
    everything = interface(source={"cursor": "ts"}, load="incremental", fields=STAMPED)
    assert len(rows_of(open_at(everything, place, tmp_path))) == len(data)
    http_server.data["/things"] = []
    assert rows_of(open_at(resource, place, tmp_path)) == []


def test_cursors_that_are_no_moments_or_in_the_future_are_told(
    http_server: Any, place: Settings, tmp_path: Path
) -> None:
    moments = ["2026-10-02 08:00:00", "未知", None, "8:00", "2099-01-01 00:00:00"]
    http_server.data["/things"] = stamped(*moments)
    delivery = open_at(interface(source=SINCE, load="incremental", fields=STAMPED), place, tmp_path)
    assert [row[2] for row in rows_of(delivery)] == moments
    assert delivery.report.cursor_max == "2026-10-02 08:00:00"
    what = next(n for n in delivery.report.notes).split("：")[0]
    assert delivery.report.notes == [
        f"{what}：1 条记录的增量字段晚于采集时间，未推进增量位置",
        f"{what}：增量字段 ts 有 2 个值不是时间（首个在第 1 页第 2 条），增量位置没有计入这些记录；"
        "请按 2026-10-01 08:00:00 的写法提供",
    ]


@pytest.mark.parametrize(
    ("zone", "form", "asked"),
    [
        ("Asia/Shanghai", "{window_start:%Y-%m-%d %H:%M:%S}", "2026-10-02 08:00:00"),
        ("Asia/Shanghai", "{window_start}", "2026-10-02T08:00:00+08:00"),
        ("Asia/Shanghai", "{window_start:%Y-%m-%dT%H:%M:%SZ}", "2026-10-02T00:00:00Z"),
        ("Asia/Shanghai", "{window_start:%Y-%m-%dT%H:%M:%S%z}", "2026-10-02T08:00:00+0800"),
        ("UTC", "{window_start:%Y-%m-%d %H:%M:%S}", "2026-10-02 00:00:00"),
        ("UTC", "{window_start}", "2026-10-02T00:00:00+00:00"),
    ],
)
@pytest.mark.parametrize("cursor", ["2026-10-02T08:00:00+08:00", "2026-10-02T00:00:00Z"])
def test_f05_a_window_is_asked_for_by_the_clock_of_the_resource_whatever_offset_cursors_have(
    http_server: Any, place: Settings, tmp_path: Path, zone: str, form: str, asked: str, cursor: str
) -> None:
    http_server.data["/things"] = stamped(cursor)
    source = {"cursor": "ts", "parameters": {"since": form}}
    resource = interface(source=source, load="incremental", fields=STAMPED, time_zone=zone)
    rows_of(open_at(resource, place, tmp_path, watermark=cursor))
    assert dict(http_server.received[-1].query)["since"] == asked


@pytest.mark.parametrize(("code", "ok"), [(True, "true"), (1, "1"), ("0000", "0000"), (0, "0")])
def test_f47_a_business_code_may_be_of_any_type(
    http_server: Any, place: Settings, tmp_path: Path, code: object, ok: str
) -> None:
    http_server.answers["/things"] = lambda _: {"head": {"success": code}, "data": {"records": records(2), "total": 2}}
    resource = interface(source={"code": "head.success", "ok": [ok]})
    assert rows_of(open_at(resource, place, tmp_path)) == as_rows(records(2))
    http_server.answers["/things"] = lambda _: {"head": {"success": False}, "data": {"records": records(2), "total": 2}}
    assert "business code false" in str(fails(http_server, place, tmp_path, SourceUnavailable, resource))


def test_a_token_that_the_interface_says_back_is_not_shown(http_server: Any, place: Settings, tmp_path: Path) -> None:
    http_server.answers["/things"] = lambda _: {"code": "500", "message": "bad: guiji-token 110105199001010017"}
    words = str(fails(http_server, place, tmp_path, SourceUnavailable))
    assert "business code 500 bad: ***" in words
    assert "110105199001010017" not in words


def test_f47_a_body_packed_in_several_members_is_whole(http_server: Any, place: Settings, tmp_path: Path) -> None:
    body = json.dumps({"code": "0", "data": {"records": records(2), "total": 2}}).encode()
    packed = b"".join(gzip.compress(part) for part in (body[:7], body[7:30], body[30:]))
    http_server.raw["/things"] = (200, {"Content-Encoding": "gzip"}, packed)
    assert rows_of(open_at(interface(), place, tmp_path)) == as_rows(records(2))


# --- changes meanwhile --------------------------------------------------------------------------------


def changing(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Any:
    """Records that are ``after`` from the second question on."""
    asked: list[int] = []

    def answer(query: Any) -> list[dict[str, Any]]:
        asked.append(1)
        return before if len(asked) == 1 else after

    return answer


INSERTED = [{"id": "new", "name": "新"}, *records(5)]
DELETED = records(5)[1:]
BALANCED = [*records(5)[1:], {"id": "new", "name": "新"}]


@pytest.mark.parametrize("style", ["page", "offset", "offset without overlap"])
@pytest.mark.parametrize("after", [INSERTED, DELETED], ids=["inserted", "deleted"])
def test_f47_a_total_shows_rows_inserted_or_deleted_between_pages(
    http_server: Any, place: Settings, tmp_path: Path, style: str, after: list[dict[str, Any]]
) -> None:
    http_server.data["/things"] = changing(records(5), after)
    assert "changed while it was read" in str(fails(http_server, place, tmp_path, SourceUnavailable, interface(style)))


@pytest.mark.parametrize("total", [True, False])
@pytest.mark.parametrize("after", [INSERTED, DELETED, BALANCED], ids=["inserted", "deleted", "both"])
def test_f47_overlapping_pages_show_changes_that_a_total_may_not(
    http_server: Any, place: Settings, tmp_path: Path, total: bool, after: list[dict[str, Any]]
) -> None:
    http_server.data["/things"] = changing(records(5), after)
    resource = interface("offset", total=total, size=3)
    assert "changed while it was read" in str(fails(http_server, place, tmp_path, SourceUnavailable, resource))


def test_f47_page_numbers_without_a_total_are_said_to_be_blind(
    http_server: Any, place: Settings, tmp_path: Path
) -> None:
    def notes(after: list[dict[str, Any]], **more: Any) -> list[str]:
        http_server.data["/things"] = changing(records(5), after)
        delivery = open_at(interface(**more), place, tmp_path)
        rows_of(delivery)
        return delivery.report.notes

    blind = "接口 /things：按页码分页且没有总条数，读取期间源数据的增删无法发现；建议接口提供总条数或改用游标分页"
    twice = "接口 /things：有 1 条记录在相邻两页中重复出现，读取期间源数据可能有增删，建议核对总数"
    assert notes(records(5), total=False) == [blind]
    assert notes(INSERTED, total=False) == [twice, blind]
    assert notes(records(5), total=True) == []
    assert notes(records(5), total=False, size=500) == []
    assert notes(records(5), total=False, style="offset") == []


@pytest.mark.parametrize("style", ["cursor", "link"])
def test_f47_a_way_that_leads_back_is_refused(http_server: Any, place: Settings, tmp_path: Path, style: str) -> None:
    http_server.linked.add("/things")
    http_server.answers["/things"] = lambda query: {
        "code": "0",
        "data": {"records": [], "next": {"a": "b"}.get(query.get("cursor", ""), "a")},
    }
    source = {"paging": {**paging(style), "next": "data.next"}}
    if style == "link":
        http_server.answers["/things"] = lambda query: {
            "code": "0",
            "data": {"records": [], "next": "?cursor=" + {"a": "b"}.get(query.get("cursor", ""), "a")},
        }
    error = fails(http_server, place, tmp_path, DeliveryRefused, interface(total=False, source=source))
    assert error.rule_id == "delivery.paging"  # type: ignore[attr-defined]
    assert len(http_server.requests) == 3


@pytest.mark.parametrize(
    "target",
    [
        "http://192.0.2.1/things?page=2",
        "//192.0.2.1/things",
        "https://127.0.0.1/things",
        "http://127.0.0.1:1/things",
        "http://u:p@127.0.0.1/things",
        "ftp://127.0.0.1/things",
        "file:///etc/passwd",
        "http://[::1",
        "http://127.0.0.1\\@192.0.2.1/",
    ],
)
@pytest.mark.parametrize("place_of_link", ["header", "body"])
def test_f47_a_link_to_another_server_is_never_followed(
    http_server: Any, place: Settings, tmp_path: Path, target: str, place_of_link: str
) -> None:
    body = json.dumps({"code": "0", "data": {"records": records(2), "next_url": target}}).encode()
    http_server.raw["/things"] = (200, {"Link": f"<{target}>; rel=next"}, body)
    resource = interface("link" if place_of_link == "header" else "link in body", total=False)
    error = fails(http_server, place, tmp_path, DeliveryRefused, resource)
    assert error.rule_id == "delivery.paging"  # type: ignore[attr-defined]
    assert len(http_server.requests) == 1


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ('<https://a/?p=2>; rel="next"', "https://a/?p=2"),
        ("<https://a/?p=2>;rel=next", "https://a/?p=2"),
        ('</x?a=1,2>; rel="prev", </x?a=3,4>; title="a, \\"b\\"; rel=x"; REL="last Next"', "/x?a=3,4"),
        ('<a>; rel="prev"; rel="next"', None),
        ('<a>; rel="nextpage"', None),
        ('<a>; anchor="#x"; rel="next"', None),
        ('<a>; rel="next', None),
        ("a; rel=next", None),
        ("", None),
    ],
)
def test_next_links_are_read_as_rfc_8288_has_them(header: str, target: str | None) -> None:
    assert find_next_link(header) == target


# --- forms of answers ---------------------------------------------------------------------------------


def test_post_sends_a_body_and_pages_in_it(http_server: Any, place: Settings, tmp_path: Path) -> None:
    http_server.data["/things"] = records(3)
    source = {"method": "post", "body": {"query": {"from": "{window_start}", "n": 1}}, "parameters": {"v": "2"}}
    assert rows_of(open_at(interface(source=source), place, tmp_path)) == as_rows(records(3))
    query = {"query": {"from": "2026-10-01T00:00:00+08:00", "n": 1}}
    assert [(r.method, r.query, json.loads(r.body)) for r in http_server.received] == [
        ("POST", (("v", "2"),), {**query, "page": page, "size": 2}) for page in (1, 2)
    ]


def test_post_can_page_in_the_query_or_deep_in_the_body(http_server: Any, place: Settings, tmp_path: Path) -> None:
    http_server.answers["/things"] = lambda _: {"code": "0", "data": {"records": records(1), "total": 1}}
    source = {"method": "post", "paging": {**paging("page"), "place": "query"}}
    rows_of(open_at(interface(source=source), place, tmp_path))
    source = {"method": "post", "paging": {**paging("page"), "parameter": "p.no", "size_parameter": "p.rows"}}
    rows_of(open_at(interface(source={**source, "body": {"p": {"sort": "id"}}}), place, tmp_path))
    assert [(r.query, json.loads(r.body)) for r in http_server.received] == [
        ((("page", "1"), ("size", "2")), {}),
        ((), {"p": {"sort": "id", "no": 1, "rows": 2}}),
    ]


@pytest.mark.parametrize("declared", ["auto", "gb18030"])
def test_f37_answers_in_gbk_are_read(http_server: Any, place: Settings, tmp_path: Path, declared: str) -> None:
    expected = [{"id": "1", "name": "张三丰"}, {"id": "2", "name": "䶮𠮷"}]
    http_server.data["/things"] = expected
    http_server.encodings["/things"] = "gb18030"
    assert rows_of(open_at(interface(source={"encoding": declared}), place, tmp_path)) == as_rows(expected)


def test_f37_one_word_that_is_utf8_by_accident_is_what_the_server_says_it_is(
    http_server: Any, place: Settings, tmp_path: Path
) -> None:
    body = json.dumps({"code": "0", "data": {"records": [{"id": "1", "name": "猫"}], "total": 1}}, ensure_ascii=False)
    http_server.raw["/things"] = (200, {"Content-Type": "application/json; charset=GBK"}, body.encode("gbk"))
    assert rows_of(open_at(interface(), place, tmp_path)) == [("1", "猫")]
    http_server.raw["/things"] = (200, {}, body.encode("gbk"))
    assert rows_of(open_at(interface(source={"encoding": "gb18030"}), place, tmp_path)) == [("1", "猫")]


def test_f37_utf8_that_the_server_calls_gbk_is_utf8(http_server: Any, place: Settings, tmp_path: Path) -> None:
    expected = [{"id": "1", "name": "张三"}]
    body = json.dumps({"code": "0", "data": {"records": expected, "total": 1}}, ensure_ascii=False).encode()
    assert "寮犱笁" in body.decode("gb18030")
    http_server.raw["/things"] = (200, {"Content-Type": "application/json; charset=GBK"}, body)
    assert rows_of(open_at(interface(), place, tmp_path)) == as_rows(expected)
    fails(http_server, place, tmp_path, DeliveryRefused, interface(source={"encoding": "gb18030"}))


@pytest.mark.parametrize(
    "body",
    [
        '{"code": "0", "data": {"total": 1, "records": [{"id": "1", "name": "a"}], "records": []}}',
        '{"code": "1", "code": "0", "data": {"total": 1, "records": [{"id": "1", "name": "a"}]}}',
        '{"code": "0", "data": {"total": 2, "total": 1, "records": [{"id": "1", "name": "a"}]}}',
        '{"code": "0", "data": {}, "data": {"total": 1, "records": [{"id": "1", "name": "a"}]}}',
    ],
)
def test_f49_a_key_that_stands_twice_on_the_way_to_the_records_is_refused(
    http_server: Any, place: Settings, tmp_path: Path, body: str
) -> None:
    http_server.raw["/things"] = (200, {}, body.encode())
    error = fails(http_server, place, tmp_path, DeliveryRefused)
    assert error.rule_id == "delivery.structure"  # type: ignore[attr-defined]


def test_f37_utf8_with_a_damaged_character_costs_that_record_only(
    http_server: Any, place: Settings, tmp_path: Path
) -> None:
    body = json.dumps({"code": "0", "data": {"records": records(9), "total": 9}}, ensure_ascii=False).encode()
    damaged = body.replace("人4".encode(), "人".encode()[:2] + b"4")
    http_server.raw["/things"] = (200, {}, damaged)
    rows = [r for b in open_at(interface(), place, tmp_path).batches for r in b.to_pylist()]
    assert [(r["id"], r["name"]) for r in rows if r["_broken"] is None] == [
        r for r in as_rows(records(9)) if r[0] != "004"
    ]
    assert [(r["id"], r["_broken"]) for r in rows if r["_broken"]] == [("004", "structure.garbled")]


def test_f28_half_a_character_costs_that_record_only(http_server: Any, place: Settings, tmp_path: Path) -> None:
    body = json.dumps({"code": "0", "data": {"records": [{"id": "1", "name": "\ud800"}, *records(2)], "total": 3}})
    http_server.raw["/things"] = (200, {}, body.encode("ascii"))
    rows = [r for b in open_at(interface(size=9), place, tmp_path).batches for r in b.to_pylist()]
    assert [(r["id"], r["_broken"]) for r in rows] == [("1", "structure.garbled"), ("000", None), ("001", None)]


def test_f37_answers_of_short_words_in_gb18030_are_read_as_they_are_or_not_at_all(
    http_server: Any, place: Settings, tmp_path: Path
) -> None:
    """女 in GB18030 is ``Ů`` in UTF-8; a page of nothing else says nothing of its encoding."""
    words = ["男", *["女"] * 60]
    http_server.data["/things"] = [{"id": f"{n}", "name": word} for n, word in enumerate(words)]
    http_server.encodings["/things"] = "gb18030"
    expected = [(f"{n}", word) for n, word in enumerate(words)]
    assert rows_of(open_at(interface(size=100), place, tmp_path)) == expected
    error = fails(http_server, place, tmp_path, DeliveryRefused, interface(size=50))
    assert "返回内容中的文字太少，无法判断编码" in str(error)
    assert rows_of(open_at(interface(size=50, source={"encoding": "gb18030"}), place, tmp_path)) == expected


@pytest.mark.parametrize("declared", ["utf-8", "gb18030"])
def test_f37_answers_in_another_encoding_than_declared_are_refused(
    http_server: Any, place: Settings, tmp_path: Path, declared: str
) -> None:
    http_server.data["/things"] = records(30)
    http_server.encodings["/things"] = "gb18030" if declared == "utf-8" else "utf-8"
    resource = interface(size=50, source={"encoding": declared})
    error = fails(http_server, place, tmp_path, DeliveryRefused, resource)
    assert error.rule_id == "delivery.encoding"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "answer",
    [
        {"code": "0"},
        {"code": "0", "data": {"rows": []}},
        {"code": "0", "data": {"records": {"id": "1"}}},
        {"code": "0", "data": {"records": records(1)}},
        {"code": "0", "data": {"records": records(1), "total": "viele"}},
        {"code": "0", "data": [1]},
        [],
    ],
    ids=["no data", "no records", "an object", "no total", "no number", "no object", "a list"],
)
def test_f11_an_answer_of_another_shape_is_no_empty_delivery(
    http_server: Any, place: Settings, tmp_path: Path, answer: object
) -> None:
    http_server.answers["/things"] = lambda _: answer
    fails(http_server, place, tmp_path, SourceUnavailable if answer == [] else DeliveryRefused)


def test_f47_a_page_without_records_in_the_middle_is_no_end(http_server: Any, place: Settings, tmp_path: Path) -> None:
    http_server.answers["/things"] = lambda query: (
        {"code": "0", "data": {"records": records(2)}} if query["page"] == "1" else {"code": "0", "data": {}}
    )
    fails(http_server, place, tmp_path, DeliveryRefused, interface(total=False))


@pytest.mark.parametrize("kind", ["small_length", "dribble"])
def test_f47_a_body_of_another_length_or_without_end_is_unavailable(
    http_server: Any, place: Settings, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(http_server, monkeypatch, extra={"page_timeout": 0.5, "attempts": 2, "timeout": 1})
    http_server.data["/things"] = records(2)
    http_server.faults.kind, http_server.faults.seconds = kind, 0.1
    before = time.monotonic()
    assert "2 tries" in str(fails(http_server, place, tmp_path, SourceUnavailable))
    assert time.monotonic() - before < 4


def test_f47_a_packed_body_never_unpacks_beyond_the_cap(http_server: Any, place: Settings, tmp_path: Path) -> None:
    bomb = gzip.compress(b'{"code": "0", "data": "' + b" " * (50 << 20))
    http_server.raw["/things"] = (200, {"Content-Encoding": "gzip"}, bomb)
    tracemalloc.start()
    try:
        error = fails(http_server, place, tmp_path, DeliveryRefused, interface(source={"max_page_mb": 1}))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert error.rule_id == "delivery.too_large"  # type: ignore[attr-defined]


@pytest.mark.parametrize("packed", [b"", b"\x1f\x8b", b"nothing of the kind", gzip.compress(b"{}", mtime=0) + b"more"])
def test_f47_a_damaged_packing_is_unavailable(http_server: Any, place: Settings, tmp_path: Path, packed: bytes) -> None:
    http_server.raw["/things"] = (200, {"Content-Encoding": "gzip"}, packed)
    fails(http_server, place, tmp_path, SourceUnavailable)


def test_f47_answers_beyond_the_cap_of_a_delivery_are_refused(
    http_server: Any, place: Settings, tmp_path: Path
) -> None:
    http_server.data["/things"] = [{"id": f"{i}" * 300_000, "name": ""} for i in range(8)]
    error = fails(http_server, place, tmp_path, DeliveryRefused, interface(source={"max_mb": 1}))
    assert error.rule_id == "delivery.too_large"  # type: ignore[attr-defined]
    assert len(http_server.requests) == 2


# --- pace ---------------------------------------------------------------------------------------------


def test_f47_retry_after_may_be_a_moment_by_the_servers_clock(
    http_server: Any, place: Settings, tmp_path: Path
) -> None:
    http_server.data["/things"] = records(1)
    moment = email.utils.formatdate(time.time() + 2, usegmt=True)
    http_server.faults.kind, http_server.faults.status, http_server.faults.times = "status", 503, 1
    http_server.faults.retry_after = moment
    before = time.monotonic()
    assert rows_of(open_at(interface(), place, tmp_path)) == as_rows(records(1))
    assert 0.9 <= time.monotonic() - before < 4


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("7", None, 7.0),
        ("Fri, 02 Oct 2026 00:01:00 GMT", "Fri, 02 Oct 2026 00:00:00 GMT", 60.0),
        ("Fri, 02 Oct 2026 00:00:00 GMT", "Fri, 02 Oct 2026 00:01:00 GMT", 0.0),
        ("morgen", None, None),
        ("-5", None, None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_retry_after_in_both_its_forms(value: str | None, date: str | None, seconds: float | None) -> None:
    assert read_retry_after(value, date) == seconds


def test_f47_a_server_that_asks_for_an_hour_is_unavailable_at_once(
    http_server: Any, place: Settings, tmp_path: Path
) -> None:
    http_server.data["/things"] = records(1)
    http_server.faults.kind, http_server.faults.status, http_server.faults.retry_after = "status", 429, 3600
    assert "asks to wait 3600 s" in str(fails(http_server, place, tmp_path, SourceUnavailable))
    assert len(http_server.requests) == 1


def test_the_departments_rate_is_kept_retries_included(http_server: Any, place: Settings, tmp_path: Path) -> None:
    moments: list[float] = []

    def answer(query: Any) -> list[dict[str, Any]]:
        moments.append(time.monotonic())
        return records(7)

    http_server.data["/things"] = answer
    assert len(rows_of(open_at(interface(source={"max_per_minute": 300}), place, tmp_path))) == 7
    assert len(moments) == 4
    assert moments[-1] - moments[0] >= 0.58
