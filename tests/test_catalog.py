"""The catalog: strict YAML with places, problems that say how to mend, expressions by an allow-list, the example city."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from guiji.catalog import (
    check_catalog,
    json_schema,
    list_resource_ids,
    list_row,
    load_catalog,
    load_department,
    load_libraries,
    load_resource,
    render_resource,
)
from guiji.catalog import models as catalog_models
from guiji.catalog.expressions import FUNCTIONS, list_columns, parse_expression
from guiji.catalog.problems import Problem
from guiji.catalog.schema_files import DIRECTORY, KINDS, read_docstrings, render_schema
from guiji.catalog.strict_yaml import StrictYamlError, parse_yaml
from guiji.errors import CatalogError, UsageError
from guiji.limits import MOST_FIELDS

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "include" / "catalog"

DEPARTMENT = """\
id: gaj
name: 某市公安局
short_name: 公安局
credit_code: "11150600MB90001032"
leader: 张三
section: 信息科
contacts:
  - {name: 李四, email: data@gaj.example}
"""
RESOURCE = """\
id: gaj.household
code: 101001/00001
name: 户籍人口
summary: 一人一行。
category: {class: 基础信息资源, item: 人口信息}
format: 数据库
system: 人口系统
sharing: {type: 无条件共享}
update_cycle: 每日
published: "2022-06-01"
source:
  kind: database
  connection: fep_gaj
  table: t_hjrk
key: [id_number]
order: [updated_at]
fields:
  - {name: id_number, title: 公民身份号码, nullable: false, identifier: citizen_id, sensitivity: 4}
  - {name: name, title: 姓名, sensitivity: 3}
  - {name: sex, title: 性别, codes: sex}
  - {name: age, title: 年龄, type: int64, minimum: 0, maximum: 150}
  - {name: updated_at, title: 更新时间, type: timestamp}
rules:
  - {id: has_name, title: 有姓名, expr: length(name) > 1, mend: 补填姓名}
mappings:
  - library: population
    key: [id_number]
    fields: {name: name, sex: sex}
"""
LIBRARY = """\
name: population
table: person
title: 人口库
key:
  - {name: person_id, title: 公民身份号码, sensitivity: 4}
fields:
  - {name: name, title: 姓名, sensitivity: 3, authority: [gaj]}
  - {name: sex, title: 性别, strategy: newest_non_null}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A catalog of one department, one resource and one library."""
    write(tmp_path, "gaj/department.yml", DEPARTMENT)
    write(tmp_path, "gaj/household.yml", RESOURCE)
    write(tmp_path, "libraries/population.yml", LIBRARY)
    return tmp_path


def write(root: Path, name: str, text: str) -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def edit(root: Path, old: str, new: str, name: str = "gaj/household.yml") -> Path:
    """Replaces what stands exactly once in a file."""
    file = root / name
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
    file.write_text(text.replace(old, new), encoding="utf-8")
    return file


def said(root: Path) -> list[str]:
    """All problems, with paths relative to the catalog."""
    return [str(p).replace(f"{root}/", "") for p in check_catalog(root)]


def plain(text: str) -> object:
    return parse_yaml(textwrap.dedent(text).encode(), "f.yml").plain()


def refused(data: str | bytes) -> list[str]:
    with pytest.raises(StrictYamlError) as caught:
        parse_yaml(data.encode() if isinstance(data, str) else data, "f.yml")
    return [str(p) for p in caught.value.problems]


# --- strict YAML --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("010", "010"),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("12:30:00", "12:30:00"),
        ("2024-01-01", "2024-01-01"),
        ("0x1F", "0x1F"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        (".nan", ".nan"),
        (".inf", ".inf"),
        ("10", 10),
        ("-3", -3),
        ("0", 0),
        ("0.05", 0.05),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ('"true"', "true"),
        ("'10'", "10"),
        ("123456789012345678901", "123456789012345678901"),
    ],
)
def test_f48_a_scalar_is_what_it_looks_like(written: str, meant: object) -> None:
    assert plain(f"a: {written}") == {"a": meant}
    assert type(plain(f"a: {written}")["a"]) is type(meant)  # type: ignore[index]


def test_f48_a_key_is_always_text() -> None:
    assert plain("24: a\nno: b\n010: c\nnull: d") == {"24": "a", "no": "b", "010": "c", "null": "d"}


def test_f48_a_key_given_twice_is_an_error_with_both_lines() -> None:
    assert refused("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n") == [
        "f.yml:4: key 'c' is given twice, first in line 3. Keep one of the two.",
        "f.yml:5: key 'a' is given twice, first in line 1. Keep one of the two.",
    ]


def test_f48_anchors_aliases_tags_and_second_documents_are_refused() -> None:
    assert refused("a: &x 1\nb: *x\nc: !!python/object/apply:os.system [x]\nd: !!str 1\n") == [
        "f.yml:1: anchor &x is not allowed. Write the value out where it is needed.",
        "f.yml:2: alias *x is not allowed. Write the value out where it is needed.",
        "f.yml:3: tag tag:yaml.org,2002:python/object/apply:os.system is not allowed. Remove it; put text in quotes.",
        "f.yml:4: tag tag:yaml.org,2002:str is not allowed. Remove it; put text in quotes.",
    ]
    assert refused("a: 1\n---\nb: 2\n") == ["f.yml:2: a second document begins here. One file describes one thing."]


def test_what_is_no_yaml_is_reported_with_its_line() -> None:
    assert refused("a: 1\nb: [1, 2\nc: 3\n")[0].startswith("f.yml:3: not valid YAML:")
    assert refused("a:\n\t- b\n")[0].startswith("f.yml:2: not valid YAML:")
    assert refused("") == ["f.yml:1: the file is empty."]
    assert refused("# only a comment\n") == ["f.yml:1: the file is empty."]
    assert refused("a: 姓名\nb: 性别\n".encode("gb18030")) == ["f.yml:1: the file is not UTF-8. Save it as UTF-8."]
    assert refused(b"a: 1\nb: \x00\n")[0].startswith("f.yml:2: not valid YAML:")
    assert refused("? [a, b]\n: 1\n")[0].startswith("f.yml:1: a key must be text")


def test_nothing_expands_and_nothing_nests_without_end() -> None:
    laughs = "a: &a [x, x]\n" + "".join(
        f"{c}: &{c} [*{p}, *{p}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert len(refused(laughs)) == 9 + 16
    assert refused("[" * 100_000)[-1] == "f.yml:1: nested more than 20 deep. Nothing in a catalog file is."
    assert "at most 1048576 are allowed" in refused(b"#" * (1 << 20) + b"\n")[0]


# --- problems -----------------------------------------------------------------------------------------


def test_a_sound_catalog_has_no_problem(root: Path) -> None:
    catalog = load_catalog(root)
    assert (list(catalog.resources), list(catalog.departments), list(catalog.libraries)) == (
        ["gaj.household"],
        ["gaj"],
        ["population"],
    )
    assert (said(root), dict(catalog.broken), dict(catalog.broken_resources)) == ([], {}, {})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # the YAML edge
        (
            "  table: t_hjrk",
            "  tabel: t_hjrk",
            "gaj/household.yml:14: unknown key 'tabel'. "
            "Allowed: kind, connection, schema, table, filter, cursor, lag_seconds, chunk_rows, chunk_key, chunk_key_rows. Did you mean 'table'?",
        ),
        ("system: 人口系统\n", "", "gaj/household.yml:1: key 'system' is missing."),
        (
            "\nkey: [id_number]",
            "\nkey: id_number",
            "gaj/household.yml:15: key must be a list. Write it in brackets: [id_number].",
        ),
        (
            "sharing: {type: 无条件共享}",
            "sharing: 无条件共享",
            "gaj/household.yml:8: sharing must be a block of keys, not '无条件共享'. "
            "Allowed: type, condition, scope, purpose, legal_basis, method. Write {key: value}.",
        ),
        (
            "name: age, title: 年龄",
            "name: 年龄, title: 年龄",
            "gaj/household.yml:21: fields[3].name is '年龄', which doesn't match ^[a-z][a-z0-9_]{0,40}$. "
            "Write small letters, digits and _, beginning with a letter; the Chinese name stands in title.",
        ),
        (
            "rules:",
            "tolerance: {rejected: 5}\nrules:",
            "gaj/household.yml:23: tolerance.rejected is 5, but is a share of 1. Write 0.05 for 5 %.",
        ),
        (
            "  kind: database",
            "  kind: databse",
            "gaj/household.yml:12: kind of source is 'databse'. Allowed: database, sftp, ftp, files, http. Did you mean 'database'?",
        ),
        (
            "update_cycle: 每日",
            "update_cycle: 每天",
            "gaj/household.yml:9: update_cycle is '每天'. Allowed: 实时, 每日, 每周, 每月, 每季度, 每半年, 每年, 不定期, 不更新. Did you mean '每日'?",
        ),
        (
            "nullable: false",
            "nullable: no",
            "gaj/household.yml:18: fields[0].nullable is 'no'. Allowed: true, false. Did you mean 'false'?",
        ),
        ("title: 姓名,", "title: 12,", 'gaj/household.yml:19: fields[1].title must be text. Put it in quotes: "12".'),
        (
            "minimum: 0,",
            "minimum: 00,",
            "gaj/household.yml:21: field age: minimum is '00', but must be a number. Write it without quotes.",
        ),
        (
            "sensitivity: 4}",
            "sensitivity: 5}",
            "gaj/household.yml:18: fields[0].sensitivity is '5'. Allowed: 1, 2, 3, 4.",
        ),
        (
            "type: int64",
            "type: integer",
            "gaj/household.yml:21: fields[3]: type is 'integer'; allowed: string, int64, float64, bool, date32, timestamp, geometry, decimal128(p,s).",
        ),
        # sharing, requirements 27 to 29
        (
            "{type: 无条件共享}",
            "{type: 共享}",
            "gaj/household.yml:8: sharing.type is '共享'. Allowed: 无条件共享, 有条件共享, 不予共享. Did you mean '不予共享'?",
        ),
        (
            "{type: 无条件共享}",
            "{type: 不予共享}",
            "gaj/household.yml:8: sharing: 不予共享 needs legal_basis (the law, regulation or Party Central document).",
        ),
        (
            "{type: 无条件共享}",
            "{type: 有条件共享, scope: 各部门}",
            "gaj/household.yml:8: sharing: 有条件共享 needs condition, purpose.",
        ),
        # the parts of the file agree
        (
            "id: gaj.household",
            "id: gaj.houshold",
            "gaj/household.yml:1: id is 'gaj.houshold', but the file's place says 'gaj.household'. Write id: gaj.household.",
        ),
        (
            "key: [id_number]\no",
            "key: [id_numbre]\no",
            "gaj/household.yml:15: key names 'id_numbre', which is no field. Allowed: id_number, name, sex, age, updated_at. Did you mean 'id_number'?",
        ),
        (
            "order: [updated_at]",
            "order: [updatedat]",
            "gaj/household.yml:16: order names 'updatedat', which is no field. Allowed: id_number, name, sex, age, updated_at. Did you mean 'updated_at'?",
        ),
        (
            "name: age, title: 年龄",
            "name: sex, title: 年龄",
            "gaj/household.yml:21: fields[2] and fields[3] have the same name 'sex'.",
        ),
        ("title: 年龄", "title: 性别", "gaj/household.yml:21: fields[2] and fields[3] have the same column '性别'."),
        ("maximum: 150", "maximum: -1", "gaj/household.yml:21: field age: minimum is larger than maximum."),
        (
            "title: 姓名, s",
            "title: 姓名, minimum: 1, s",
            "gaj/household.yml:19: field name: minimum is for numbers and dates, not string.",
        ),
        (
            "type: int64",
            "type: int64, pattern: x",
            "gaj/household.yml:21: field age: pattern is for type string, not int64.",
        ),
        (
            "title: 姓名, s",
            "title: 姓名, pattern: '[', s",
            "gaj/household.yml:19: fields[1].pattern is no regular expression: unterminated character set at position 0.",
        ),
        (
            "type: timestamp",
            "type: timestamp, formats: [yyyymmdd]",
            "gaj/household.yml:22: field updated_at: 'yyyymmdd' is no strptime format. Write for instance \"%Y%m%d\".",
        ),
        (
            "type: timestamp",
            "type: timestamp, minimum: 上世纪",
            "gaj/household.yml:22: field updated_at: minimum is '上世纪', but must be a date such as 1900-01-01.",
        ),
        (
            "type: timestamp",
            "type: geometry",
            "gaj/household.yml:22: fields[4]: a geometry needs crs, for instance EPSG:4490.",
        ),
        (
            "type: int64, minimum: 0, maximum: 150",
            "type: 'decimal128(40,2)'",
            "gaj/household.yml:21: field age: decimal128(40,2) must have 1 to 38 digits and no more decimals than digits.",
        ),
        (
            "title: 姓名, s",
            "title: 姓名, code_map: {ignored: [x]}, s",
            "gaj/household.yml:19: field name: code_map needs codes, the table that it maps to.",
        ),
        (
            'published: "2022-06-01"',
            "published: 2022-13-01",
            "gaj/household.yml:10: published is '2022-13-01', but must be a date such as 2024-03-01.",
        ),
        (
            "order: [updated_at]",
            "order: [updated_at]\ntime_zone: Asia/Shanghia",
            "gaj/household.yml:17: time_zone 'Asia/Shanghia' is unknown. Write for instance Asia/Shanghai.",
        ),
        (
            "order: [updated_at]",
            "order: [updated_at]\ndelivery: {due_time: 25:00}",
            "gaj/household.yml:17: due_time is '25:00', but must be a time such as \"18:00\".",
        ),
        (
            "order: [updated_at]",
            "order: [updated_at]\ndelivery: {cron: daily}",
            "gaj/household.yml:17: cron is 'daily', but must have five parts, such as \"0 2 * * *\".",
        ),
        (
            "order: [updated_at]",
            "order: [updated_at]\ncontacts: [{name: 王五, email: wangwu}]",
            "gaj/household.yml:17: email is 'wangwu', which is no mail address.",
        ),
        # source
        (
            "order: [updated_at]",
            "order: [updated_at]\nload: incremental",
            "gaj/household.yml:11: an incremental resource needs source.cursor, the column that grows with every change. Allowed: 公民身份号码, 姓名, 性别, 年龄, 更新时间.",
        ),
        (
            "  table: t_hjrk",
            "  table: t_hjrk\n  cursor: 更新日期",
            "gaj/household.yml:15: source.cursor is '更新日期', which is no declared column. Allowed: 公民身份号码, 姓名, 性别, 年龄, 更新时间. Did you mean '更新时间'?",
        ),
        (
            "  table: t_hjrk",
            "  table: t_hjrk\n  filter: 1 = 1; drop table t",
            "gaj/household.yml:15: source.filter: expression '1 = 1; drop table t' holds a semicolon; one expression only.",
        ),
        # rules
        (
            "expr: length(name) > 1",
            "expr: length(nam) > 1",
            "gaj/household.yml:24: rules[0].expr: expression 'length(nam) > 1' names the column 'nam', which is not declared. Allowed: age, id_number, name, sex, updated_at. Did you mean 'name'?",
        ),
        (
            "expr: length(name) > 1",
            "expr: name > ",
            "gaj/household.yml:24: rules[0].expr: expression 'name >' can't be parsed: something is missing at its end.",
        ),
        (
            "expr: length(name) > 1",
            "expr: age > updated_at",
            "gaj/household.yml:24: expression 'age > updated_at': Binder Error: Cannot compare values of type BIGINT and type TIMESTAMP WITH TIME ZONE - an explicit cast is required.",
        ),
        (
            "expr: length(name) > 1",
            "expr: 'sex in (1, 2)'",
            "gaj/household.yml:24: sex IN (1, 2) compares text with a number; put the number in quotes, or try_cast the text.",
        ),
        (
            "expr: length(name) > 1",
            "expr: length(name)",
            "gaj/household.yml:24: expression 'length(name)' is BIGINT, but must be true or false.",
        ),
        (
            "title: 姓名, s",
            "title: 姓名, pattern: 'a(?=b)', s",
            "gaj/household.yml:19: field name: pattern 'a(?=b)' is no RE2 expression: Invalid Input Error: invalid perl operator: (?=.",
        ),
        # libraries
        (
            "library: population",
            "library: popluation",
            "gaj/household.yml:26: there is no library 'popluation'. Allowed: population. Did you mean 'population'?",
        ),
        (
            "{name: name, sex: sex}",
            "{nam: name, sex: sex}",
            "gaj/household.yml:28: library population has no field 'nam'. Allowed: name, sex. Did you mean 'name'?",
        ),
        (
            "{name: name, sex: sex}",
            "{name: nmae, sex: sex}",
            "gaj/household.yml:28: name is fed by 'nmae', which is no field. Allowed: id_number, name, sex, age, updated_at. Did you mean 'name'?",
        ),
        (
            "{name: name, sex: sex}",
            "{name: age, sex: sex}",
            "gaj/household.yml:28: age is int64, but population.name is string.",
        ),
        (
            "{name: name, sex: sex}",
            "{name: id_number, sex: sex}",
            "gaj/household.yml:28: id_number has sensitivity 4, but population.name only 3.",
        ),
        (
            "    key: [id_number]",
            "    key: [id_number, sex]",
            "gaj/household.yml:27: key has 2 fields, but library population has the key person_id.",
        ),
    ],
)
def test_a_mistake_is_reported_with_its_line_and_the_right_word(root: Path, old: str, new: str, message: str) -> None:
    edit(root, old, new)
    assert said(root) == [message]


def test_an_absent_code_table_is_named_with_those_that_exist(root: Path) -> None:
    edit(root, "codes: sex", "codes: sexes")
    (message,) = said(root)
    assert message.startswith("gaj/household.yml:20: there is no code table 'sexes' in quality/codes. Allowed: ")
    assert message.endswith("Did you mean 'sex'?")
    assert "marital" in message


def test_department_mistakes(root: Path) -> None:
    edit(root, "email: data@gaj.example", "email: 无", "gaj/department.yml")
    edit(root, "section: 信息科", "section: 信息科\ndefaults: {fields: []}", "gaj/department.yml")
    first, second, third = said(root)
    assert first.startswith("gaj/department.yml:7: defaults holds 'fields'. Allowed: ")
    assert second == "gaj/department.yml:9: email is '无', which is no mail address."
    assert third.startswith("gaj/household.yml:1: its department can't be loaded: ")
    edit(root, "id: gaj", "id: gongan", "gaj/department.yml")
    assert "gaj/department.yml:1: id is 'gongan', but the folder is 'gaj'. Write id: gaj." in said(root)


def test_library_mistakes_break_no_resource(root: Path) -> None:
    edit(root, "authority: [gaj]", "authority: [gja]", "libraries/population.yml")
    assert said(root) == [
        "libraries/population.yml:7: fields[0].authority names 'gja', which is no department. Allowed: gaj. Did you mean 'gaj'?"
    ]
    assert list(load_catalog(root).resources) == ["gaj.household"]
    edit(root, ", authority: [gja]", "", "libraries/population.yml")
    assert said(root) == [
        "libraries/population.yml:7: field name: strategy authority needs authority, the departments in order."
    ]


def test_a_name_for_what_the_demand_list_does_not_ask_for_is_a_mistake(root: Path) -> None:
    with_names = (
        "demand: [gaj.household, slj.water]\ndemand_names: {slj: 市水利局, slj.water: 取水许可, slj.watr: 用水}\n"
    )
    write(root, "libraries/population.yml", LIBRARY + with_names)
    (problem,) = said(root)
    assert "'slj.watr' is not on the demand list" in problem
    assert problem.endswith("Allowed: gaj.household, slj.water, gaj, slj. Did you mean 'slj.water'?")
    write(root, "libraries/population.yml", LIBRARY + with_names.replace(", slj.watr: 用水", ""))
    assert said(root) == []


def test_a_department_without_authority_cant_supply_the_field(root: Path) -> None:
    write(root, "wjw/department.yml", DEPARTMENT.replace("id: gaj", "id: wjw"))
    edit(root, "authority: [gaj]", "authority: [wjw]", "libraries/population.yml")
    assert said(root) == [
        "gaj/household.yml:28: gaj is no authority for population.name, so this value could never win. Allowed: wjw. "
        "Leave the field out, or name the department in the library's file."
    ]


def test_a_code_and_a_table_belong_to_one_only(root: Path) -> None:
    write(root, "gaj/twin.yml", RESOURCE.replace("gaj.household", "gaj.twin"))
    write(root, "libraries/people.yml", LIBRARY.replace("name: population", "name: people"))
    assert said(root) == [
        "gaj/twin.yml:2: code '101001/00001' is already used by gaj.household.",
        "gaj/twin.yml:28: warning: gaj.household of the same department and category already feeds population.name. "
        "Check that the same data are not collected twice.",
        "gaj/twin.yml:28: warning: gaj.household of the same department and category already feeds population.sex. "
        "Check that the same data are not collected twice.",
        "libraries/population.yml:2: table 'person' is already used by library people.",
    ]


def test_a_warning_takes_nothing_away(root: Path) -> None:
    write(root, "gaj/twin.yml", RESOURCE.replace("gaj.household", "gaj.twin").replace("/00001", "/00002"))
    catalog = load_catalog(root)
    assert [p.warning for p in catalog.problems] == [True, True]
    assert list(catalog.resources) == ["gaj.household", "gaj.twin"]
    assert dict(catalog.broken) == {}


def test_files_that_are_not_read_are_named(root: Path) -> None:
    write(root, "gaj/other.yaml", RESOURCE)
    write(root, "stray/resource.yml", RESOURCE)
    assert said(root) == [
        "gaj/other.yaml:1: a catalog file's name ends with .yml, so this one is not read. Rename it other.yml.",
        "stray/department.yml:1: there is no department.yml in this folder. Write who the department is and whom to write to.",
        "stray/resource.yml:1: its department can't be loaded: "
        f"{root}/stray/department.yml:1: there is no department.yml in this folder. "
        "Write who the department is and whom to write to.. Mend department.yml first.".replace(f"{root}/", ""),
    ]


def test_two_fields_that_one_header_would_feed_are_refused(root: Path) -> None:
    edit(root, "title: 年龄", "title: 年龄（岁）, aliases: [更新 时间]")
    assert said(root) == ["gaj/household.yml:22: fields[3] and fields[4] have the same column '更新时间'."]


def test_a_resource_of_more_fields_than_fit_in_memory_is_refused(root: Path) -> None:
    extra = "".join(f"  - {{name: x{n}, title: 列{n}}}\n" for n in range(MOST_FIELDS - 5))
    edit(root, "rules:\n", f"{extra}rules:\n")
    assert said(root) == []
    edit(root, "rules:\n", "  - {name: one_more, title: 又一列}\nrules:\n")
    assert said(root) == [
        "gaj/household.yml:17: fields has 201 entries; at most 200 are checked within 1 GB of memory. Part them into "
        "several resources with the same key; columns that no field names are not gathered."
    ]


def test_unpivot_makes_the_columns_that_fields_read(root: Path) -> None:
    source = """\
source:
  kind: files
  directory: /exports
  pattern: '.*\\.csv'
  format:
    layout:
      metadata: {指标: '^指标：.+'}
      unpivot: {keep: [地区], columns: '^(\\d+)年$', into: 时间, value: 数值}
"""
    text = RESOURCE.split("source:")[0] + source
    text += """\
key: [region]
fields:
  - {name: region, title: 区域}
  - {name: year, title: 时间}
  - {name: value, title: 数值}
"""
    write(root, "gaj/household.yml", text)
    assert said(root) == [
        "gaj/household.yml:17: the expression of '指标' needs a group: what is in it becomes the value.",
        "gaj/household.yml:17: no field reads the column '指标' that is made here. Allowed: 区域, 时间, 数值.",
        "gaj/household.yml:21: field region: column '区域' is not among those that unpivot makes or keeps. "
        "Allowed: 地区, 指标, 数值, 时间. Did you mean '地区'?",
    ]


def test_incremental_files_need_their_date_in_the_name(root: Path) -> None:
    edit(
        root,
        "  kind: database\n  connection: fep_gaj\n  table: t_hjrk\n",
        "  kind: sftp\n  connection: x\n  directory: /d\n  pattern: 'a.*'\nload: incremental\n",
    )
    assert said(root) == [
        "gaj/household.yml:15: files of an incremental resource need their business date in the name. "
        "Write (?P<date>\\d{8}) where the date stands in the name."
    ]


@pytest.mark.parametrize(
    ("form", "sound"), [("%Y%m", True), ("%Y年%m月", True), ("%y%m%d", True), ("YYYYMM", False), ("%m%d", False)]
)
def test_a_date_format_that_reads_no_day_is_told(root: Path, form: str, sound: bool) -> None:
    """With it every file's date would be unreadable, and none would ever be taken."""
    edit(
        root,
        "  kind: database\n  connection: fep_gaj\n  table: t_hjrk\n",
        f"  kind: sftp\n  connection: x\n  directory: /d\n  pattern: 'a(?P<date>.*)'\n  date_format: \"{form}\"\n",
    )
    message = f"gaj/household.yml:16: {form!r} is no strptime format of a day. "
    assert said(root) == (
        [] if sound else [message + 'Write for instance "%Y%m%d" or "%Y年%m月"; without it no file would be taken.']
    )


# --- loading ------------------------------------------------------------------------------------------


def test_f59_three_broken_entries_of_two_hundred_leave_197(root: Path) -> None:
    (root / "gaj" / "household.yml").unlink()
    for i in range(200):
        text = RESOURCE.replace("gaj.household", f"gaj.r{i}").replace("/00001", f"/{i:05}").split("mappings:")[0]
        broken = {
            7: text.replace("id_number]", "id_nummer]"),
            8: text + "key: [name]\n",
            9: "a: [",
        }
        write(root, f"gaj/r{i}.yml", broken.get(i, text))
    catalog = load_catalog(root)
    assert set(catalog.resources) == {f"gaj.r{i}" for i in range(200)} - {"gaj.r7", "gaj.r8", "gaj.r9"}
    assert {i: len(p) for i, p in catalog.broken_resources.items()} == {"gaj.r7": 1, "gaj.r8": 1, "gaj.r9": 1}
    assert set(catalog.broken) == {str(root / "gaj" / f"r{i}.yml") for i in (7, 8, 9)}
    assert set(list_resource_ids(root)) == {f"gaj.r{i}" for i in range(200)}
    with pytest.raises(CatalogError, match="id_nummer"):
        catalog.resource("gaj.r7")


def test_f59_a_broken_department_leaves_the_others(root: Path) -> None:
    write(root, "wjw/department.yml", "id: wjw\n")
    write(root, "wjw/record.yml", RESOURCE)
    catalog = load_catalog(root)
    assert (list(catalog.resources), list(catalog.broken_resources)) == (["gaj.household"], ["wjw.record"])


def test_defaults_are_inherited_at_the_top_level_only(root: Path) -> None:
    edit(root, "sharing: {type: 无条件共享}\nupdate_cycle: 每日\n", "delivery: {due_days: 3}\n")
    edit(
        root,
        "section: 信息科\n",
        "section: 信息科\ndefaults:\n  sharing: {type: 无条件共享}\n  update_cycle: 每月\n  delivery: {due_days: 9, due_time: '09:00'}\n",
        "gaj/department.yml",
    )
    model = load_resource(root, "gaj.household").model
    assert (model.sharing.type.value, model.update_cycle.value) == ("无条件共享", "每月")
    assert (model.delivery.due_days, model.delivery.due_time) == (3, "18:00")
    edit(root, "update_cycle: 每月", "update_cycle: 每旬", "gaj/department.yml")
    (message,) = said(root)
    assert message.startswith("gaj/department.yml:9: update_cycle is '每旬'. Allowed: ")


def test_load_resource_reads_its_department_only(root: Path) -> None:
    write(root, "wjw/department.yml", "a: [")
    write(root, "libraries/population.yml", "a: [")
    write(root, "gaj/other.yml", "a: [")
    resource = load_resource(root, "gaj.household")
    assert resource == load_catalog(root).resources["gaj.household"]
    assert (resource.path, [c.email for c in resource.contacts]) == (
        str(root / "gaj" / "household.yml"),
        ["data@gaj.example"],
    )


@pytest.mark.parametrize(
    "id",
    ["gaj.houshold", "gaj", "", "gaj.department", "libraries.population", "../gaj.household", "gaj.../gaj/household"],
)
def test_an_unknown_id_is_answered_with_the_nearest(root: Path, id: str) -> None:
    with pytest.raises(CatalogError) as caught:
        load_resource(root, id)
    assert str(caught.value).startswith(f"There is no resource {id!r} in the catalog.")
    assert ("Did you mean 'gaj.household'?" in str(caught.value)) is (
        id not in ("", "gaj", "gaj.department", "libraries.population")
    )


def test_an_unusable_resource_raises_with_its_problems(root: Path) -> None:
    edit(root, "expr: length(name) > 1", "expr: pg_sleep(9) = 1")
    with pytest.raises(CatalogError) as caught:
        load_resource(root, "gaj.household")
    (problem,) = caught.value.problems
    assert isinstance(problem, Problem)
    assert (problem.line, problem.nearest) == (24, None)
    assert caught.value.exit_code == 2
    assert load_resource(root, "gaj.household", check_expressions=False).id == "gaj.household"


def test_a_missing_catalog_folder_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="GUIJI_CATALOG"):
        load_catalog(tmp_path / "absent")


def test_libraries_and_departments_load_alone(root: Path) -> None:
    write(root, "gaj/household.yml", "a: [")
    assert list(load_libraries(root)) == ["population"]
    assert load_department(root, "gaj").short_name == "公安局"
    with pytest.raises(CatalogError, match="Did you mean 'population'"):
        load_catalog(root).library("populaton")


def test_the_fingerprint_follows_judgement_not_words(root: Path) -> None:
    before = load_resource(root, "gaj.household").fingerprint
    edit(root, "mend: 补填姓名", "mend: 请补填姓名")
    edit(root, "name: 户籍人口", "name: 户籍人口信息")
    edit(root, "sensitivity: 3}", "sensitivity: 2}")
    assert load_resource(root, "gaj.household").fingerprint == before
    seen = {before}
    for old, new in (
        ("length(name) > 1", "length(name) > 2"),
        ("maximum: 150", "maximum: 140"),
        ("order: [updated_at]", "order: []"),
        ("title: 性别", "title: 性别代码"),  # the column it reads
        ("codes: sex", "codes: marital"),
        ("key: [id_number]\no", "key: [id_number, name]\no"),
    ):
        edit(root, old, new)
        seen.add(load_resource(root, "gaj.household").fingerprint)
    assert len(seen) == 7


def test_the_fingerprint_follows_the_content_of_code_tables(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from guiji.catalog import fingerprint

    codes = tmp_path / "codes"
    codes.mkdir()
    shutil.copy(fingerprint.CODES / "sex.csv", codes / "sex.csv")
    monkeypatch.setattr(fingerprint, "CODES", codes)
    before = load_resource(root, "gaj.household").fingerprint
    with (codes / "sex.csv").open("a", encoding="utf-8") as f:
        f.write("3,新代码\n")
    assert load_resource(root, "gaj.household").fingerprint != before


def test_loading_is_the_same_in_every_process(root: Path) -> None:
    code = (
        "import sys; from guiji.catalog import load_catalog; "
        "print({k: r.fingerprint for k, r in load_catalog(sys.argv[1]).resources.items()})"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code, str(EXAMPLE)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_a_task_start_imports_nothing_heavy() -> None:
    code = (
        "import sys; from guiji.catalog import load_resource; "
        f"load_resource({str(EXAMPLE)!r}, 'gaj.household', check_expressions=False); "
        "print([m for m in ('pandas', 'pyarrow', 'duckdb', 'sqlglot', 'numpy', 'airflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_large_catalog_loads_quickly(tmp_path: Path) -> None:
    text = (EXAMPLE / "gaj" / "household.yml").read_text(encoding="utf-8").split("mappings:")[0]
    for d in range(6):
        write(
            tmp_path,
            f"d{d}/department.yml",
            DEPARTMENT.replace("id: gaj", f"id: d{d}") + "defaults: {system: x, sharing: {type: 无条件共享}}\n",
        )
        for r in range(100):
            one = text.replace("gaj.household", f"d{d}.r{r}").replace("101001/00001", f"{d}/{r}")
            write(tmp_path, f"d{d}/r{r}.yml", one)
    start = time.process_time()
    catalog = load_catalog(tmp_path)
    seconds = time.process_time() - start
    assert (len(catalog.resources), catalog.problems) == (600, ())
    assert seconds / 600 < 0.02
    start = time.process_time()
    load_resource(tmp_path, "d5.r99")
    assert time.process_time() - start < 0.2


# --- expressions --------------------------------------------------------------------------------------

COLUMNS = ("name", "sex", "age", "updated_at", "状态")


@pytest.mark.parametrize(
    "text",
    [
        "length(name) >= 2 and sex in ('1', '2')",
        "not regexp_matches(name, '[0-9]') or name is null",
        "age between 0 and 150 and age % 2 = 0 and -age < 1",
        "try_cast(substring(name, 1, 2) as integer) > 5",
        "cast(updated_at as date) >= date '2000-01-01'",
        "case when sex = '1' then age >= 22 else age >= 20 end",
        "date_diff('year', updated_at, updated_at) >= 18",
        "coalesce(name, '') || 'x' <> upper(left(name, 3))",
        "状态 = '有效' and \"name\" not like '%测试%'",
        "name is distinct from sex",
    ],
)
def test_f70_what_a_rule_needs_is_allowed(text: str) -> None:
    rendered = parse_expression(text, COLUMNS).sql(dialect="duckdb", identify=True)
    assert parse_expression(rendered, COLUMNS).sql(dialect="duckdb", identify=True) == rendered


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "1 = 1; drop table person",
        "name = 'x' -- and the rest",
        "name = 'x' /* hidden */",
        "pg_sleep(10) is null",
        "read_csv('/etc/passwd') is null",
        "read_text('/etc/passwd') is null",
        "getenv('GUIJI_KEY') = 'x'",
        "current_setting('x') = 'y'",
        "nextval('s') > 0",
        "lo_import('/etc/passwd') > 0",
        "query('drop table x') is null",
        "(select 1) = 1",
        "exists (select 1)",
        "name in (select name from other)",
        "name = any(select 1)",
        "count(*) > 1",
        "row_number() over () = 1",
        "other.name = 'x'",
        "pg_catalog.pg_sleep(1) is null",
        "name = $1",
        "name = ?",
        "name = :p",
        "*",
        "name as x",
        "name = 'x' union select 1",
        "drop table person",
        "select 1",
        "copy person to '/tmp/x'",
        "attach 'x' as y",
        "age = random()",
        "updated_at < now()",
        "updated_at < current_timestamp",
        "name[1] = 'x'",
        "[x for x in name] is null",
        "{'a': 1} is null",
        "cast(name as blob) is null",
        "name::json is null",
        "columns('x') = 1",
        "unknown = 1",
        "NAME = 'x'",
        "name = 'x\x00'",
        "((" * 900 + "name" + "))" * 900 + " = 'x'",
        "name = '" + "x" * 3000 + "'",
        "name collate \"C\" = 'x'",
        "interval 1 day is null",
    ],
)
def test_f70_everything_else_is_refused(text: str) -> None:
    with pytest.raises(CatalogError):
        parse_expression(text, COLUMNS)


def test_f70_a_quote_stays_inside_its_literal() -> None:
    hostile = "name = 'x'' or 1=1; drop table t; --'"
    rendered = parse_expression(hostile, COLUMNS).sql(dialect="duckdb", identify=True)
    assert rendered == "\"name\" = 'x'' or 1=1; drop table t; --'"
    assert parse_expression('"na""me" = 1', ['na"me']).sql(dialect="postgres", identify=True) == '"na""me" = 1'


def test_an_expression_is_the_callers_own() -> None:
    first = parse_expression("name = 'x'", COLUMNS)
    first.set("expression", None)
    assert parse_expression("name = 'x'", COLUMNS).sql() == "name = 'x'"
    assert list_columns("length(name) > age or sex = '1' or name = 'y'") == ("name", "age", "sex")


# --- schema, docs, rendering --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_schema_files_are_not_stale(kind: str) -> None:
    assert (DIRECTORY / f"{kind}.json").read_text(encoding="utf-8") == render_schema(kind), (
        "run python -m guiji.catalog.schema_files"
    )


def test_an_unknown_schema_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'library'"):
        json_schema("libary")


def test_every_example_file_names_its_schema_and_satisfies_it() -> None:
    import jsonschema

    checked = 0
    for file in sorted(EXAMPLE.glob("*/*.yml")):
        kind = (
            "library"
            if file.parent.name == "libraries"
            else "department"
            if file.name == "department.yml"
            else "resource"
        )
        text = file.read_bytes()
        first = text.decode().splitlines()[0]
        assert first.startswith("# yaml-language-server: $schema=")
        assert (file.parent / first.partition("$schema=")[2]).resolve() == DIRECTORY / f"{kind}.json"
        jsonschema.Draft202012Validator(json_schema(kind)).validate(parse_yaml(text, file.name).plain())
        checked += 1
    assert checked == 59


def test_every_key_has_a_meaning() -> None:
    documented = read_docstrings()
    for model in list_models():
        keys = {f.alias or n for n, f in model.model_fields.items()}
        assert keys - set(documented[model.__name__]) == set(), model.__name__


def list_models() -> list[type[catalog_models.Model]]:
    return [
        m
        for m in vars(catalog_models).values()
        if isinstance(m, type)
        and issubclass(m, catalog_models.Model)
        and m not in (catalog_models.Model, catalog_models.Resource)
    ]


def test_the_docs_name_every_key_and_function() -> None:
    from guiji.catalog.key_tables import render_keys

    text = (ROOT / "docs" / "catalog.md").read_text(encoding="utf-8")
    assert render_keys() in text, "docs/catalog.md: paste what guiji.catalog.key_tables.render_keys() gives"
    assert [f for f in FUNCTIONS.values() if f"`{f}`" not in text] == []
    assert len(list_models()) > 20


def test_the_example_in_the_docs_is_a_sound_catalog(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "catalog.md").read_text(encoding="utf-8")
    files = {}
    for block in text.split("```yaml\n")[1:]:
        body = block.split("```")[0]
        name = body.splitlines()[0].removeprefix("# ").strip()
        files[name] = body
    assert set(files) == {"sthj/department.yml", "sthj/outlet.yml", "libraries/ecology.yml"}
    for name, body in files.items():
        write(tmp_path, name, body)
    assert check_catalog(tmp_path) == []
    assert list(load_catalog(tmp_path).resources) == ["sthj.outlet"]


def test_an_overview_says_what_a_clerk_asks() -> None:
    text = render_resource(load_resource(EXAMPLE, "mzj.marriage"))
    for word in (
        "婚姻登记信息",
        "鄂尔多斯市民政局",
        "有条件共享",
        "SFTP sftp_mzj",
        "公民身份号码",
        "1 个工作日内",
        "data@mzj.example",
    ):
        assert word in text
    assert list_row(load_resource(EXAMPLE, "jtj.road")) == (
        "jtj.road",
        "公路路线",
        "交通局",
        "sftp",
        "每季度",
        "natural_resource",
    )


@pytest.mark.parametrize("id", list_resource_ids(EXAMPLE))
def test_every_resource_can_be_shown(id: str) -> None:
    resource = load_resource(EXAMPLE, id)
    text = render_resource(resource)
    assert all(f"  {f.name} {f.title}" in text for f in resource.model.fields)


# --- the example city ---------------------------------------------------------------------------------


def test_the_example_has_no_problem() -> None:
    assert check_catalog(EXAMPLE) == []


def test_the_example_covers_every_way_of_supply_and_every_library() -> None:
    catalog = load_catalog(EXAMPLE)
    models = [r.model for r in catalog.resources.values()]
    assert {m.source.kind for m in models} == {"database", "sftp", "ftp", "files", "http"}
    assert {(m.source.kind, m.load) for m in models} >= {
        ("database", "snapshot"),
        ("database", "incremental"),
        ("sftp", "snapshot"),
        ("sftp", "incremental"),
        ("http", "snapshot"),
        ("http", "incremental"),
    }
    assert {m.source.format.type for m in models if hasattr(m.source, "format")} == {
        "csv",
        "xlsx",
        "geojson",
        "xml",
        "sql",
    }
    assert {m.source.format.encoding for m in models if hasattr(m.source, "format")} >= {"utf-8", "gb18030"}
    assert {m.source.paging.style for m in models if hasattr(m.source, "paging")} == {
        "none",
        "page",
        "offset",
        "cursor",
    }
    assert {m.library for model in models for m in model.mappings} == set(catalog.libraries)
    assert (len(catalog.departments), len(models), len(catalog.libraries)) == (19, 28, 12)
    assert {m.sharing.type.value for m in models} == {"无条件共享", "有条件共享", "不予共享"}
    assert {f.strategy for lib in catalog.libraries.values() for f in lib.fields} == {
        "authority",
        "newest_non_null",
        "most_frequent",
        "longest",
        "union",
    }
    assert {f.identifier for m in models for f in m.fields} == {
        None,
        "citizen_id",
        "credit_code",
        "registration_number",
        "division",
    }


def test_personal_fields_of_the_example_are_masked_everywhere() -> None:
    personal = {
        "公民身份号码",
        "姓名",
        "曾用名",
        "配偶姓名",
        "法定代表人",
        "联系电话",
        "户籍详址",
        "现住址",
        "出生日期",
    }
    found = set()
    for r in load_catalog(EXAMPLE).resources.values():
        for f in r.model.fields:
            if f.title in personal or f.identifier == "citizen_id":
                found.add(f.title)
                assert f.sensitivity >= 3, (r.id, f.name)
    assert found >= personal


def test_every_connection_of_the_example_is_listed_in_its_readme() -> None:
    text = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    for r in load_catalog(EXAMPLE).resources.values():
        assert f"| {r.id} " in text
        connection = getattr(r.model.source, "connection", None)
        assert connection is None or f"`{connection}`" in text


def test_schema_of_a_resource_is_plain_json() -> None:
    assert json.loads(render_schema("resource"))["properties"]["update_cycle"]["description"] == "更新周期"
