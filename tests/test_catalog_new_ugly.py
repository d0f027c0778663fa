"""``catalog new`` on what departments really send: ugly files become drafts that lose no row and hide no person."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
import xlwt
from bad_input import sound_rows
from hypothesis import given
from hypothesis import strategies as st
from test_catalog_new import bring, fields_of, place

from guiji.authoring.facts import name_codes
from guiji.authoring.file_names import find_title, make_pattern
from guiji.authoring.new import demand_department, draft_resource
from guiji.authoring.peek import find_record_lists
from guiji.codes import list_code_tables, load_code_table
from guiji.errors import DeliveryRefused, UsageError
from guiji.masking import show_name
from guiji.settings import Settings

__all__ = ["place"]

IDS = [row[0] for row in sound_rows(60)]
NAMES = [f"{'王李张刘陈杨赵黄周吴'[i % 10]}{'伟芳娜敏静丽'[i % 6]}{'强' * (i % 2)}" for i in range(60)]
Rows = Sequence[Sequence[Any]]


def write_csv(path: Path, header: Sequence[str], rows: Rows, encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as f:
        csv.writer(f).writerows([header, *rows])
    return path


def draft(place: Settings, path: Path, **options: Any) -> Any:
    return draft_resource(place, str(path), "ab.new", **options)


# --- personal data ------------------------------------------------------------------------------------

#: header -> (value of row i, the least level that a draft may propose)
HOSPITAL = {
    "病历号": (lambda i: f"BL{i:05d}", 4),
    "患者": (lambda i: NAMES[i], 3),
    "诊断": (lambda i: ("高血压", "2型糖尿病", "乙肝")[i % 3], 4),
    "医保卡号": (lambda i: f"1506{i:08d}", 4),
    "主治医生": (lambda i: NAMES[-i], 3),
    "科室": (lambda i: f"内{i % 3}科", 2),
}
VEHICLES = {
    "号牌号码": (lambda i: f"蒙K{i:05d}", 3),
    "所有人": (lambda i: NAMES[i], 3),
    "护照号": (lambda i: f"E{i:08d}", 4),
    "银行卡": (lambda i: f"622848{i:013d}", 4),
    "微信号": (lambda i: f"wx_{i}", 3),
}
SCHOOL = {
    "学籍号": (lambda i: f"G{IDS[i]}", 4),
    "学生姓名": (lambda i: NAMES[i], 3),
    "监护人身份证件号": (lambda i: IDS[-i - 1], 4),
    "班级": (lambda i: f"{i % 8}班", 2),
    "身高cm": (lambda i: str(120 + i % 40), 2),
}
DISABLED = {
    "残疾证号": (lambda i: f"{IDS[i]}{i % 7}{i % 4}", 4),
    "残疾类别": (lambda i: "视力听力"[i % 2 * 2 :][:2], 4),
}
PERMITS = {
    "单位": (lambda i: f"单位{i}", 1),
    "联系人": (lambda i: NAMES[i], 3),
    "备注": (lambda i: f"代办人{NAMES[i]}，{IDS[i]}" if i == 7 else "", 4),
    "承办": (lambda i: NAMES[i], 3),
    "邮箱1": (lambda i: f"u{i}@ab.example", 3),
}
SYSTEM = {  # names of an old system's columns, that say nothing
    "AAC002": (lambda i: IDS[i], 4),
    "AAC003": (lambda i: NAMES[i], 3),
    "AAE010": (lambda i: f"62170000{i:011d}", 4),
    "AAC040": (lambda i: f"{3000 + i}.50", 3),
    "nfxm": (lambda i: NAMES[i], 3),
    "x1": (lambda i: f"2026-01-{i % 28 + 1:02d}", 3),
}


@pytest.mark.parametrize("table", [HOSPITAL, VEHICLES, SCHOOL, DISABLED, PERMITS, SYSTEM])
def test_f67_no_column_of_a_persons_data_is_drafted_as_public(
    table: dict[str, Any], place: Settings, tmp_path: Path
) -> None:
    rows = [[make(i) for make, _ in table.values()] for i in range(60)]
    found = fields_of(draft(place, write_csv(tmp_path / "a.csv", list(table), rows)))
    levels = {column: found[column].get("sensitivity", 1) for column in table}
    assert {c: level for c, level in levels.items() if level < table[c][1]} == {}


def test_a_register_of_units_stays_public_but_for_whom_it_names(place: Settings, tmp_path: Path) -> None:
    header = ["企业名称", "登记状态", "法定代表人", "法定代表人身份证号", "负责人电话", "注册资本（万元）"]
    rows = [[f"甲{i}公司", "存续", NAMES[i], IDS[i], f"1390477{i:04d}", f"{i}.50"] for i in range(60)]
    found = fields_of(draft(place, write_csv(tmp_path / "a.csv", header, rows)))
    assert [found[c].get("sensitivity", 1) for c in header] == [1, 1, 3, 4, 3, 1]
    assert (found["注册资本（万元）"]["unit"], found["登记状态"]["codes"]) == ("万元", "registration_status")


def test_shared_doubts_are_asked_once(place: Settings, tmp_path: Path) -> None:
    header = ["xm", "xb", "sfzh", *(f"备用{i}" for i in range(8)), "单位甲", "单位乙"]
    rows = [[NAMES[i], "1", IDS[i], *[""] * 8, "某某厂", "某某店"] for i in range(60)]
    text = draft(place, write_csv(tmp_path / "a.csv", header, rows)).text
    asked = [line for line in text.splitlines() if "按列名推测" in line or "确认分级" in line or "整列为空" in line]
    assert [line.partition("：")[0] for line in asked] == [
        "# ？ 中文名是按列名推测的，请核对",
        "# ？ 涉及个人的资源中，下列信息项暂按 3 级（个人）登记，请确认分级",
        "# ？ 样本中整列为空，类型无从判断",
    ]
    assert ("xm 姓名、xb 性别、sfzh 公民身份号码" in asked[0], "f12 单位甲、f13 单位乙" in asked[1]) == (True, True)


# --- nothing is guessed silently ----------------------------------------------------------------------


def test_what_only_the_values_say_is_asked(place: Settings, tmp_path: Path) -> None:
    header = ["甲", "档案号", "证件号码"]
    rows = [[IDS[i], f"1506{21 + i % 7}{i:06d}", IDS[i] if i % 5 else f"E{i:08d}"] for i in range(60)]
    text = draft(place, write_csv(tmp_path / "a.csv", header, rows)).text
    found = {
        line.strip(): text.splitlines()[n - 1].strip() for n, line in enumerate(text.splitlines()) if "- {name" in line
    }
    questions = list(found.values())
    assert "按值登记为公民身份号码，请确认" in questions[0]
    assert "值像行政区划代码，列名没有这样说，未按此登记" in questions[1]
    # a passport is no error: such a column is not held against the rule for citizens' numbers
    assert "可能混有护照等其他证件，未按公民身份号码登记" in questions[2]
    assert ["identifier" in line for line in found] == [True, False, False]
    assert all("sensitivity: 4" in line for n, line in enumerate(found) if n != 1)


@pytest.mark.parametrize(
    ("title", "values", "asked"),
    [
        ("总投资（万元）", ["1,234.50", "12", "1,234,567.00"], "千位分隔符"),
        ("完成率", ["98.5%", "-3%", "0.1%"], "百分号"),
        ("统计月份", ["202601", "202602", "202612"], "值像年月"),
        ("开工年月", ["2026-01", "2026-02", "2026-12"], "值像年月"),
        ("创建时间", ["1767225600000", "1767312000000", "1767398400000"], "时间戳"),
        ("人员", ['{"a": 1}', '{"a": 2}', '{"b": [1]}'], "嵌套内容"),
    ],
)
def test_what_is_no_number_or_date_here_stays_text_with_a_question(
    title: str, values: list[str], asked: str, place: Settings, tmp_path: Path, conn: Any
) -> None:
    rows = [[f"A{i}", values[i % 3]] for i in range(30)]
    made = draft(place, write_csv(tmp_path / "a.csv", ["编号", title], rows))
    assert asked in made.text
    assert "type" not in fields_of(made)[title]
    assert sorted(bring(place, made, conn)) == sorted((a, b) for a, b in rows)


def test_years_as_columns_are_told_with_what_to_write(place: Settings, tmp_path: Path, conn: Any) -> None:
    rows = [[f"指标{i}", *(f"{i}.{y}" for y in range(4))] for i in range(9)]
    path = write_csv(tmp_path / "年度数据.csv", ["指标名称", "2020年", "2021年", "2022年", "2023年"], rows)
    made = draft(place, path)
    said = re.search(r"unpivot: \{.*?\}(?=，)", made.text)
    assert said is not None
    text = made.text.replace("type: csv,", f"type: csv, layout: {{{said[0]}}},")
    text = re.sub(
        r"  - \{name: f02.*", "  - {name: year, title: 年份}\n  - {name: v, title: 数值}", text, flags=re.DOTALL
    )
    text = re.sub("key: .*", "key: [indicator, year]", text)
    made = type(made)(text + "\n", made.rows, 3, 0, 0)
    assert sorted(bring(place, made, conn)) == sorted((r[0], f"{2020 + y}", r[1 + y]) for r in rows for y in range(4))


def test_words_of_a_code_table_mean_one_code_each() -> None:
    """Every name and the words in it; a word of two codes is nobody's."""
    names = name_codes(load_code_table("registration_status"))
    assert {w: names.get(w) for w in ("存续", "在营", "开业", "注销", "其他", "吊销")} == {
        "存续": "1", "在营": "1", "开业": "1", "注销": "4", "其他": "9", "吊销": None,
    }  # fmt: skip
    for name in list_code_tables():
        table = load_code_table(name)
        words = name_codes(table)
        for code, word in table.names.items():
            same = [c for c, w in table.names.items() if w == word]
            assert words.get(word) == (code if len(same) == 1 else None)


# --- where the table stands -----------------------------------------------------------------------------

SCHOOLS = [[i, f"第{i}中学", f"21500{i:05d}", 100 + i, 90 + i, 20 + i, i % 5, 1000.5 + i] for i in range(1, 31)]
SCHOOL_COLUMNS = [
    "序号",
    "学校名称",
    "学校标识码",
    "在校生数/男",
    "在校生数/女",
    "教职工数/专任教师",
    "教职工数/行政人员",
    "占地面积（平方米）",
]


def write_merged(path: Path, above: list[tuple[int, int, str]]) -> Path:
    """Two header rows of merged cells below titles: (first column, last column, text) a row each."""
    old = path.suffix == ".xls"
    book: Any = xlwt.Workbook() if old else xlsxwriter.Workbook(str(path))
    page = book.add_sheet("Sheet1") if old else book.add_worksheet()

    def put(top: int, left: int, bottom: int, right: int, text: str) -> None:
        if (top, left) == (bottom, right):
            page.write(top, left, text)
        elif old:
            page.write_merge(top, bottom, left, right, text)
        else:
            page.merge_range(top, left, bottom, right, text)

    at = 0
    for first, last, text in above:
        at += first == 0
        put(at - 1, first, at - 1, last, text)
    for column in (0, 1, 2, 7):
        put(at, column, at + 1, column, SCHOOL_COLUMNS[column])
    put(at, 3, at, 4, "在校生数")
    put(at, 5, at, 6, "教职工数")
    for column in (3, 4, 5, 6):
        put(at + 1, column, at + 1, column, SCHOOL_COLUMNS[column].rpartition("/")[2])
    for r, row in enumerate(SCHOOLS, at + 2):
        for c, cell in enumerate(row):
            page.write(r, c, cell)
    book.save(str(path)) if old else book.close()
    return path


@pytest.mark.parametrize("ending", ["xls", "xlsx"])
@pytest.mark.parametrize(
    "above",
    [[], [(0, 7, "学校基本情况表")], [(0, 7, "学校基本情况表"), (0, 3, "填报单位：教体局"), (4, 7, "单位：人")]],
)
def test_f45_a_header_of_merged_cells_is_found(
    ending: str, above: list[tuple[int, int, str]], place: Settings, tmp_path: Path, conn: Any
) -> None:
    made = draft(place, write_merged(tmp_path / f"学校.{ending}", above))
    assert (list(fields_of(made)), made.rows) == (SCHOOL_COLUMNS, 30)
    wanted = [tuple(str(c) for c in row) for row in SCHOOLS]
    assert sorted(bring(place, made, conn, key="f03")) == sorted(wanted)


def test_f45_cells_merged_among_the_rows_are_no_header_and_count_for_each_row(
    place: Settings, tmp_path: Path, conn: Any
) -> None:
    path = tmp_path / "物资.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        page = book.add_worksheet()
        page.write_row(0, 0, ["部门", "物资编号", "数量"])
        wanted = []
        for i in range(8):
            page.write_row(1 + i, 1, [f"W{i:03}", 7 * i])
            wanted.append(("应急科" if i < 4 else "救灾科", f"W{i:03}", str(7 * i)))
        page.merge_range(1, 0, 4, 0, "应急科")
        page.merge_range(5, 0, 8, 0, "救灾科")
    made = draft(place, path)
    assert (list(fields_of(made)), made.rows) == (["部门", "物资编号", "数量"], 8)
    assert "fill_merged: [部门]" in made.text
    assert sorted(bring(place, made, conn)) == wanted


def test_rows_with_merged_cells_are_no_header(place: Settings, tmp_path: Path) -> None:
    """Cells merged downwards are rows of one group; not one of their values is written into the draft."""
    for n, header in enumerate([["旗区", "编号", "名称"], []]):
        path = tmp_path / f"{n}.xlsx"
        with xlsxwriter.Workbook(str(path)) as book:
            page = book.add_worksheet()
            page.write_row(0, 0, header)
            for k in range(4):
                page.merge_range(1 + k * 5, 0, 5 + k * 5, 0, f"甲{k}旗")
                for j in range(5):
                    page.write_row(1 + k * 5 + j, 1, [f"乙{k}{j}", f"丙{k}{j}"])
        if header:
            made = draft(place, path)
            assert list(fields_of(made)) == header
            assert (made.rows, re.findall("[甲乙丙]\\d", made.text)) == (20, [])
        else:
            with pytest.raises(DeliveryRefused, match="没有找到表头"):
                draft(place, path)


def test_a_text_file_with_a_header_of_two_lines_is_refused(place: Settings, tmp_path: Path) -> None:
    rows = [["", "", "男", "女", "专任", "行政"], *([i, f"学校{i}", i, i, i, i] for i in range(20))]
    path = write_csv(tmp_path / "a.csv", ["序号", "学校名称", "在校生数", "", "教职工数", ""], rows)
    with pytest.raises(DeliveryRefused, match="第 1 行像多行表头的一部分"):
        draft(place, path)


def test_sheets_with_one_header_become_one_resource(place: Settings, tmp_path: Path, conn: Any) -> None:
    path = tmp_path / "各旗区.xlsx"
    wanted = []
    with xlsxwriter.Workbook(str(path)) as book:
        book.add_worksheet("填表说明").write(0, 0, "请如实填写")
        for n, flag in enumerate(["汇总", "东胜区", "康巴什区", "准格尔旗"]):
            page = book.add_worksheet(flag)
            page.merge_range(0, 0, 0, 1, f"{flag}物资")
            page.write_row(1, 0, ["物资编号", "数量"])
            for i in range(5):
                page.write_row(2 + i, 0, [f"W{n}{i}", 7 * n + i])
                wanted += [(flag, f"W{n}{i}", str(7 * n + i))] if n else []
    made = draft(place, path)
    assert "3 张工作表的表头相同" in made.text
    assert "其余工作表未登记：填表说明、汇总（其中汇总表会使行重复）" in made.text
    assert sorted(bring(place, made, conn)) == sorted(wanted)
    # a sheet that is asked for is one resource
    assert draft(place, path, sheet="东胜区").rows == 5


RECORDS = [{"编号": f"A{i}", "名称": f"物{i}", "标签": ["a", {"b": 1}]} for i in range(20)]


@pytest.mark.parametrize(
    ("document", "records"),
    [
        ({"code": 200, "msg": "ok", "data": {"total": 20, "list": RECORDS}}, "data.list"),
        ({"result": {"page": {"rows": RECORDS, "columns": [{"name": "编号"}, {"name": "名称"}]}}}, "result.page.rows"),
        ({"head": {"errors": []}, "body": RECORDS}, "body"),
        ({"返回信息": {"数据": RECORDS}}, "返回信息.数据"),
        (RECORDS, None),
    ],
)
@pytest.mark.parametrize("ascii_only", [False, True])
def test_records_of_an_interface_are_found_wherever_they_lie(
    document: Any, records: str | None, ascii_only: bool, place: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document, ensure_ascii=ascii_only), encoding="utf-8")
    made = draft(place, path)
    said = re.search(r"records: ([\w.]+)", made.text)
    assert (made.rows, list(fields_of(made)), said and said[1]) == (20, ["编号", "名称", "标签"], records)


# --- names that are values ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        {"data": {IDS[0]: RECORDS, IDS[1]: RECORDS[:2]}},
        {IDS[0]: RECORDS},
        {"data": [dict.fromkeys(IDS[:5], 1)] * 3},
    ],
)
def test_f67_an_object_keyed_by_citizens_numbers_becomes_no_draft(
    document: Any, place: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    with pytest.raises(UsageError, match="named by values") as refused:
        draft(place, path)
    assert [i for i in IDS if i in str(refused.value)] == []


def test_f67_a_list_beside_the_records_that_is_keyed_by_numbers_is_told_masked(place: Settings, tmp_path: Path) -> None:
    document = {"list": RECORDS, "index": dict.fromkeys(IDS, RECORDS[:1]), "旧表": {"欧阳明": RECORDS[:1]}}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    made = draft(place, path)
    assert ("records: list}" in made.text, made.rows, "等 61 个，未登记" in made.text) == (True, 20, True)
    assert [w for w in (*IDS, "欧阳明") if w in made.text] == []


@pytest.mark.parametrize("key", ["张三", "乌云其木格", "买买提·艾力"])
def test_f67_a_list_under_what_may_be_a_person_is_asked_for(key: str, place: Settings, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"data": {key: RECORDS, "李四": RECORDS[:3]}}, ensure_ascii=False), encoding="utf-8")
    made = draft(place, path)
    assert (made.rows, "records: 待填}" in made.text, key in made.text, "李四" in made.text) == (20, True, False, False)
    assert f"记录所在的列表：data、{show_name(key)} 可能是人名" in made.text


PERSON_SHEETS = {
    # sheets with another table -> (the question, what is written)
    (): (None, "(?P<工作表>.+)"),
    ("填表说明", "数据明细"): (None, "(?!(?:填表说明|数据明细)$)(?P<工作表>.+)"),
    ("王小五",): ("采集哪些工作表：王** 可能是人名", "layout: {sheets: 待填}"),
}


@pytest.mark.parametrize("others", PERSON_SHEETS)
def test_f67_sheets_that_are_called_by_persons_are_not_named(
    others: tuple[str, ...], place: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "各人.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        for sheet in ("张三", "李四", *others):
            page = book.add_worksheet(sheet)
            header = ["编号", "数量"] if sheet not in others else ["事项", "内容", "说明"]
            for i, row in enumerate([header, *([f"W{i}", i, "x"][: len(header)] for i in range(5))]):
                page.write_row(i, 0, row)
    question, written = PERSON_SHEETS[others]
    text = draft(place, path).text
    assert (written in text, "人名" in text, question is None or question in text) == (True, question is not None, True)
    # one that is asked for by name is read, and not named either
    alone = draft(place, path, sheet="张三")
    assert (alone.rows, "layout: {sheet: 待填}" in alone.text) == (5, True)
    assert [w for w in ("张三", "李四", "王小五") if w in text + alone.text] == []


def test_f67_a_number_in_a_files_name_is_any_number(place: Settings, tmp_path: Path) -> None:
    path = write_csv(tmp_path / f"档案_{IDS[0]}_20261001.csv", ["编号", "数量"], [["A1", 1]])
    made = draft(place, path)
    assert (IDS[0] in made.text, r"档案_[0-9Xx]{18}_(?P<date>\d{8})\.csv" in made.text) == (False, True)


Key = st.text(st.characters(codec="utf-8", exclude_characters="."), min_size=1, max_size=5)


@given(st.lists(Key, min_size=1, max_size=4), st.integers(1, 5), st.text(max_size=8), st.booleans())
def test_any_path_leads_to_its_records(path: list[str], n: int, text: str, ascii_only: bool) -> None:
    document: Any = [{"a": text, "b": [{"c": 1}]}] * n
    for key in reversed(path):
        document = {"旁": {"x": [1, text], key: text}, key: document} if key != "旁" else {key: document}
    written = json.dumps(document, ensure_ascii=ascii_only)
    assert find_record_lists(written) == {tuple(path): n}


def test_f43_an_xml_file_in_gbk_is_drafted(place: Settings, tmp_path: Path, conn: Any) -> None:
    rows = "".join(f"<row><BH>B{i}</BH><MC>事项{i}</MC></row>" for i in range(30))
    path = tmp_path / "a.xml"
    path.write_bytes(
        f'<?xml version="1.0" encoding="GBK"?><r><head><code>0</code></head><body><list>{rows}</list></body></r>'.encode(
            "gbk"
        )
    )
    made = draft(place, path)
    assert "records: r/body/list/row" in made.text
    assert sorted(bring(place, made, conn)) == sorted((f"B{i}", f"事项{i}") for i in range(30))


# --- names of files, wrong use ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "next_one", "title"),
    [
        ("低保花名册2026年9月.xls", "低保花名册2026年10月.xls", "低保花名册"),
        ("年度数据2026年09月05日.csv", "年度数据2026年12月31日.csv", "年度数据"),
        ("hjrk_20260930.csv", "hjrk_20261031.csv", None),
        ("日报表2026-09-30(1).csv", "日报表2026-10-01(1).csv", "日报表"),
        ("月报表_202609.csv", "月报表_202610.csv", "月报表"),
        ("月报表 2026-09.csv", "月报表 2026-10.csv", "月报表"),
        ("编号2026123456789.csv", None, None),
    ],
)
def test_the_pattern_takes_the_next_file_of_the_series(name: str, next_one: str | None, title: str | None) -> None:
    made = make_pattern(name)
    assert find_title(name.rpartition(".")[0]) == title
    for other in filter(None, (name, next_one)):
        m = re.fullmatch(made["pattern"], other)
        assert m is not None
        if next_one:
            assert datetime.strptime(m["date"], made.get("date_format", "%Y%m%d")).year == 2026
    assert ("(?P<date>" in made["pattern"]) == (next_one is not None)


def test_a_department_that_is_not_there_is_told_before_anything_is_written(place: Settings) -> None:
    demand_department(place, "ab.new")
    with pytest.raises(
        UsageError, match=r"no department 'abc'\. Did you mean 'ab'\? Departments: ab\. Nothing was written"
    ):
        demand_department(place, "abc.new")
    assert [f.name for f in place.catalog.iterdir()] == ["ab"]
