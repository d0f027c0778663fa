"""What a department may read of another: views by sharing type, masked by level, and nothing else, measured with
``SET ROLE`` on a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from packages import at_day, deliver, make_department, make_resource
from psycopg import errors, sql
from small_catalog import write_department, write_resource
from typer.testing import CliRunner

from guiji.audit import verify_audit
from guiji.catalog import Catalog, Problem
from guiji.catalog.models import Resource
from guiji.cli import app
from guiji.cli_share import render_grants
from guiji.errors import UsageError, WarehouseUnavailable
from guiji.library.grants import grant_resource, list_grants, revoke_grant
from guiji.library.share_roles import role_name
from guiji.library.share_views import mask_sql, view_name
from guiji.library.sharing import render_sync, sync_sharing
from guiji.masking import mask
from guiji.settings import Settings
from guiji.warehouse import connect

FIELDS = [
    {"name": "id_no", "title": "公民身份号码", "sensitivity": 4},
    {"name": "name", "title": "姓名", "sensitivity": 3},
    {"name": "street", "title": "街道", "sensitivity": 2},
    {"name": "amount", "title": "金额", "type": "decimal128(18,4)", "sensitivity": 3},
]
CONDITIONAL = {"type": "有条件共享", "condition": "经公安局同意", "scope": "市本级部门", "purpose": "公共服务"}
ROWS = [
    {"id_no": "150602199001011234", "name": "包图雅", "street": "某街道", "amount": Decimal("12345.5000")},
    {"id_no": "150602199001015678", "name": "李四", "street": None, "amount": None},
]
MASKED = {
    ("1506************34", "包**", "某街道", "1234****00", date(2026, 10, 1)),
    ("1506************78", "李*", None, None, date(2026, 10, 1)),
}
PURPOSE = "核对老年津贴对象"


def shared(id: str, sharing: dict[str, str], **changes: Any) -> Resource:
    """A resource of the fields above, under this sharing type."""
    plain = make_resource(id, sharing=sharing)
    fields = changes.pop("fields", FIELDS)
    model = plain.model.model_validate({**plain.model.model_dump(by_alias=True), "fields": fields, **changes})
    return replace_model(plain, model)


def replace_model(resource: Resource, model: Any) -> Resource:
    return resource.model_copy(update={"model": model})


def make_catalog(*resources: Resource, departments: Sequence[str] = ("gaj", "mzj", "wjw"), **more: Any) -> Catalog:
    return Catalog({r.id: r for r in resources}, {d: make_department(d) for d in departments}, {}, **more)


OPEN = shared("gaj.open", {"type": "无条件共享"})
ASKED = shared("gaj.asked", CONDITIONAL)
SECRET = shared("gaj.secret", {"type": "不予共享", "legal_basis": "《保密法》"})


@pytest.fixture
def city(conn: Any, settings: Settings) -> tuple[Any, Settings]:
    """Three resources with two rows each, delivered on 1 October."""
    settings = at_day(settings, 1)
    for resource in (OPEN, ASKED, SECRET):
        deliver(conn, settings, resource, ROWS)
    conn.commit()
    return conn, settings


@contextmanager
def as_department(conn: Any, department: str) -> Iterator[Any]:
    """The session as that department's role."""
    conn.commit()
    name = sql.Identifier(role_name(conn.info.dbname, department))
    conn.execute(sql.SQL("SET ROLE {}").format(name))
    conn.commit()
    try:
        yield conn
    finally:
        conn.rollback()
        conn.execute("RESET ROLE")
        conn.commit()


def read(conn: Any, view: str) -> set[tuple[Any, ...]]:
    return {tuple(r.values()) for r in conn.execute(f'SELECT * FROM share."{view}"').fetchall()}


def readable(conn: Any, department: str) -> set[str]:
    """Every relation of our schemas that the department's role can read, found by reading it."""
    names = [
        (r["nspname"], r["relname"])
        for r in conn.execute(
            "SELECT nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE nspname IN ('ops', 'source', 'library', 'share', 'public') AND relkind IN ('r', 'p', 'v', 'm')"
        ).fetchall()
    ]
    assert len(names) > 25
    found = set()
    with as_department(conn, department):
        for schema, relation in names:
            try:
                conn.execute(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(sql.Identifier(schema, relation)))
                found.add(f"{schema}.{relation}")
            except errors.InsufficientPrivilege:
                pass
            conn.rollback()
    return found


def test_the_commands_grant_list_sync_and_revoke(
    conn: Any, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = tmp_path / "catalog"
    write_department(catalog, "gaj", "公安局")
    write_department(catalog, "mzj", "民政局")
    path = write_resource(catalog, "gaj.asked")
    path.write_text(
        path.read_text(encoding="utf-8").replace(
            "sharing: {type: 无条件共享}", f"sharing: {json.dumps(CONDITIONAL, ensure_ascii=False)}"
        ),
        encoding="utf-8",
    )
    resource = shared("gaj.asked", CONDITIONAL, fields=FIELDS[:2])
    deliver(conn, settings, resource, [{"id_no": r["id_no"], "name": r["name"]} for r in ROWS])
    conn.commit()
    for name, value in {"HOME": settings.home, "WAREHOUSE": settings.warehouse, "CATALOG": catalog}.items():
        monkeypatch.setenv(f"GUIJI_{name}", str(value))
    monkeypatch.setenv("GUIJI_NOW", "2026-10-02T09:00:00+08:00")

    def share(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["share", *arguments])
        assert (done.exit_code, done.exception if done.exit_code != code else None) == (code, None)
        return done.output

    assert "1 shared views" in share("sync")
    said = share("grant", "gaj.asked", "mzj", "--purpose", PURPOSE, "--until", "2026-12-31", "--field", "name")
    assert "granted: gaj__asked$1 → mzj" in said
    assert {"民政局", PURPOSE, "经公安局同意", "name", "有效至"} <= set(share("list").split())
    assert readable(conn, "mzj") == {"share.gaj__asked", "share.gaj__asked$1"}
    assert "view dropped: gaj__asked$1" in share("revoke", "gaj.asked", "mzj", "--why", "项目已结束")
    assert share("list") == "没有共享授权。\n"
    assert readable(conn, "mzj") == set()


# --- by sharing type ---------------------------------------------------------------------------------


def test_each_sharing_type_has_its_view_and_a_role_sees_nothing_else(city: tuple[Any, Settings]) -> None:
    conn, settings = city
    catalog = make_catalog(OPEN, ASKED, SECRET)
    grant_resource(conn, settings, catalog, ASKED.id, "mzj", purpose=PURPOSE, until=date(2026, 10, 31), who="wang")
    sync = sync_sharing(conn, settings, catalog)
    assert sync.made == ("gaj__asked", "gaj__open")
    assert sync.granted == ("gaj__asked → mzj", "gaj__open → gaj", "gaj__open → mzj", "gaj__open → wjw")
    assert {d: readable(conn, d) for d in ("mzj", "wjw")} == {
        "mzj": {"share.gaj__asked", "share.gaj__open"},
        "wjw": {"share.gaj__open"},
    }
    with as_department(conn, "mzj"):
        assert read(conn, "gaj__open") == MASKED
        assert read(conn, "gaj__asked") == MASKED


WRITES = (
    "INSERT INTO share.gaj__open (street) VALUES ('x')",
    "UPDATE share.gaj__open SET street = 'x'",
    "DELETE FROM share.gaj__open",
    "DROP VIEW share.gaj__open",
    "ALTER VIEW share.gaj__open SET (security_barrier = false)",
    "CREATE VIEW share.mine AS SELECT 1",
    "CREATE TABLE source.mine (a int)",
    "CREATE TABLE public.mine (a int)",
    "SELECT pg_read_file('PG_VERSION')",
    "COPY share.gaj__open TO PROGRAM 'cat'",
    "CREATE ROLE mine",
    "ALTER ROLE CURRENT_USER SUPERUSER",
)


def test_a_role_writes_nothing_and_makes_nothing(city: tuple[Any, Settings]) -> None:
    conn, settings = city
    sync_sharing(conn, settings, make_catalog(OPEN))
    done = []
    with psycopg.connect(conn.info.dsn, autocommit=True) as other:
        name = role_name(conn.info.dbname, "wjw")
        other.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(sql.Identifier(name)))
        assert other.execute("SELECT count(*) FROM share.gaj__open").fetchone() == (2,)
        for statement in WRITES:
            try:
                other.execute(statement)
                done.append(statement)
            except (errors.InsufficientPrivilege, errors.ObjectNotInPrerequisiteState):
                pass  # a view that is masked can't be written at all
    assert done == []


def test_a_second_sync_changes_nothing(city: tuple[Any, Settings]) -> None:
    conn, settings = city
    catalog = make_catalog(OPEN, ASKED)
    sync_sharing(conn, settings, catalog)
    before = conn.execute("SELECT count(*) AS n FROM ops.audit").fetchone()["n"]
    again = sync_sharing(conn, settings, catalog)
    assert not again.is_change
    assert render_sync(again) == "2 shared views, nothing to change"
    assert conn.execute("SELECT count(*) AS n FROM ops.audit").fetchone()["n"] == before


def test_many_views_are_made_some_at_a_time(city: tuple[Any, Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    conn, settings = city
    monkeypatch.setattr("guiji.library.sharing.VIEWS_AT_ONCE", 1)
    opened = shared("gaj.secret", {"type": "无条件共享"})
    sync = sync_sharing(conn, settings, make_catalog(OPEN, ASKED, opened))
    assert (sync.views, sync.made) == (3, ("gaj__asked", "gaj__open", "gaj__secret"))
    assert readable(conn, "wjw") == {"share.gaj__open", "share.gaj__secret"}
    secret = [{**FIELDS[0]}, {**FIELDS[2], "sensitivity": 3}]
    changed = [shared(f"gaj.{n}", {"type": "无条件共享"}, fields=secret) for n in ("open", "secret")]
    sync = sync_sharing(conn, settings, make_catalog(*changed))
    assert (sync.views, sync.made, sync.dropped) == (2, ("gaj__open", "gaj__secret"), ("gaj__asked",))
    with as_department(conn, "wjw"):
        assert {r[1] for r in read(conn, "gaj__secret")} == {"某**", None}


def test_a_view_shows_the_rows_that_serve_and_no_system_column(city: tuple[Any, Settings]) -> None:
    conn, settings = city
    catalog = make_catalog(OPEN)
    sync_sharing(conn, settings, catalog)
    deliver(conn, at_day(settings, 2), OPEN, [ROWS[0], {**ROWS[1], "id_no": "150602199001019999"}], day=2)
    with as_department(conn, "wjw"):
        rows = conn.execute("SELECT * FROM share.gaj__open ORDER BY id_no").fetchall()
    assert [list(r) for r in rows] == [["id_no", "name", "street", "amount", "_batch_date"]] * 2
    assert [(r["id_no"], r["_batch_date"]) for r in rows] == [
        ("1506************34", date(2026, 10, 1)),
        ("1506************99", date(2026, 10, 2)),
    ]


def test_a_field_the_catalog_loses_or_lowers_changes_the_view(city: tuple[Any, Settings]) -> None:
    conn, settings = city
    sync_sharing(conn, settings, make_catalog(OPEN))
    changed = [{**FIELDS[0]}, {**FIELDS[1], "sensitivity": 2}, FIELDS[3], {"name": "late", "title": "新项"}]
    sync = sync_sharing(conn, settings, make_catalog(shared("gaj.open", {"type": "无条件共享"}, fields=changed)))
    assert sync.made == ("gaj__open",)
    with as_department(conn, "wjw"):
        rows = conn.execute("SELECT * FROM share.gaj__open ORDER BY id_no").fetchall()
    # `late` stands in the catalog, not yet in the table
    assert [list(r) for r in rows] == [["id_no", "name", "amount", "_batch_date"]] * 2
    assert {r["name"] for r in rows} == {"包图雅", "李四"}


# --- masking -----------------------------------------------------------------------------------------


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=24), max_size=20)
)
def test_the_mask_in_sql_is_the_mask(conn: Any, texts: list[str]) -> None:
    query = sql.SQL("SELECT {} AS m FROM unnest(%s::text[]) WITH ORDINALITY u (t, i) ORDER BY i").format(
        mask_sql(sql.SQL("t"))
    )
    assert [r["m"] for r in conn.execute(query, (texts,))] == [mask(t) for t in texts]


def test_every_type_of_a_personal_field_is_masked(conn: Any, settings: Settings) -> None:
    settings = at_day(settings, 1)
    types = {
        "key": "string",
        "big": "int64",
        "real": "float64",
        "yes": "bool",
        "born": "date32",
        "at": "timestamp",
        "place": "geometry",
    }
    fields = [
        {"name": n, "title": n, "type": t, "sensitivity": 4, **({"crs": "EPSG:4490"} if t == "geometry" else {})}
        for n, t in types.items()
    ]
    resource = shared("gaj.types", {"type": "无条件共享"}, fields=fields, key=["key"])
    row = {
        "key": "k1",
        "big": 13912345678,
        "real": 1234.5,
        "yes": True,
        "born": date(1990, 1, 31),
        "at": settings.now(),
        "place": b"\x01\x02",
    }
    deliver(conn, settings, resource, [row, {"key": "k2"}])
    sync_sharing(conn, settings, make_catalog(resource))
    with as_department(conn, "wjw"):
        conn.execute("SET DateStyle = 'German'; SET extra_float_digits = -10; SET TimeZone = 'America/New_York'")
        assert read(conn, "gaj__types") == {
            (
                "k*",
                "1391*****78",
                "12***5",
                "*",
                "1990****31",
                "2026" + "*" * 13 + "00",
                None,
                date(2026, 10, 1),
            ),
            ("k*", None, None, None, None, None, None, date(2026, 10, 1)),
        }


def test_a_leaky_function_sees_no_row_and_no_value_that_the_view_hides(city: tuple[Any, Settings]) -> None:
    conn, settings = city
    sync_sharing(conn, settings, make_catalog(OPEN))
    deliver(conn, at_day(settings, 2), OPEN, [ROWS[0]], day=2)
    conn.commit()
    with psycopg.connect(conn.info.dsn, autocommit=True) as other:
        heard: list[str] = []
        other.add_notice_handler(lambda d: heard.append(d.message_primary or ""))
        name = role_name(conn.info.dbname, "wjw")
        other.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(sql.Identifier(name)))
        other.execute(
            "CREATE FUNCTION pg_temp.tell(v text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS"
            " $$ BEGIN RAISE NOTICE '%', v; RETURN true; END $$"
        )
        for column in ("id_no", "name", "street"):
            other.execute(f"SELECT count(*) FROM share.gaj__open WHERE pg_temp.tell(coalesce({column}, 'null'))")
    assert heard == ["1506************34", "包**", "某街道"]


# --- grants ------------------------------------------------------------------------------------------


def test_a_grant_that_names_a_field_shows_it_in_clear_to_that_department_only(city: tuple[Any, Settings]) -> None:
    conn, settings = city
    catalog = make_catalog(OPEN, ASKED)
    options: Any = {"purpose": PURPOSE, "until": date(2026, 10, 31), "who": "wang"}
    grant = grant_resource(
        conn, settings, catalog, ASKED.id, "mzj", fields=["id_no"], agreement="鄂数〔2026〕1号", **options
    )
    grant_resource(conn, settings, catalog, ASKED.id, "wjw", **options)
    sync_sharing(conn, settings, catalog)
    own = view_name("gaj__asked", grant.grant_id)
    assert readable(conn, "mzj") == {"share.gaj__open", "share.gaj__asked", f"share.{own}"}
    assert readable(conn, "wjw") == {"share.gaj__open", "share.gaj__asked"}
    with as_department(conn, "mzj"):
        assert {r[:2] for r in read(conn, own)} == {("150602199001011234", "包**"), ("150602199001015678", "李*")}
        assert read(conn, "gaj__asked") == MASKED
    # the field's level rises: what was granted for level 4 no longer covers it once it was granted at 3
    low = shared("gaj.asked", CONDITIONAL, fields=[{**FIELDS[0], "sensitivity": 3}, *FIELDS[1:]])
    grant = grant_resource(conn, settings, make_catalog(OPEN, low), ASKED.id, "mzj", fields=["id_no"], **options)
    sync_sharing(conn, settings, make_catalog(OPEN, low))
    sync = sync_sharing(conn, settings, catalog)
    assert view_name("gaj__asked", grant.grant_id) in sync.dropped
    assert readable(conn, "mzj") == {"share.gaj__open", "share.gaj__asked"}


def test_a_grant_that_ran_out_is_withdrawn_at_the_next_sync(city: tuple[Any, Settings]) -> None:
    conn, settings = city
    catalog = make_catalog(ASKED)
    grant_resource(conn, settings, catalog, ASKED.id, "mzj", purpose=PURPOSE, until=date(2026, 10, 5), who="wang")
    sync_sharing(conn, settings, catalog)
    assert sync_sharing(conn, at_day(settings, 5), catalog).ended == ()
    assert readable(conn, "mzj") == {"share.gaj__asked"}
    sync = sync_sharing(conn, at_day(settings, 6), catalog)
    assert sync.ended == ("gaj.asked → mzj：授权已到期（有效期至2026-10-05）",)
    assert sync.revoked == ("gaj__asked → mzj",)
    assert readable(conn, "mzj") == set()
    assert [g.ended_by for g in list_grants(conn, ended=True)] == ["guiji"]


@pytest.mark.parametrize("key", ["condition", "scope"])
def test_changed_terms_end_a_grant(city: tuple[Any, Settings], key: str) -> None:
    conn, settings = city
    grant_resource(
        conn, settings, make_catalog(ASKED), ASKED.id, "mzj", purpose=PURPOSE, until=date(2026, 12, 31), who="wang"
    )
    sync_sharing(conn, settings, make_catalog(ASKED))
    other = shared("gaj.asked", {**CONDITIONAL, key: "另行约定"})
    sync = sync_sharing(conn, settings, make_catalog(other))
    assert sync.ended == ("gaj.asked → mzj：目录所列的共享类型、条件或范围已变更，须重新申请",)
    assert readable(conn, "mzj") == set()


def test_what_becomes_secret_or_leaves_the_catalog_loses_its_view(city: tuple[Any, Settings]) -> None:
    conn, settings = city
    sync_sharing(conn, settings, make_catalog(OPEN, ASKED))
    secret = shared("gaj.open", {"type": "不予共享", "legal_basis": "《保密法》"})
    assert sync_sharing(conn, settings, make_catalog(secret)).dropped == ("gaj__asked", "gaj__open")
    assert readable(conn, "wjw") == set()


def test_a_department_that_leaves_the_catalog_keeps_no_right(city: tuple[Any, Settings]) -> None:
    conn, settings = city
    sync_sharing(conn, settings, make_catalog(OPEN))
    sync = sync_sharing(conn, settings, make_catalog(OPEN, departments=("gaj", "wjw")))
    assert sync.revoked == ("gaj__open → mzj",)
    assert readable(conn, "mzj") == set()


def test_a_broken_catalog_file_takes_no_view_away_and_gives_none(city: tuple[Any, Settings]) -> None:
    conn, settings = city
    catalog = make_catalog(OPEN, ASKED)
    for department, until in (("mzj", 31), ("wjw", 2)):
        grant_resource(
            conn, settings, catalog, ASKED.id, department, purpose=PURPOSE, until=date(2026, 10, until), who="wang"
        )
    sync_sharing(conn, settings, catalog)
    problem = Problem("gaj/asked.yml", 1, 1, "broken")
    broken = make_catalog(broken={"gaj/asked.yml": (problem,), "gaj/open.yml": (problem,)})
    sync = sync_sharing(conn, at_day(settings, 3), broken)
    assert (sync.dropped, sync.revoked) == ((), ("gaj__asked → wjw",))
    assert readable(conn, "mzj") == {"share.gaj__asked", "share.gaj__open"}
    assert readable(conn, "wjw") == {"share.gaj__open"}


def test_a_broken_department_file_takes_no_right_away(city: tuple[Any, Settings]) -> None:
    conn, settings = city
    sync_sharing(conn, settings, make_catalog(OPEN))
    problem = Problem("wjw/department.yml", 1, 1, "broken")
    broken = make_catalog(OPEN, departments=("gaj",), broken={"wjw/department.yml": (problem,)})
    # mzj has left the catalog, of wjw nobody knows
    assert sync_sharing(conn, settings, broken).revoked == ("gaj__open → mzj",)
    assert readable(conn, "wjw") == {"share.gaj__open"}


def test_who_gave_what_for_which_purpose_stands_in_the_audit_trail(city: tuple[Any, Settings]) -> None:
    conn, settings = city
    catalog = make_catalog(ASKED)
    grant_resource(
        conn, settings, catalog, ASKED.id, "mzj", purpose=PURPOSE, until=date(2026, 10, 31), who="wang", fields=["name"]
    )
    assert PURPOSE in render_grants(list_grants(conn), catalog)
    revoke_grant(conn, settings, ASKED.id, "mzj", who="zhao", why="项目已结束")
    rows = conn.execute(
        "SELECT actor, action, object, detail FROM ops.audit WHERE action LIKE 'share.%' ORDER BY audit_id"
    ).fetchall()
    assert [(r["actor"], r["action"], r["object"]) for r in rows] == [
        ("wang", "share.granted", "gaj.asked → mzj"),
        ("zhao", "share.ended", "gaj.asked → mzj"),
    ]
    assert rows[0]["detail"] == {
        "grant": 1,
        "purpose": PURPOSE,
        "terms": {"type": "有条件共享", "condition": "经公安局同意", "scope": "市本级部门"},
        "fields": {"name": 3},
        "agreement": None,
        "until": "2026-10-31",
    }
    assert rows[1]["detail"]["why"] == "项目已结束"
    assert verify_audit(conn) is None
    assert list_grants(conn) == []
    assert "项目已结束" in render_grants(list_grants(conn, ended=True), catalog)


@pytest.mark.parametrize(
    ("resource", "department", "changes", "says"),
    [
        ("gaj.secret", "mzj", {}, "不予共享"),
        ("gaj.asked", "nobody", {}, "no department 'nobody'"),
        ("gaj.asked", "mzj", {"purpose": "  "}, "needs the purpose"),
        ("gaj.asked", "mzj", {"until": date(2026, 9, 30)}, "has passed"),
        ("gaj.asked", "mzj", {"fields": ["street"]}, "Masked fields: id_no, name, amount"),
    ],
)
def test_an_unsound_grant_is_refused(
    city: tuple[Any, Settings], resource: str, department: str, changes: dict[str, Any], says: str
) -> None:
    conn, settings = city
    options: Any = {"purpose": PURPOSE, "until": date(2026, 10, 31), "who": "wang", **changes}
    with pytest.raises(UsageError, match=says) as caught:
        grant_resource(conn, settings, make_catalog(ASKED, SECRET), resource, department, **options)
    assert str(caught.value).endswith("Nothing was granted.")
    assert list_grants(conn, ended=True) == []


# --- roles -------------------------------------------------------------------------------------------


def test_rights_that_somebody_gave_by_hand_are_taken_away(city: tuple[Any, Settings]) -> None:
    conn, settings = city
    catalog = make_catalog(OPEN, ASKED)
    sync_sharing(conn, settings, catalog)
    role = sql.Identifier(role_name(conn.info.dbname, "wjw"))
    for right in (
        "SELECT ON source.gaj__open TO {}",
        "SELECT (name) ON source.gaj__asked TO {}",
        "USAGE ON SCHEMA source, ops TO {}",
        "SELECT ON ops.audit TO PUBLIC",
        "UPDATE ON share.gaj__open TO {} WITH GRANT OPTION",
        "pg_read_all_data TO {}",
    ):
        conn.execute(sql.SQL("GRANT " + right).format(role))
    conn.execute(sql.SQL("ALTER ROLE {} LOGIN CREATEDB").format(role))
    conn.commit()
    assert len(readable(conn, "wjw")) > 25
    sync = sync_sharing(conn, settings, catalog)
    assert set(sync.revoked) == {
        "source.gaj__open → wjw", "source.gaj__asked → wjw", "source → wjw", "ops → wjw", "ops.audit → PUBLIC",
        "gaj__open → wjw",
    }  # fmt: skip
    assert readable(conn, "wjw") == {"share.gaj__open"}
    found = conn.execute(
        "SELECT rolcanlogin, rolcreatedb FROM pg_roles WHERE rolname = %s", (role_name(conn.info.dbname, "wjw"),)
    ).fetchone()
    assert found == {"rolcanlogin": False, "rolcreatedb": False}
    assert not sync_sharing(conn, settings, catalog).is_change


def test_a_user_without_the_right_to_make_roles_is_told_what_to_run(city: tuple[Any, Settings]) -> None:
    conn, settings = city
    database = conn.info.dbname
    weak = sql.Identifier(f"weak_{database}")
    conn.execute(sql.SQL("CREATE ROLE {}").format(weak))
    conn.execute(sql.SQL("GRANT USAGE ON SCHEMA ops, source TO {}").format(weak))
    conn.execute(sql.SQL("GRANT ALL ON ALL TABLES IN SCHEMA ops, source TO {}").format(weak))
    conn.commit()
    conn.execute(sql.SQL("SET ROLE {}").format(weak))
    conn.commit()
    with pytest.raises(UsageError, match="CREATEROLE") as caught:
        sync_sharing(conn, settings, make_catalog(OPEN, departments=["wjw"]))
    conn.execute("RESET ROLE")
    assert "Nothing was shared" in str(caught.value)
    told = str(caught.value).split(":\n")[1].split("\nNothing")[0]
    conn.execute(told)  # what it says works
    conn.commit()
    sync = sync_sharing(conn, settings, make_catalog(OPEN, departments=["wjw"]))
    assert (sync.roles, readable(conn, "wjw")) == ((), {"share.gaj__open"})
    conn.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(weak))


def test_a_role_of_somebody_else_is_not_taken(city: tuple[Any, Settings]) -> None:
    conn, settings = city
    role = role_name(conn.info.dbname, "wjw")
    conn.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
    conn.commit()
    with pytest.raises(UsageError, match="did not make"):
        sync_sharing(conn, settings, make_catalog(OPEN, departments=["wjw"]))
    assert conn.execute("SELECT count(*) AS n FROM ops.share_view").fetchone()["n"] == 0


def test_two_warehouses_in_one_server_have_roles_of_their_own() -> None:
    names = {role_name(d, "gaj") for d in ("city", "city_two", "x" * 60 + "1", "x" * 60 + "2", "市" * 20)}
    assert len(names) == 5
    assert max(len(role_name(d, "d" * 21).encode()) for d in ("x" * 60, "市" * 20, "x" * 34)) <= 63


def test_a_long_query_is_not_cut_and_the_sync_gives_way(
    city: tuple[Any, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    conn, settings = city
    sync_sharing(conn, settings, make_catalog(OPEN))
    monkeypatch.setattr("guiji.library.sharing.LOCK_TIMEOUT", "200ms")
    with connect(settings) as reader:
        reader.execute("SELECT count(*) FROM share.gaj__open")
        with pytest.raises(WarehouseUnavailable, match="No view and no right was changed"):
            sync_sharing(conn, settings, make_catalog(SECRET))
        reader.commit()
    assert readable(conn, "wjw") == {"share.gaj__open"}
    assert sync_sharing(conn, settings, make_catalog(SECRET)).dropped == ("gaj__open",)
