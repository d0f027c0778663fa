"""``./guiji catalog import``: a department's catalog sheet becomes resource files, with questions where it is silent.

What stands in the catalog already is never written over: it is compared with the sheet cell by cell, and what differs
is told, so that the engineer decides which of the two is to change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.authoring.discover import FoundColumn
from guiji.authoring.draft import SCHEMA, write_question, write_resource
from guiji.authoring.facts import ColumnFacts
from guiji.authoring.guess import FieldGuess, ask_together
from guiji.authoring.guide import (
    BY_TITLE,
    plain_word,
    read_metadata,
    read_type,
    render_cells,
    render_item_cells,
)
from guiji.authoring.new import default_place, save_text
from guiji.authoring.personal import is_about_people, propose_level
from guiji.authoring.sheet_check import compare_resource, list_doubts, list_twins, plain_code
from guiji.authoring.sheet_in import Sheet, SheetResource, read_sheet
from guiji.authoring.words import read_meaning
from guiji.catalog.questions import OPEN
from guiji.catalog.strict_yaml import parse_yaml
from guiji.catalog.write_yaml import write_comment, write_flow
from guiji.errors import CatalogError, UsageError

if TYPE_CHECKING:
    from guiji.catalog import Catalog
    from guiji.catalog.models import DepartmentModel, Resource
    from guiji.settings import Settings

#: where each open answer of a resource file shows in the sheet
_PLACES = {
    "code": "信息资源代码", "name": "信息资源名称", "summary": "信息资源摘要", "format": "信息资源格式", "update_cycle": "更新周期",
    "published": "发布日期", "category.class": "类", "category.item": "项", "sharing.type": "共享类型",
    "sharing.condition": "共享条件", "sharing.scope": "共享范围", "sharing.purpose": "使用用途",
    "sharing.legal_basis": "共享条件", "system": "来源信息系统",
}  # fmt: skip
#: a catalog sheet holds no values
_NO_FACTS = ColumnFacts(0, 0, 0, 0)
_IDENTIFIERS = {"id_number": "citizen_id", "credit_code": "credit_code"}


@dataclass
class Imported:
    """What became of a sheet's resources."""

    written: list[Path] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    #: id -> what differs from the catalog, a line each
    differing: dict[str, list[str]] = field(default_factory=dict)
    #: resources of other departments
    left_out: list[str] = field(default_factory=list)
    skipped_lines: tuple[int | str, ...] = ()
    #: ids of files that were drafted before and still wait for their answers: left as they are
    waiting: list[str] = field(default_factory=list)
    #: cells that were not understood, with their lines
    doubts: list[str] = field(default_factory=list)


def import_sheet(
    settings: Settings, path: Path, department: str | None = None, *, sheet: str | None = None, out: Path | None = None
) -> Imported:
    """Writes a resource file for every resource of the sheet that the catalog doesn't have yet, below ``out`` or the
    catalog. Raises UsageError where it can't be said whose a resource is, before anything is written."""
    from guiji.catalog import load_catalog

    if department is not None and not re.fullmatch(r"[a-z][a-z0-9_]{0,20}", department):
        raise UsageError(f"--department {department!r} is no department id. Write it in small letters, such as gaj.")
    catalog = load_catalog(settings.catalog)
    read = read_sheet(path, sheet)
    result = Imported(skipped_lines=read.skipped)
    owners = _find_owners(read, catalog, department, result)
    root = out or settings.catalog
    taken = {i.lower() for i in (*catalog.resources, *catalog.broken_resources)}
    for new in dict.fromkeys(o for o in owners if o and o not in catalog.departments):
        place = root / new / "department.yml"
        if not place.exists():
            first = next(r for r, o in zip(read.resources, owners, strict=True) if o == new)
            save_text(place, draft_department(new, first.cells))
            result.written.append(place)
    for resource, owner in zip(read.resources, owners, strict=True):
        if owner is None:
            continue
        if (draft := _find_waiting(settings, catalog, owner, resource)) is not None:
            result.waiting.append(draft)
            continue
        existing = _find_existing(catalog, owner, resource)
        if existing is not None:
            differences = compare_resource(existing, resource, read)
            if differences:
                result.differing[existing.id] = differences
            else:
                result.unchanged.append(existing.id)
            continue
        resource_id = _name_resource(owner, resource, taken)
        taken.add(resource_id)
        place = (
            default_place(settings, resource_id) if out is None else out / owner / f"{resource_id.split('.')[1]}.yml"
        )
        save_text(place, draft_from_sheet(resource_id, resource, read, catalog.departments.get(owner), path.name))
        result.written.append(place)
        result.doubts += list_doubts(resource)
    result.doubts += list_twins([r for r, o in zip(read.resources, owners, strict=True) if o])
    return result


# --- whose is it ---------------------------------------------------------------------------------------


def _find_owners(read: Sheet, catalog: Catalog, department: str | None, result: Imported) -> list[str | None]:
    """The department of each resource; None for those that are another department's than the one asked for."""
    owners: list[str | None] = []
    unknown: dict[str, int] = {}
    for resource in read.resources:
        name, code = resource.cells.get("信息资源提供方", ""), resource.cells.get("信息资源提供方代码", "")
        known = next((d.id for d in catalog.departments.values() if code and d.credit_code == code), None)
        known = known or next(
            (d.id for d in catalog.departments.values() if name and name in (d.name, d.short_name)), None
        )
        if department is not None and known not in (None, department):
            result.left_out.append(f"{resource.place()} {resource.cells['信息资源名称']}（{name or code}）")
            owners.append(None)
            continue
        owner = department or known
        if owner is None:
            unknown.setdefault(name or code or "（未写提供方）", resource.line)
        owners.append(owner)
    if unknown:
        shown = "; ".join(f"{name} (line {line})" for name, line in list(unknown.items())[:5])
        raise UsageError(
            f"The catalog has no department for {len(unknown)} provider(s): {shown}. Nothing was written; name the "
            "department with --department ID, or write its department.yml first."
        )
    return owners


def _find_existing(catalog: Catalog, owner: str, resource: SheetResource) -> Resource | None:
    named = catalog.resources.get(resource.cells.get("资源标识", ""))
    if named is not None and named.model.department_id == owner:
        return named
    code, name = plain_code(resource.cells.get("信息资源代码", "")), resource.cells["信息资源名称"]
    same = [r for r in catalog.resources_of(owner) if code and plain_code(r.model.code) == code]
    return next((r for r in same if r.model.name == name), next(iter(same), None))


def _find_waiting(settings: Settings, catalog: Catalog, owner: str, resource: SheetResource) -> str | None:
    """The file that can't be used yet and is this resource's: what a person began to answer is never drafted again."""
    code, name = plain_code(resource.cells.get("信息资源代码", "")), resource.cells["信息资源名称"]
    for resource_id in catalog.broken_resources:
        if resource_id == resource.cells.get("资源标识"):
            return resource_id
        if resource_id.partition(".")[0] != owner:
            continue
        try:
            plain: Any = parse_yaml(default_place(settings, resource_id).read_bytes(), resource_id).plain()
        except (CatalogError, OSError):
            continue
        if isinstance(plain, dict) and plain.get("name") == name and code in ("", plain_code(str(plain.get("code")))):
            return resource_id
    return None


def _name_resource(owner: str, resource: SheetResource, taken: set[str]) -> str:
    """An id that nobody has: the sheet's own, or one made from the resource's code."""
    given = resource.cells.get("资源标识", "")
    if re.fullmatch(r"[a-z][a-z0-9_]{0,30}", given.removeprefix(f"{owner}.")) and "." not in given.removeprefix(
        f"{owner}."
    ):
        name = given.removeprefix(f"{owner}.")
    else:
        digits = re.sub(r"[^0-9A-Za-z]+", "_", resource.cells.get("信息资源代码", "")).strip("_").lower()
        name = f"r{digits}"[:28] if digits else f"r{resource.line}"
    unique, n = name, 2
    while f"{owner}.{unique}" in taken:
        unique, n = f"{name[:26]}_{n}", n + 1
    return f"{owner}.{unique}"


# --- drafting ------------------------------------------------------------------------------------------


def draft_department(department: str, cells: Mapping[str, str]) -> str:
    """``department.yml`` with what a catalog sheet says of its provider."""
    name = cells.get("信息资源提供方") or OPEN
    return "\n".join(
        [
            SCHEMA.format(kind="department"),
            write_comment(f"由 ./guiji catalog import 生成；写着“{OPEN}”的必须填写，否则 catalog check 不通过。"),
            f"id: {department}",
            f"name: {write_flow(name)}",
            f"short_name: {write_flow(name)}",
            f"credit_code: {write_flow(cells.get('信息资源提供方代码') or OPEN)}",
            write_question("责任领导、责任股室，以及整改通知发给谁"),
            f"leader: {OPEN}",
            f"section: {OPEN}",
            "contacts:",
            f"  - {{name: {OPEN}, email: {OPEN}}}",
            "",
        ]
    )


def draft_from_sheet(
    resource_id: str, resource: SheetResource, read: Sheet, department: DepartmentModel | None, file_name: str
) -> str:
    """The resource file of one resource of the sheet."""
    defaults = department.defaults if department else {}
    metadata: dict[str, Any] = {"id": resource_id, **read_metadata(resource.cells)}
    if metadata["system"] is None and "system" not in defaults:
        metadata["system"] = OPEN
    guesses, key = _draft_fields(resource, read)
    registered = _own_words(resource, read, metadata, department)
    key_questions = [] if key != [OPEN] else ["哪些字段标识一行？"]
    heading = [
        f"由 ./guiji catalog import 根据 {file_name} {resource.place()}起的目录生成。",
        f"写着“{OPEN}”的必须填写，否则 catalog check 不通过；标“？”的请核对，核对后可删去。",
    ]
    heading += [f"？ {told}" for told in list_doubts(resource)]
    if not resource.cells.get("资源标识"):
        heading.append("？ 文件名（资源标识）可改为好懂的英文短名，id 随之修改")
    return write_resource(
        metadata,
        {"kind": OPEN},
        guesses,
        key,
        heading=heading,
        source_questions=["供给方式：database、sftp、ftp、files、http 之一及其各项（见 docs/supply.md）"],
        key_questions=key_questions,
        field_questions=ask_together(guesses),
        load_question="每次提供全部数据（snapshot），还是只提供变化的（incremental）？",
        extra={"registered": registered} if registered else None,
    )


def _draft_fields(resource: SheetResource, read: Sheet) -> tuple[list[FieldGuess], list[str]]:
    personal = is_about_people((FoundColumn(i["信息项名称"]) for i in resource.items), {})
    guesses: list[FieldGuess] = []
    ranks: list[tuple[int, str]] = []
    used: set[str] = set()
    for number, item in enumerate(resource.items, 1):
        guess = _draft_field(item, read, number, used, personal)
        guesses.append(guess)
        if item.get("主键序", "").isdigit():
            ranks.append((int(item["主键序"]), guess.name))
            guess.keys["nullable"] = False
    return guesses, [name for _, name in sorted(ranks)] or [OPEN]


def _draft_field(item: Mapping[str, str], read: Sheet, number: int, used: set[str], personal: bool) -> FieldGuess:
    from guiji.catalog.models import FieldSpec

    title = item["信息项名称"]
    meaning = read_meaning(title) if title else read_meaning("x")
    questions: list[str] = []
    doubts: list[str] = []
    given = item.get("信息项字段名", "").lower()
    word = given if re.fullmatch(r"[a-z][a-z0-9_]{0,40}", given) else meaning.name or f"f{number:02d}"
    name, n = word, 2
    while name in used:
        name, n = f"{word[:38]}_{n}", n + 1
    used.add(name)
    keys: dict[str, Any] = {"name": name, "title": title or OPEN}
    keys |= read_type(item.get("数据类型", ""), item.get("数据长度", ""))
    if "type" not in keys and meaning.name in _IDENTIFIERS:
        keys["identifier"] = _IDENTIFIERS[meaning.name]
    level = item.get("安全级别", "")
    if plain_word(item.get("共享类型", "")).removesuffix("共享") in ("不予", "不", "不予以"):
        # the resource is shared as a whole: what must not be is masked by its level, whatever level is written
        keys["sensitivity"] = 4
        written = f"（安全级别一栏为 {level}）" if level in ("1", "2", "3") else ""
        questions.append(f"目录表中该信息项不予共享，按 4 级登记{written}")
    elif level in ("1", "2", "3", "4"):
        keys |= {"sensitivity": int(level)} if level != "1" else {}
    else:
        proposed, raised = propose_level(FoundColumn(title), meaning, _NO_FACTS, keys, personal=personal)
        if proposed > 1:
            keys["sensitivity"] = proposed
        if raised == "default":
            doubts.append("level")
    spec = FieldSpec.model_validate({**keys, "title": title or "-", "crs": "EPSG:4490" if "crs" in keys else None})
    rendered = _item_cells(spec)
    words = {
        t: text
        for t, text in item.items()
        if t not in rendered or (text != rendered[t] and (text or t in ("数据类型", "数据长度")))
        if t != "主键序" or not text.isdigit()  # a number is the key's
    }
    if not title and "信息项名称" in read.columns:
        questions.append("这一行没有写信息项名称")
    if words:
        keys["registered"] = words
    return FieldGuess(title, keys, tuple(questions), doubts=tuple(doubts))


def _item_cells(spec: Any) -> dict[str, str]:
    class _NoKey:
        key: tuple[str, ...] = ()

    no_key: Any = _NoKey()
    return render_item_cells(no_key, spec)


def _own_words(
    resource: SheetResource, read: Sheet, metadata: Mapping[str, Any], department: DepartmentModel | None
) -> dict[str, str]:
    """The cells of the resource that the drafted file would not write in the same words."""
    rendered = render_cells(_stand_in(metadata, resource, department))
    asked = {column for path, column in _PLACES.items() if _value_at(metadata, path) == OPEN}
    words = {}
    for title, text in resource.cells.items():
        if title == "资源标识" or (not text and title in asked):
            continue
        if title not in BY_TITLE or text != rendered.get(title, ""):
            words[title] = text
    return words


def _value_at(metadata: Mapping[str, Any], path: str) -> Any:
    value: Any = metadata
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _stand_in(metadata: Mapping[str, Any], resource: SheetResource, department: DepartmentModel | None) -> Resource:
    """A resource with these metadata whose open answers are filled by something that is valid."""
    from guiji.catalog.models import DepartmentModel, Resource, ResourceModel

    said = {k: v for k, v in metadata.items() if v is not None}
    said |= {"update_cycle": "不定期"} if said["update_cycle"] == OPEN else {}
    said["sharing"] = {**said["sharing"], "type": "无条件共享"} if said["sharing"]["type"] == OPEN else said["sharing"]
    said.setdefault("system", resource.cells.get("来源信息系统") or "-")
    model = ResourceModel.model_validate(
        {
            **said,
            "source": {"kind": "files", "directory": "/", "pattern": "-"},
            "fields": [{"name": "f01", "title": "-"}],
            "key": ["f01"],
        }
    )
    if department is None:
        name, code = (resource.cells.get(t) or "-" for t in ("信息资源提供方", "信息资源提供方代码"))
        department = DepartmentModel(
            id=model.department_id, name=name, short_name=name, credit_code=code, leader="-", section="-"
        )
    return Resource(model=model, department=department, path="-", fingerprint="-")


def list_resources(catalog: Catalog, department: str | None) -> Sequence[Resource]:
    """The resources to export, by id. Raises UsageError for a department that has none."""
    found = [r for r in catalog.resources.values() if department is None or r.model.department_id == department]
    if not found:
        known = ", ".join(catalog.departments)
        raise UsageError(
            f"There is no resource of department {department!r} to export. Departments: {known}. Nothing was written."
            if department
            else "The catalog has no resource to export. Nothing was written."
        )
    return found
