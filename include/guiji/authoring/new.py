"""``./guiji catalog new``: a resource file drafted from a file or a table, with questions where it can't know.

The file or table is read as the pipeline reads it. What is written holds names, counts and words of code tables, and no
value of any row.
"""

from __future__ import annotations

import copy
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.authoring.discover import Found, discover_file, discover_table, read_rows
from guiji.authoring.draft import count_questions, write_resource
from guiji.authoring.facts import TableFacts, count_facts, write_rows
from guiji.authoring.guess import FieldGuess, ask_together, guess_fields
from guiji.authoring.keys import guess_key
from guiji.authoring.value_names import refuse_identifiers
from guiji.catalog.questions import OPEN
from guiji.catalog.write_yaml import write_flow
from guiji.errors import DeliveryRefused, UsageError
from guiji.masking import scrub
from guiji.sources.formats.line_titles import TOTAL_TITLE

if TYPE_CHECKING:
    from guiji.settings import Settings

#: rows that are looked at
ROWS = 1_000_000
_CONNECTION = re.compile(r"(?P<connection>[A-Za-z_][A-Za-z0-9_.-]*):(?P<table>[^/\\]+)")
_ID = re.compile(r"[a-z][a-z0-9_]{0,20}\.[a-z][a-z0-9_]{0,30}")


@dataclass(frozen=True)
class Draft:
    """A drafted resource file. ``open_places`` must be answered, ``questions`` looked at."""

    text: str
    rows: int
    columns: int
    open_places: int
    questions: int


def draft_resource(
    settings: Settings, origin: str, resource_id: str | None = None, *, sheet: str | None = None, rows: int = ROWS
) -> Draft:
    """The draft for a file, or for ``CONNECTION:[SCHEMA.]TABLE``.

    Raises UsageError for a form nobody reads, DeliveryRefused for a file that the pipeline would refuse,
    SourceUnavailable and SourceRefused for a table that can't be reached.
    """
    if resource_id is not None and not _ID.fullmatch(resource_id):
        raise UsageError(
            f"--id {resource_id!r} is no resource id. Write DEPARTMENT.NAME in small letters, such as gaj.household."
        )
    with tempfile.TemporaryDirectory(prefix="guiji-new-") as folder, _nothing_written():
        local = replace(settings, staging=folder, home=settings.home)
        scratch = Path(folder)
        found = _discover(origin, local, scratch, sheet)
        table = _count(found, local, scratch, rows)
        if table.totals or table.footnotes:
            found = _with_ends(found, table)
            table = _count(found, local, scratch, rows)
    return _write(settings, found, table, resource_id, origin)


@contextmanager
def _nothing_written() -> Iterator[None]:
    """A reader's refusal speaks of the data that go on serving; of a resource that is being drafted there are none."""
    try:
        yield
    except DeliveryRefused as error:
        told = str(error).replace("现有数据继续有效", "没有生成任何内容")
        context = {k: v for k, v in error.context.items() if k != "rule_id"}
        raise DeliveryRefused(told, rule_id=error.rule_id, **context) from error


def demand_department(settings: Settings, resource_id: str) -> None:
    """Raises UsageError for a resource of a department that the catalog does not have: its file could not be used."""
    from guiji.catalog import load_catalog
    from guiji.catalog.problems import find_nearest

    department = resource_id.partition(".")[0]
    folder = settings.catalog / department
    if not (folder / "department.yml").is_file():
        known = sorted(load_catalog(settings.catalog).departments)
        nearest = find_nearest(department, known)
        raise UsageError(
            f"--id {resource_id!r}: the catalog has no department {department!r}."
            + (f" Did you mean {nearest!r}? " if nearest else " ")
            + f"Departments: {', '.join(known) or 'none'}. Nothing was written; write {folder / 'department.yml'} first "
            "(docs/catalog.md), or give another --id, or a place with --out."
        )


def _discover(origin: str, settings: Settings, scratch: Path, sheet: str | None) -> Found:
    path = Path(origin).expanduser()
    if path.is_file():
        demand_readable(path)
        return discover_file(path, settings, scratch, sheet=sheet)
    named = _CONNECTION.fullmatch(origin)
    if named and not path.exists():
        return discover_table(named["connection"], named["table"], settings)
    raise UsageError(
        f"--from {origin!r} is neither a file nor CONNECTION:TABLE. Nothing was written; give the path of a file, or a "
        "connection and a table such as fep_gaj:public.t_hjrk."
    )


def demand_readable(path: Path) -> None:
    """Raises UsageError for a file that may not be read."""
    try:
        with path.open("rb") as f:
            f.read(1)
    except OSError as exc:
        raise UsageError(
            f"{path} can't be read: {exc.strerror}. Nothing was written; mend its rights, or give another file."
        ) from exc


def _count(found: Found, settings: Settings, scratch: Path, most: int) -> TableFacts:
    from guiji.engine import open_engine

    path = scratch / "rows.parquet"
    path.unlink(missing_ok=True)
    columns = [c.name for c in found.columns if c.name != found.geometry]
    _, complete = write_rows(iter(read_rows(found, settings, scratch)), path, most)
    if not path.exists():
        return TableFacts(0, True, {}, {})
    with open_engine(replace(settings, home=scratch)) as con:
        return count_facts(con, path, columns, complete=complete, today=settings.now().date())


def _with_ends(found: Found, table: TableFacts) -> Found:
    """``found`` with the layout that leaves its total lines and footnotes out."""
    form = dict(found.source.get("format") or {})
    layout = dict(form.get("layout") or {})
    notes = list(found.notes)
    if table.totals:
        layout["total"] = TOTAL_TITLE
        notes.append(f"有 {table.totals} 行合计，不作为数据")
    if table.footnotes:
        layout["footnote"] = (
            r"^(注|附注|备注|说明|填表说明|数据来源|资料来源|填表人|制表人|审核人|填报人|单位负责人|制表单位)\s*[\d一二三]?\s*[:：]"
        )
        notes.append(f"有 {table.footnotes} 行脚注，自脚注起不作为数据")
    if not form:
        return found
    return replace(found, source={**found.source, "format": {**form, "layout": layout}}, notes=tuple(notes))


def _write(settings: Settings, found: Found, table: TableFacts, resource_id: str | None, origin: str) -> Draft:
    fields = guess_fields(found, table)
    if not fields:
        raise UsageError(f"{found.what} has no column. Nothing was written; check what it holds.")
    refuse_identifiers((c.name for c in found.columns), found.what, "columns")
    key, key_questions = guess_key(found, table, fields)
    for guess in fields:
        if guess.name in key:
            rest = {k: guess.keys.pop(k) for k in list(guess.keys) if k not in ("name", "title", "column")}
            guess.keys.update({"nullable": False, **rest})
    text = write_resource(
        _metadata(settings, found, resource_id),
        _leave_open(found),
        fields,
        key,
        heading=_heading(settings, found, table, origin),
        source_questions=_source_questions(found),
        key_questions=key_questions,
        field_questions=ask_together(fields),
        load_question=_ask_load(found, fields),
    )
    open_places, questions = count_questions(text)
    return Draft(text, table.rows, len(fields), open_places, questions)


def _ask_load(found: Found, fields: Sequence[FieldGuess]) -> str:
    asked = "每次提供全部数据（snapshot），还是只提供变化的（incremental，需增量字段或文件名中的日期）？"
    grows = [
        f for f in fields if f.keys.get("type") == "timestamp" and re.search("更新|修改|变更", str(f.keys["title"]))
    ]
    if found.source["kind"] == "database" and grows:
        asked += f"像增量字段的有：{'、'.join(f.column for f in grows)}（写在 source 的 cursor）"
    return asked


def _heading(settings: Settings, found: Found, table: TableFacts, origin: str) -> list[str]:
    where = Path(origin).name if found.path else origin
    kind = "文件" if found.path else "数据库表"
    read = f"读了 {table.rows:,} 行" + ("" if table.complete else "（未读完）")
    lines = [
        f"由 ./guiji catalog new 于 {settings.now():%Y-%m-%d} 根据{kind} {where} 生成，{read}。",
        f"写着“{OPEN}”的必须填写，否则 catalog check 不通过；标“？”的请核对，核对后可删去。",
        *found.notes,
    ]
    lines = [scrub(line) for line in lines]
    if table.set_aside:
        from guiji.structure import STRUCTURE

        lines += [
            f"注意：{n:,} 行无法可靠读出，归集时将被搁置：{STRUCTURE.get(rule, (rule, ''))[0]}"
            for rule, n in table.set_aside.items()
        ]
    return lines


def _leave_open(found: Found) -> dict[str, Any]:
    """``source`` as it is written: what may be a person is asked for."""
    source = copy.deepcopy(found.source)
    for place in found.asked:
        *outer, last = place.split(".")
        inner = source["format"]
        for key in outer:
            inner = inner[key]
        inner[last] = OPEN
    return source


def _source_questions(found: Found) -> list[str]:
    if found.source["kind"] != "files":
        return _ask_years(found)
    asked = [
        *found.asked.values(),
        "正式的供给方式？此处按本机文件夹登记；经 SFTP、FTP 报送的改写 kind、connection、directory（见 docs/supply.md）",
    ]
    if "(?P<date>" not in found.source["pattern"]:
        asked.append(
            "文件名中没有日期，pattern 只认这一个文件名；各期文件名不同的，改成都符合的正则表达式，日期写作 (?P<date>…)"
        )
    return [*asked, *_ask_years(found)]


def _ask_years(found: Found) -> list[str]:
    """A table that is wide by years has a column more next year, which its contract would refuse."""
    years = [c.name for c in found.columns if re.fullmatch(r"(19|20)\d{2}年?", c.name)]
    if len(years) < 2:
        return []
    kept = write_flow([c.name for c in found.columns if c.name not in years])
    pattern = r"'((?:19|20)\d{2})年?'" if any(y.endswith("年") for y in years) else r"'((?:19|20)\d{2})'"
    return [
        f"有 {len(years)} 列以年份为列名，下一年会多出一列。按“一年一行”登记的，在 format 的 layout 中加 "
        f"unpivot: {{keep: {kept}, columns: {pattern}, into: 年份, value: 数值}}，"
        "并把各年份的信息项换成“年份”“数值”两项"
    ]


def _metadata(settings: Settings, found: Found, resource_id: str | None) -> dict[str, Any]:
    defaults = _department_defaults(settings, resource_id)
    metadata: dict[str, Any] = {
        "id": resource_id or OPEN,
        "code": OPEN,
        "name": found.title or OPEN,
        "summary": OPEN,
        "category": {"class": OPEN, "item": OPEN},
        "format": found.label,
        "system": OPEN,
        "sharing": {"type": OPEN},
        "update_cycle": OPEN,
        "published": f"{settings.now():%Y-%m-%d}",
    }
    return {k: (None if k in defaults and v in (OPEN, {"type": OPEN}) else v) for k, v in metadata.items()}


def _department_defaults(settings: Settings, resource_id: str | None) -> dict[str, object]:
    from guiji.catalog import load_department
    from guiji.errors import CatalogError

    if resource_id is None:
        return {}
    try:
        return load_department(settings.catalog, resource_id.partition(".")[0]).defaults
    except CatalogError:
        return {}


def default_place(settings: Settings, resource_id: str) -> Path:
    """Where the catalog keeps the resource's file."""
    department, _, name = resource_id.partition(".")
    return settings.catalog / department / f"{name}.yml"


def save_text(path: Path, text: str) -> None:
    """Writes a new file; one that is there is never written over. Raises UsageError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="utf-8") as f:
            f.write(text)
    except FileExistsError:
        raise UsageError(
            f"{path} is already there. Nothing was written; give another --out, or remove it first."
        ) from None
    except OSError as exc:
        raise UsageError(f"{path} can't be written: {exc.strerror}. Nothing was written; give another --out.") from exc
