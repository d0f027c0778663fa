"""The columns of a department's catalog sheet, 政务信息资源目录编制指南（试行）(发改高技术〔2017〕1272号), and what each says.

One line per 信息项; what belongs to the resource is merged over its lines or repeated. Beside the guide's columns stand
those of this platform, so that a sheet from here goes back without a question. A cell is text; ``render_cell`` writes
it from the catalog, ``read_cells`` reads it back, and what is not written just so is kept (``registered``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from guiji.catalog.questions import OPEN

if TYPE_CHECKING:
    from guiji.catalog.models import FieldSpec, Resource, ResourceModel


@dataclass(frozen=True)
class Column:
    """One column. ``item``: it belongs to the 信息项, not to the resource. ``own``: this platform's, not the guide's."""

    title: str
    group: str | None = None
    item: bool = False
    own: bool = False
    width: int = 14
    aliases: tuple[str, ...] = ()


_CATEGORY, _ITEM, _SHARING, _OPENING, _OWN = "信息资源分类", "信息项信息", "共享属性", "开放属性", "归集平台登记"
COLUMNS: tuple[Column, ...] = (
    Column("类", _CATEGORY, width=14, aliases=("类名称", "一级分类", "信息资源分类（类）")),
    Column("项", _CATEGORY, width=12, aliases=("项名称", "二级分类", "信息资源分类（项）")),
    Column("目", _CATEGORY, width=12, aliases=("目名称", "三级分类", "信息资源分类（目）")),
    Column("细目", _CATEGORY, width=12, aliases=("细目名称", "四级分类", "信息资源分类（细目）")),
    Column("信息资源名称", width=20, aliases=("资源名称", "目录名称", "政务信息资源名称", "数据资源名称")),
    Column("信息资源代码", width=16, aliases=("资源代码", "目录代码", "政务信息资源代码", "数据资源代码")),
    Column("信息资源提供方", width=20, aliases=("提供方", "提供部门", "资源提供方", "提供单位")),
    Column("信息资源提供方代码", width=21, aliases=("提供方代码", "资源提供方代码", "提供方统一社会信用代码")),
    Column("信息资源摘要", width=40, aliases=("摘要", "资源摘要", "目录摘要")),
    Column("信息资源格式", width=12, aliases=("格式", "资源格式", "信息资源格式类型")),
    Column("信息项名称", _ITEM, item=True, width=20, aliases=("信息项", "数据项名称", "数据项", "信息项中文名称")),
    Column("数据类型", _ITEM, item=True, width=13, aliases=("信息项数据类型", "信息项类型", "类型")),
    Column("数据长度", _ITEM, item=True, width=10, aliases=("信息项数据长度", "信息项长度", "长度")),
    Column("共享类型", _SHARING, width=12),
    Column("共享条件", _SHARING, width=34),
    Column("共享方式", _SHARING, width=12, aliases=("共享方式分类", "共享方式类型")),
    Column("是否向社会开放", _OPENING, width=10, aliases=("是否开放", "向社会开放", "是否社会开放")),
    Column("开放条件", _OPENING, width=18),
    Column("更新周期", width=10, aliases=("更新频率", "更新频度")),
    Column("发布日期", width=12, aliases=("发布时间",)),
    Column("关联资源代码", width=18, aliases=("关联信息资源代码", "关联目录代码", "关联资源")),
    Column("来源信息系统", _OWN, own=True, width=20, aliases=("信息系统", "来源系统", "所属信息系统")),
    Column("共享范围", _OWN, own=True, width=22),
    Column("使用用途", _OWN, own=True, width=24),
    Column("不予共享依据", _OWN, own=True, width=24),
    Column("资源标识", _OWN, own=True, width=20),
    Column("信息项字段名", _OWN, item=True, own=True, width=18, aliases=("字段名", "英文名称", "信息项英文名称")),
    Column("安全级别", _OWN, item=True, own=True, width=9, aliases=("数据分级", "分级", "信息项安全级别")),
    Column("主键序", _OWN, item=True, own=True, width=8),
)
BY_TITLE = {c.title: c for c in COLUMNS}
#: without these a sheet is no catalog sheet
NEEDED = ("信息资源名称", "信息项名称")


def normalise_title(text: str) -> str:
    """A column's title without blanks, width differences, notes in brackets at its end, and marks of a required cell."""
    plain = re.sub(r"\s", "", unicodedata.normalize("NFKC", text)).strip("*:")
    return re.sub(r"\((必填|选填|可选|单选|下拉.*|.*?示例.*?)\)$", "", plain).lower()


SPELLINGS: dict[str, str] = {normalise_title(word): c.title for c in COLUMNS for word in (c.title, *c.aliases)}

# --- types -----------------------------------------------------------------------------------------------

_WORDS = {
    "string": "字符型C", "int64": "整型I", "float64": "双精度型B", "bool": "逻辑型L", "date32": "日期型D",
    "timestamp": "日期时间型T", "geometry": "空间型",
}  # fmt: skip
_TYPES: tuple[tuple[str, str], ...] = (
    (r"日期时间型?T?|时间型?|DATETIME.*|TIMESTAMP.*|T", "timestamp"),
    (r"日期型?D?|DATE|D", "date32"),
    (r"整型I?|整数型?|(BIG|SMALL|TINY)?INT(EGER)?\d*|I", "int64"),
    (r"(双精度型?|浮点型?)B?F?|DOUBLE|FLOAT|REAL|B|F", "float64"),
    (r"逻辑型?L?|布尔型?|BOOL(EAN)?|L", "bool"),
    (r"数值型?N?|数字型?|货币型?Y?|NUMERIC|DECIMAL|NUMBER|N|Y", "decimal"),
    (r"空间型?|几何型?|GEOMETRY", "geometry"),
    (r"字符型?C?|字符串型?|文本型?|备注型?M?|通用型?G?|(N?VAR)?CHAR2?|N?VARCHAR2?|TEXT|CLOB|STRING|C|M|G", "string"),
)


def _type_word(spec: FieldSpec) -> str:
    return "数值型N" if spec.type.startswith("decimal") else _WORDS[spec.type]


def _length_word(spec: FieldSpec) -> str:
    if m := re.fullmatch(r"decimal128\((\d+),\s*(\d+)\)", spec.type):
        return f"{m[1]},{m[2]}"
    return str(spec.length) if spec.length else ""


def read_type(word: str, length: str) -> dict[str, Any]:
    """``type`` and ``length`` of a field by the sheet's words; nothing where they say nothing that is understood."""
    plain = re.sub(r"\s", "", unicodedata.normalize("NFKC", word))
    inner = re.search(r"\((\d+)(?:,(\d+))?\)$", plain)
    plain = re.sub(r"\(.*\)$", "", plain).upper()
    found = _find_type_word(plain) or "string"
    size = re.fullmatch(r"(\d{1,5})(?:[,.，](\d{1,2}))?", unicodedata.normalize("NFKC", length).strip()) or inner
    if found == "decimal":
        precision, scale = (int(size[1]), int(size[2] or 0)) if size else (38, 10)
        if not 1 <= precision <= 38 or scale > precision:
            precision, scale = 38, 10
        return {"type": f"decimal128({precision},{scale})"}
    if found == "geometry":
        return {"type": "geometry", "crs": OPEN}
    if found == "string":
        return {"length": int(size[1])} if size and not size[2] and int(size[1]) else {}
    return {"type": found}


def _find_type_word(plain: str) -> str | None:
    return next((t for pattern, t in _TYPES if re.fullmatch(pattern, plain)), None)


def knows_type(word: str) -> bool:
    """True where ``read_type`` understands the word."""
    return _find_type_word(plain_word(word).upper()) is not None


# --- from the catalog to cells -----------------------------------------------------------------------------


def render_cells(resource: Resource) -> dict[str, str]:
    """What the catalog says in every column of the resource, before ``registered`` is looked at."""
    model, department = resource.model, resource.department
    sharing, category = model.sharing, model.category
    both = sharing.type.value == "不予共享" and sharing.condition
    return {
        "类": category.class_,
        "项": category.item,
        "目": category.group or "",
        "细目": category.detail or "",
        "信息资源名称": model.name,
        "信息资源代码": model.code,
        "信息资源提供方": department.name,
        "信息资源提供方代码": department.credit_code,
        "信息资源摘要": model.summary,
        "信息资源格式": model.format,
        "共享类型": sharing.type.value,
        "共享条件": sharing.condition or (sharing.legal_basis or "" if sharing.type.value == "不予共享" else ""),
        "共享方式": sharing.method or "",
        "是否向社会开放": "是" if model.opening.open else "否",
        "开放条件": model.opening.condition or "",
        "更新周期": model.update_cycle.value,
        "发布日期": model.published,
        "关联资源代码": "、".join(model.related),
        "来源信息系统": model.system,
        "共享范围": sharing.scope or "",
        "使用用途": sharing.purpose or "",
        "不予共享依据": sharing.legal_basis or "" if both or sharing.type.value != "不予共享" else "",
        "资源标识": model.id,
    }


def render_item_cells(model: ResourceModel, spec: FieldSpec) -> dict[str, str]:
    """What the catalog says in every column of one 信息项, before ``registered`` is looked at."""
    return {
        "信息项名称": spec.title,
        "数据类型": _type_word(spec),
        "数据长度": _length_word(spec),
        "信息项字段名": spec.name,
        "安全级别": str(spec.sensitivity),
        "主键序": str(model.key.index(spec.name) + 1) if spec.name in model.key else "",
    }


# --- from cells to the catalog -----------------------------------------------------------------------------

_SHARING_WORDS = {
    "无条件": "无条件共享",
    "有条件": "有条件共享",
    "不予": "不予共享",
    "不共享": "不予共享",
    "不予以共享": "不予共享",
}
_CYCLES = {
    "每天": "每日", "日": "每日", "周": "每周", "月": "每月", "月度": "每月", "季": "每季度", "每季": "每季度", "季度": "每季度",
    "半年": "每半年", "年": "每年", "年度": "每年", "不定时": "不定期", "一次性": "不更新", "实时更新": "实时",
}  # fmt: skip


def read_metadata(cells: Mapping[str, str]) -> dict[str, Any]:
    """The top-level keys of a resource file that the sheet's cells say; ``待填`` where a cell is empty or not understood.
    Keys that the sheet has no column for are None: the department's defaults may have them."""

    def cell(title: str) -> str | None:
        return cells.get(title) or None

    category = {"class": cell("类") or OPEN, "item": cell("项") or OPEN, "group": cell("目"), "detail": cell("细目")}
    opening = {"open": read_yes(cells.get("是否向社会开放", "")), "condition": cell("开放条件")}
    related = [w for w in re.split(r"[、,，;；\s]+", cells.get("关联资源代码", "")) if w]
    return {
        "code": cell("信息资源代码") or OPEN,
        "name": cell("信息资源名称") or OPEN,
        "summary": cell("信息资源摘要") or OPEN,
        "category": {k: v for k, v in category.items() if v is not None},
        "format": cell("信息资源格式") or OPEN,
        "system": cell("来源信息系统"),
        "sharing": _read_sharing(cells),
        "opening": {k: v for k, v in opening.items() if v is not None} if any(opening.values()) else None,
        "update_cycle": _read_cycle(cells.get("更新周期", "")),
        "published": read_day(cells.get("发布日期", "")) or OPEN,
        "related": related or None,
    }


def plain_word(text: str) -> str:
    """A word without blanks, width differences and a note in brackets: ``无条件 共享（默认）``."""
    plain = re.sub(r"\s", "", unicodedata.normalize("NFKC", text))
    return re.sub(r"\(.*\)$", "", plain)


def find_doubts(cells: Mapping[str, str], item: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """(column, what is the matter) of the cells that nobody can understand, or that lack what the guide demands."""
    metadata = read_metadata(cells)
    kind, found = metadata["sharing"]["type"], []
    if item is not None:
        word, length = item.get("数据类型", ""), item.get("数据长度", "")
        if word and not knows_type(word):
            found.append(("数据类型", f"“{word}”不认识，暂按字符型登记"))
        if length and not re.fullmatch(r"\d{1,5}([,.，]\d{1,2})?", unicodedata.normalize("NFKC", length).strip()):
            found.append(("数据长度", f"“{length}”不是长度，未登记"))
        return found
    for column, value, allowed in (
        ("共享类型", kind, "无条件共享、有条件共享、不予共享"),
        ("更新周期", metadata["update_cycle"], "实时、每日、每周、每月、每季度、每半年、每年、不定期、不更新"),
        ("发布日期", metadata["published"], "如 2026-01-31 的日期"),
    ):
        if value == OPEN:
            written = cells.get(column, "")
            found.append((column, f"“{written}”不认识，可填：{allowed}" if written else f"没有填写，可填：{allowed}"))
    if kind == "不予共享" and metadata["sharing"].get("legal_basis") == OPEN:
        found.append(("共享条件", "不予共享须写明依据的法律、行政法规或政策"))
    if kind == "有条件共享" and metadata["sharing"].get("condition") == OPEN:
        found.append(("共享条件", "有条件共享须写明共享条件（另在资源文件中补充共享范围和使用用途）"))
    return found


def _read_sharing(cells: Mapping[str, str]) -> dict[str, Any]:
    written = plain_word(cells.get("共享类型", ""))
    kind: str = _SHARING_WORDS.get(written.removesuffix("共享"), written)
    condition, scope, purpose = (cells.get(t) or None for t in ("共享条件", "共享范围", "使用用途"))
    basis, method = cells.get("不予共享依据") or None, cells.get("共享方式") or None
    if kind not in ("无条件共享", "有条件共享", "不予共享"):
        kind = OPEN
    elif kind == "不予共享" and basis is None:
        condition, basis = None, condition or OPEN
    elif kind == "有条件共享":
        condition, scope, purpose = condition or OPEN, scope or OPEN, purpose or OPEN
    sharing = {
        "type": kind,
        "condition": condition,
        "scope": scope,
        "purpose": purpose,
        "legal_basis": basis,
        "method": method,
    }
    return {k: v for k, v in sharing.items() if v is not None}


def _read_cycle(written: str) -> str:
    from guiji.catalog.models import UpdateCycle

    written = plain_word(written)
    word = written if written == "不更新" else written.removesuffix("更新")
    word = _CYCLES.get(word, word)
    return word if word in list(UpdateCycle) else OPEN


def read_yes(written: str) -> bool:
    """True for the words that departments write for yes."""
    return written.strip().lower() in ("是", "开放", "y", "yes", "true", "1", "有条件开放", "无条件开放")


def read_day(written: str) -> str | None:
    """An ISO date for the ways in which a day is written; None for anything else."""
    for form in ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y年%m月%d日", "%Y%m%d", "%Y-%m-%d %H:%M:%S"):
        try:
            return datetime.strptime(written.strip(), form).date().isoformat()  # noqa: DTZ007
        except ValueError:
            continue
    return None
