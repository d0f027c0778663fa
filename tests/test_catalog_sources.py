"""The example catalog has every source and library that S3 names; a further library needs no code.

S3 = 鄂府办发〔2023〕92号, 建设完善数据资源库.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import airflow_here  # noqa: F401  before Airflow
import pytest
import yaml
from bad_input import run_command

from guiji.catalog import check_catalog, load_catalog
from guiji.settings import ROOT, Settings

EXAMPLE = ROOT / "include" / "catalog"
#: library -> the departments that S3 names as its sources, by their folders
BASE = {
    "population": {"gaj", "wjw", "mzj", "rsj"},
    "legal_person": {"scjg", "mzj", "swj"},
    "natural_resource": {"cgj", "jtj", "qxj", "yjj", "lcj"},
    "economy": {"tjj", "czj", "fgw", "swj", "swt"},
}
#: library -> its name in S3, and the department that leads it
TOPICS = {
    "medical_health": ("医疗健康", "wjw"),
    "government_service": ("政务服务", "xzsp"),
    "social_security": ("社会保障", "rsj"),
    "ecology": ("生态环保", "sthj"),
    "credit": ("信用体系", "fgw"),
    "emergency": ("应急管理", "yjj"),
    "state_assets": ("国资监管", "gzw"),
    "industry_energy": ("工业能源", "gxj"),
}


def departments_by_library() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for resource in load_catalog(EXAMPLE).resources.values():
        for mapping in resource.model.mappings:
            found.setdefault(mapping.library, set()).add(resource.model.department_id)
    return found


def test_the_libraries_are_the_four_and_the_eight() -> None:
    libraries = load_catalog(EXAMPLE).libraries
    assert {n for n, x in libraries.items() if x.kind == "base"} == set(BASE)
    assert {n: x.title for n, x in libraries.items() if x.kind == "topic"} == {
        name: f"{title}主题库" for name, (title, _) in TOPICS.items()
    }


def test_every_department_that_s3_names_feeds_its_base_library() -> None:
    found = departments_by_library()
    assert {name: BASE[name] - found[name] for name in BASE} == {name: set() for name in BASE}
    # 其它部门许可、监管、执法: licences, inspections, penalties
    feeds = {
        r.id for r in load_catalog(EXAMPLE).resources.values() for m in r.model.mappings if m.library == "legal_person"
    }
    assert feeds >= {"xzsp.licence", "scjg.inspection", "fgw.penalty"}


def test_every_topic_is_fed_by_the_department_that_leads_it() -> None:
    found = departments_by_library()
    assert {name: lead in found[name] for name, (_, lead) in TOPICS.items()} == dict.fromkeys(TOPICS, True)


def test_the_economy_has_annual_monthly_census_and_special_data() -> None:
    """年度数据、月度数据、普查数据和专题数据, of 统计、财政、发改、税收、投资、消费、进出口、物价."""
    feeds = {r.id for r in load_catalog(EXAMPLE).resources.values() for m in r.model.mappings if m.library == "economy"}
    assert feeds == {
        "tjj.annual_indicator",
        "tjj.monthly_indicator",
        "tjj.census",
        "czj.fiscal_revenue",
        "fgw.price_index",
        "fgw.key_project",
        "swj.tax_revenue",
        "swt.foreign_trade",
    }


def test_the_gaps_of_the_demand_lists_are_those_that_are_meant() -> None:
    """Every library has a 数据需求清单 that names what feeds it; what nobody supplies yet is said in the README."""
    catalog = load_catalog(EXAMPLE)
    text = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    meant = set(re.findall(r"`([a-z]+\.[a-z_]+)`", text.partition("Gaps on the demand lists")[2].partition("\n\n")[0]))
    gaps = set()
    for library in catalog.libraries.values():
        feeds = {r.id for r in catalog.resources.values() for m in r.model.mappings if m.library == library.name}
        assert feeds - set(library.demand) == set(), library.name
        gaps |= set(library.demand) - feeds
    assert gaps == meant
    assert gaps & set(catalog.resources) == set()
    assert len(gaps) > 4


def test_the_readme_says_what_is_there() -> None:
    """The table of resources is the catalog's: ids, names, ways, loads, cycles and libraries."""
    catalog = load_catalog(EXAMPLE)
    text = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    rows = [
        [c.strip() for c in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if re.match(r"\| [a-z]+\.", line)
    ]
    assert {row[0].split()[0]: (row[4], row[5], row[6]) for row in rows} == {
        r.id: (r.model.load, r.model.update_cycle.value, ", ".join(m.library for m in r.model.mappings))
        for r in catalog.resources.values()
    }
    libraries = re.findall(r"^\| ([a-z_]+) (\S+库) \|", text, re.M)
    assert dict(libraries) == {x.name: x.title for x in catalog.libraries.values()}
    counts = f"{len(catalog.departments)} departments, {len(catalog.resources)} resources, {len(catalog.libraries)} libraries"
    assert counts in text


def test_the_pages_count_the_same() -> None:
    catalog = load_catalog(EXAMPLE)
    resources = str(len(catalog.resources))
    assert re.findall(r"has (\d+) further resources", (ROOT / "docs" / "catalog.md").read_text(encoding="utf-8")) == [
        resources
    ]
    said = re.findall(
        r"example catalog: (\d+) resources of (\d+) departments", (ROOT / "README.md").read_text(encoding="utf-8")
    )
    assert said == [(resources, str(len(catalog.departments)))]
    chinese = re.findall(
        r"(\d+) 个部门、(\d+) 项资源、(\d+) 个库", (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
    )
    assert chinese == [(str(len(catalog.departments)), resources, str(len(catalog.libraries)))]


def test_a_field_name_that_the_history_takes_is_found_by_the_check(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog"
    shutil.copytree(EXAMPLE, catalog)
    path = catalog / "libraries" / "government_service.yml"
    path.write_text(
        path.read_text(encoding="utf-8").replace("name: decided_date,", "name: valid_from,"), encoding="utf-8"
    )
    said = [str(p) for p in check_catalog(catalog)]
    assert any("government_service.yml:" in s and "'valid_from' is taken by the library's history" in s for s in said)


# --- words of the window --------------------------------------------------------------------------------

MEND = 'Write "{window_start}", "{window_end}"'


def said_of(tmp_path: Path, parameters: str) -> list[str]:
    """What the check says of an interface that is asked with ``parameters``."""
    catalog = tmp_path / "catalog"
    shutil.copytree(EXAMPLE, catalog)
    path = catalog / "rsj" / "employment.yml"
    text = path.read_text(encoding="utf-8")
    former = 'parameters: {since: "{window_start}", until: "{window_end}"}'
    assert text.count(former) == 1
    path.write_text(text.replace(former, parameters), encoding="utf-8")
    return [str(p) for p in check_catalog(catalog)]


@pytest.mark.parametrize(
    "word",
    ["{window_start:ms}", "{window_start:YYYY-MM-DD}", "{window_begin}", "{windowStart}", "{window_start:}",
     "{window_end:%s}", "{window_start:%Y-%m-%d %Q}", "{ window_start }", "{window_start"],
)  # fmt: skip
@pytest.mark.parametrize("place", ["parameters", "body"])
def test_a_word_of_the_window_that_would_be_sent_as_it_stands_is_found_by_the_check(
    tmp_path: Path, word: str, place: str
) -> None:
    said = said_of(
        tmp_path,
        f'parameters: {{since: "{word}"}}'
        if place == "parameters"
        else f'method: post\n  body: {{a: [{{since: "{word}"}}]}}',
    )
    path = "source.parameters.since" if place == "parameters" else "source.body.a[0].since"
    found = [s for s in said if path in s]
    assert len(found) == 1
    assert "employment.yml:2" in found[0]
    assert f"{word!r} " in found[0]
    assert "it would be sent as it stands" in found[0]
    assert MEND in found[0]


@pytest.mark.parametrize(
    "word",
    ["{window_start}", "{window_end:milliseconds}", "{window_start:seconds}", "{window_start:%Y-%m-%dT%H:%M:%S.000Z}",
     "{window_start:%Y%m%d}000000,{window_end:%-m/%-d/%Y}", "{window_start:%F %T}", "{other}", "window_start", "100%"],
)  # fmt: skip
def test_words_of_the_window_in_any_form_pass_the_check(tmp_path: Path, word: str) -> None:
    assert [s for s in said_of(tmp_path, f'parameters: {{since: "{word}"}}') if "source.parameters" in s] == []


# --- a ninth topic and a fifth base library -------------------------------------------------------------

LAW_ENFORCEMENT: dict[str, Any] = {
    "name": "law_enforcement",
    "table": "penalty_decision",
    "title": "行政执法主题库",
    "kind": "topic",
    "demand": ["fgw.penalty"],
    "key": [{"name": "document_no", "title": "决定书文号"}],
    "fields": [
        {"name": "name", "title": "相对人名称", "strategy": "longest", "authority": ["fgw"]},
        {"name": "kind", "title": "处罚类别", "authority": ["fgw"]},
        {"name": "amount", "title": "罚款金额", "type": "decimal128(18,6)", "authority": ["fgw"], "tolerance": 0.01},
    ],
}
SPATIAL: dict[str, Any] = {
    "name": "spatial",
    "table": "place",
    "title": "空间地理库",
    "kind": "base",
    "demand": ["lcj.forest_parcel", "zrzy.parcel"],
    "key": [{"name": "code", "title": "编码"}],
    "fields": [
        {"name": "name", "title": "名称", "authority": ["lcj"]},
        {"name": "division", "title": "区划代码", "strategy": "newest_non_null"},
        {
            "name": "shape",
            "title": "图形",
            "type": "geometry",
            "crs": "EPSG:4490",
            "sensitivity": 2,
            "authority": ["lcj"],
        },
    ],
}
MAPPINGS: dict[str, dict[str, Any]] = {
    "fgw/penalty.yml": {
        "library": "law_enforcement",
        "key": ["document_no"],
        "fields": {"name": "name", "kind": "kind", "amount": "amount"},
    },
    "lcj/forest_parcel.yml": {
        "library": "spatial",
        "key": ["code"],
        "fields": {"name": "name", "division": "division", "shape": "parcel"},
    },
}
PENALTIES = (
    "行政处罚决定书文号,行政相对人代码,行政相对人名称,违法行为类型,处罚类别,罚款金额（万元）,处罚决定日期,公示截止期,处罚机关\r\n"
    "鄂罚〔2026〕1,911506271000000086,鄂尔多斯市利嘉娜农牧有限责任公司,超限运输,罚款,1.5,2026/09/18,2027/09/18,市交通运输局\r\n"
    "鄂罚〔2026〕2,911506271000000086,鄂尔多斯市利嘉娜农牧有限责任公司,超限运输,警告,,2026/09/19,2027/09/19,市交通运输局\r\n"
)
RING = [[109.9, 39.8], [109.91, 39.8], [109.91, 39.81], [109.9, 39.81], [109.9, 39.8]]
PARCEL = {
    "xbbh": "15060200000000001",
    "lc": "造林总场",
    "xzqh": "150602",
    "dl": "灌木林地",
    "yssz": "柠条",
    "mj": "95.1",
    "qs": "国有",
}


@pytest.fixture
def extended(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The example catalog with two libraries more, by files alone, and a delivery for each."""
    catalog, exports = tmp_path / "catalog", tmp_path / "exports"
    shutil.copytree(EXAMPLE, catalog)
    for library in (LAW_ENFORCEMENT, SPATIAL):
        (catalog / "libraries" / f"{library['name']}.yml").write_text(yaml.safe_dump(library, allow_unicode=True))
    for name, mapping in MAPPINGS.items():
        body = yaml.safe_load((catalog / name).read_text(encoding="utf-8"))
        body["mappings"].append(mapping)
        body.setdefault("tolerance", {})["rejected"] = 0.5
        (catalog / name).write_text(yaml.safe_dump(body, allow_unicode=True))
    for folder in ("fgw", "lcj"):
        (exports / folder).mkdir(parents=True)
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as packed:
        packed.writestr("行政处罚.csv", PENALTIES.encode("gb18030"))
    (exports / "fgw" / "行政处罚_202609.zip").write_bytes(sink.getvalue())
    feature = {"type": "Feature", "properties": PARCEL, "geometry": {"type": "Polygon", "coordinates": [RING]}}
    geojson = json.dumps({"type": "FeatureCollection", "features": [feature]}, ensure_ascii=False)
    (exports / "lcj" / "林地小班_2025.geojson").write_text(geojson, encoding="utf-8")
    monkeypatch.setenv("GUIJI_EXPORTS", str(exports))
    return replace(settings, catalog=catalog)


def command(settings: Settings, *arguments: str) -> str:
    done = run_command(settings, *arguments, GUIJI_NOW="2026-10-09T09:00:00+08:00")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(240)
def test_a_ninth_topic_and_a_fifth_base_library_are_files_alone(extended: Settings, conn: Any, tmp_path: Path) -> None:
    assert check_catalog(extended.catalog) == []
    for resource_id, rows in (("fgw.penalty", 2), ("lcj.forest_parcel", 1)):
        row = json.loads(command(extended, "run", resource_id, "--json").splitlines()[-1])
        assert (row["status"], row["rows_new"]) == ("published", rows)
    for name in ("law_enforcement", "spatial"):
        command(extended, "resolve", name)
    decisions = conn.execute("SELECT document_no, name, kind, amount::text FROM library.penalty_decision").fetchall()
    assert {tuple(r.values()) for r in decisions} == {
        ("鄂罚〔2026〕1", "鄂尔多斯市利嘉娜农牧有限责任公司", "罚款", "1.500000"),
        ("鄂罚〔2026〕2", "鄂尔多斯市利嘉娜农牧有限责任公司", "警告", None),
    }
    places = conn.execute("SELECT code, name, division, length(shape) > 50 AS drawn FROM library.place").fetchall()
    assert [tuple(r.values()) for r in places] == [("15060200000000001", "造林总场", "150602", True)]
    conn.rollback()

    card = command(extended, "trace", "law_enforcement", "鄂罚〔2026〕1")
    assert [word for word in ("行政执法主题库", "相对人名称", "1.500000", "双公示") if word not in card] == [], card
    card = command(extended, "trace", "spatial", "15060200000000001")
    assert [word for word in ("空间地理库", "林地小班", "造林总场") if word not in card] == [], card

    command(extended, "report", "2026-09", "--as-of", "2026-10-09", "--out", str(tmp_path / "out"))
    page = next((tmp_path / "out").rglob("*.html")).read_text(encoding="utf-8")
    libraries = dict(re.findall(r'<tr><td style="white-space:nowrap">([^<]+库)</td><td class="r">([^<]*)</td>', page))
    assert set(libraries) == {x.title for x in load_catalog(extended.catalog).libraries.values()}
    assert (libraries["行政执法主题库"], libraries["空间地理库"]) == ("2", "1")


def test_their_dags_are_there(extended: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("GUIJI_CATALOG", str(extended.catalog))
    monkeypatch.setenv("GUIJI_HOME", str(extended.home))
    bag = DagBag(ROOT / "dags", load_op_links=False)
    assert bag.import_errors == {}
    assert {d for d in bag.dags if d.startswith("library.")} == {
        f"library.{name}" for name in (*BASE, *TOPICS, "law_enforcement", "spatial")
    }
    assert all("配置错误" not in d.tags for d in bag.dags.values())
