"""What a catalog file may say: pydantic models of one resource, one department and one library.

The only pydantic in the product, in files named ``model_*`` and this one, which
stands for all of them. A field's docstring stands under it and becomes the description in the JSON Schema
(``schema_files`` reads it from the files: doing so at import would cost every task start 60 ms). Metadata follow 政务信息资源目录编制指南（试行）,
发改高技术〔2017〕1272号. Type names are Arrow's.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from guiji.catalog.model_base import HOURS, TYPE_PATTERN, Indicator, Model, PhysicalName, ResourceId, Share
from guiji.catalog.model_geometry import ByShape, Overlap
from guiji.catalog.model_library import LibraryField, LibraryModel, Link, Matching
from guiji.catalog.model_source import (
    Completeness,
    DatabaseSource,
    FilesSource,
    Format,
    HttpSource,
    Layout,
    Paging,
    RemoteFilesSource,
    Signature,
    Source,
    Unpivot,
)

__all__ = [
    "TYPE_PATTERN",
    "ByShape",
    "Category",
    "CodeMap",
    "Completeness",
    "Contact",
    "DatabaseSource",
    "Delivery",
    "DepartmentModel",
    "FieldSpec",
    "FilesSource",
    "Format",
    "HttpSource",
    "Indicator",
    "Layout",
    "LibraryField",
    "LibraryMapping",
    "LibraryModel",
    "Link",
    "Matching",
    "Model",
    "Opening",
    "Overlap",
    "Paging",
    "PhysicalName",
    "RemoteFilesSource",
    "Resource",
    "ResourceId",
    "ResourceModel",
    "Rule",
    "Share",
    "Sharing",
    "SharingType",
    "Signature",
    "Source",
    "Tolerance",
    "Unpivot",
    "UpdateCycle",
]


class SharingType(StrEnum):
    UNCONDITIONAL = "无条件共享"
    CONDITIONAL = "有条件共享"
    NONE = "不予共享"


class UpdateCycle(StrEnum):
    """更新周期: the labels of the guide; numbers are never trusted."""

    REALTIME = "实时"
    DAILY = "每日"
    WEEKLY = "每周"
    MONTHLY = "每月"
    QUARTERLY = "每季度"
    HALF_YEARLY = "每半年"
    YEARLY = "每年"
    IRREGULAR = "不定期"
    NEVER = "不更新"


class Category(Model):
    """资源分类: 类、项、目、细目."""

    class_: str = Field(alias="class")
    """类, for instance 基础信息资源"""
    item: str
    """项"""
    group: str | None = None
    """目"""
    detail: str | None = None
    """细目"""


class Sharing(Model):
    """共享属性. 不予共享 needs a legal basis; 有条件共享 needs condition, scope and purpose."""

    type: SharingType
    """共享类型: 无条件共享, 有条件共享 or 不予共享"""
    condition: str | None = None
    """共享条件"""
    scope: str | None = None
    """共享范围"""
    purpose: str | None = None
    """使用用途"""
    legal_basis: str | None = None
    """不予共享的法律法规依据"""
    method: str | None = None
    """共享方式"""

    @model_validator(mode="after")
    def _needs(self) -> Sharing:
        if self.type is SharingType.NONE and not self.legal_basis:
            raise ValueError("不予共享 needs legal_basis (the law, regulation or Party Central document)")
        if self.type is SharingType.CONDITIONAL:
            missing = [n for n in ("condition", "scope", "purpose") if not getattr(self, n)]
            if missing:
                raise ValueError(f"有条件共享 needs {', '.join(missing)}")
        return self


class Opening(Model):
    """开放属性."""

    open: bool = False
    """是否向社会开放"""
    condition: str | None = None
    """开放条件"""


class CodeMap(Model):
    """How this department writes a code. A code that is in no list and not in the table is rejected with its value."""

    fixable: dict[str, str] = {}
    """codes that mean a standard code: written -> standard; counted as mended"""
    ignored: list[str] = []
    """codes that mean 'no value' here: become null, counted as mended"""


class FieldSpec(Model):
    """信息项."""

    name: PhysicalName
    """physical name: short ASCII"""
    title: str
    """信息项名称 (Chinese), the COMMENT of the column"""
    column: str | None = None
    """the column's name in the delivery; the title where absent"""
    aliases: list[str] = []
    """other names the department has used for the column"""
    type: str = "string"
    """string, int64, float64, bool, date32, timestamp, geometry or decimal128(p,s)"""
    length: int | None = Field(default=None, ge=1)
    """longest allowed text, in characters"""
    nullable: bool = True
    """may be empty; an empty value in a field that may not be rejects the row"""
    required: bool = True
    """the column itself must be there; a missing required column refuses the delivery"""
    sensitivity: Literal[1, 2, 3, 4] = 1
    """分级: 1 public, 2 internal, 3 personal (masked everywhere), 4 strictly personal"""
    identifier: Literal["citizen_id", "credit_code", "registration_number", "division"] | None = None
    """checked and normalised as this identifier"""
    codes: str | None = None
    """code table in quality/codes"""
    code_map: CodeMap = CodeMap()
    """how this department writes the codes"""
    formats: list[str] = []
    """strptime formats of a date or timestamp, tried in order; ISO 8601 where empty"""
    minimum: float | str | None = None
    """smallest allowed value (ISO date for dates)"""
    maximum: float | str | None = None
    """largest allowed value"""
    pattern: str | None = None
    """regular expression (RE2) the whole text must match"""
    null_tokens: list[str] = []
    """texts that mean 'no value'; the empty text always does"""
    unit: str | None = None
    """计量单位 of every value of this number, a unit of quality/codes/unit.csv (万元)"""
    unit_field: str | None = None
    """the field of the same row that holds the unit of this number; it has ``codes: unit``"""
    crs: str | None = None
    """coordinate reference system of a geometry, for instance EPSG:4490"""
    bounds: list[float] | None = Field(default=None, min_length=4, max_length=4)
    """west, south, east, north in units of ``crs``: a geometry that leaves this box breaks the rule ``<field>.bounds``;
    the city's box (``city.yml``) where absent and ``crs`` has degrees. Longitude and latitude in the wrong order break
    ``<field>.axis_order``"""
    encoding: Literal["wkt", "wkb", "geojson"] = "wkt"
    """how a geometry is written in the delivery"""
    overlap: Overlap | None = None
    """surfaces of different rows must not lie upon each other; looked for where it is declared only"""
    by_shape: ByShape | None = None
    """of a number: the shape of the same row that must say the same area or length"""
    constant: str | None = None
    """the value of every row, where the delivery has no such column"""
    joined: list[str] = []
    """text fields whose cells, one after another, are this text, which has no column of its own (累计 + 不变价)"""
    tolerance: Share | None = None
    """tolerated share of rows that fail this field's checks; the resource's where absent"""
    severity: Literal["reject", "warn"] = "reject"
    """what a failed check of this field does to the row"""
    registered: dict[str, str] = {}
    """cells of the department's catalog sheet that say this in other words: column of the sheet -> text as written"""

    @property
    def source_column(self) -> str:
        return self.column or self.title

    @property
    def is_made(self) -> bool:
        """True when the delivery has no column for it."""
        return self.constant is not None or bool(self.joined)

    @model_validator(mode="after")
    def _type_is_known(self) -> FieldSpec:
        if not TYPE_PATTERN.match(self.type):
            raise ValueError(
                f"type is {self.type!r}; allowed: string, int64, float64, bool, date32, timestamp, geometry, decimal128(p,s)"
            )
        if self.type == "geometry" and not self.crs:
            raise ValueError("a geometry needs crs, for instance EPSG:4490")
        return self


class Rule(Model):
    """A row rule: an SQL expression over field names that is true for a good row (null counts as good)."""

    id: PhysicalName
    """short ASCII name, unique in the resource"""
    title: str
    """what is demanded, in Chinese, as the department reads it"""
    expr: str
    """expression in DuckDB's SQL over the physical field names; parsed with an allow-list, never run as text"""
    fields: list[str] = []
    """the fields it is about; found in expr where absent"""
    indicator: Indicator = "0104"
    """GB/T 36344-2018 indicator code"""
    severity: Literal["reject", "warn"] = "reject"
    """reject: the row is kept out; warn: it is accepted and reported as suspicious"""
    tolerance: Share | None = None
    """tolerated share of rows that fail it; the resource's where absent"""
    standard: str | None = None
    """the standard or regulation the rule comes from"""
    mend: str
    """how the department mends it, in Chinese"""


class Tolerance(Model):
    """The bands of a batch. Outside one, the batch is held for a person to decide."""

    rejected: Share = 0.05
    """largest share of rejected rows; above, the batch is held"""
    deleted: Share = 0.2
    """largest share of keys that may disappear from a snapshot"""
    shrink: Share = 0.3
    """largest share by which a snapshot may be smaller than the one that serves"""
    grow: float = Field(default=2.0, ge=0)
    """largest share by which a snapshot may be larger than the one that serves (2.0 = three times as large)"""
    min_rows: int = Field(default=1, ge=0)
    """fewer rows than this refuse the delivery (F-11)"""
    max_rows: int | None = None
    """more rows than this hold the batch"""
    completeness: Share | None = None
    """smallest share of assigned values over all fields (0201)"""
    nulls: dict[str, Share] = {}
    """field -> largest share of rows in which it may be empty; of changes, fewer than 100 rows are not judged by it"""
    distribution: dict[str, Share] = {}
    """field with a code table, or bool -> how far its values may move against what serves: total variation distance,
    half the sum over all values of how far each one's share moved; fewer than 100 rows are not judged by it"""


class LibraryMapping(Model):
    """Into which library this resource feeds, and as what."""

    library: str
    """name of the library"""
    key: list[str] = []
    """fields of this resource that make the library's key, in the key's order; may be left out where ``by`` is given"""
    by: dict[str, list[str]] = {}
    """the library's secondary keys (its ``links``) -> fields of this resource, tried in order where the key is empty"""
    fields: dict[str, str]
    """library field -> field of this resource"""
    where: str | None = None
    """condition on this resource's fields; only these rows feed the library"""


class Delivery(Model):
    """When a delivery is due, and by which schedule it is fetched."""

    due_days: int = Field(default=0, ge=0)
    """days after the end of the cycle until it is due"""
    working_days: bool = False
    """count due_days in working days of the legal calendar"""
    due_time: str = "18:00"
    """time of day until which it is due"""
    cron: str | None = None
    """the engineer's own schedule; from the update cycle where absent"""
    since: str | None = None
    """ISO date of the first window that counts"""


class Reconciling(Model):
    """How often the whole front-end is compared with what serves here (对账), beside ``./guiji reconcile`` by hand."""

    every: Literal["day", "week", "month", "quarter", "never"] | None = None
    """day, week, month, quarter or never; of an incremental resource month for a database and never for an interface,
    where absent. What comes as a whole every time (a snapshot, files) is never compared on schedule"""
    repair: bool = False
    """bring what differs at once, as a batch of its own; else it is told only"""


class Contact(Model):
    name: str
    """name of the person"""
    email: str
    """where notices go"""
    phone: str | None = None
    """telephone number"""
    role: str = "数据专员"
    """what the person does"""


class ResourceModel(Model):
    """One resource = one file ``<department>/<resource>.yml``."""

    id: ResourceId
    """<department>.<file name>"""
    code: str
    """信息资源代码: classification code / sequence"""
    name: str
    """信息资源名称"""
    summary: str
    """信息资源摘要: grain, scope and known limitation"""
    category: Category
    """资源分类"""
    format: str
    """信息资源格式, for instance 数据库/CSV"""
    system: str
    """the information system it comes from (数据—系统)"""
    sharing: Sharing
    """共享属性"""
    opening: Opening = Opening()
    """开放属性"""
    update_cycle: UpdateCycle
    """更新周期"""
    published: str
    """发布日期 (ISO)"""
    related: list[str] = []
    """关联资源代码"""
    registered: dict[str, str] = {}
    """cells of the department's catalog sheet that say this in other words: column of the sheet -> text as written"""
    origin: Literal["department", "backflow", "purchased"] = "department"
    """department; backflow = 上级回流; purchased = 社会数据统采共用"""
    demanded: bool = True
    """on the demand list (数据需求清单)"""
    source: Source
    """where the data come from; kind is database, sftp, ftp, files or http"""
    load: Literal["snapshot", "incremental"] = "snapshot"
    """snapshot: each delivery is the whole; incremental: it is what changed"""
    delete_mode: Literal["soft", "keep"] = "soft"
    """what happens to keys that a snapshot no longer has"""
    tombstone: str | None = None
    """condition on the fields that marks a row as a delete marker"""
    contract: Literal["freeze", "evolve", "discard"] = "freeze"
    """undeclared columns: freeze refuses the delivery, evolve accepts and reports, discard drops them"""
    fields: list[FieldSpec] = Field(min_length=1)
    """信息项, all of them: the delivery's columns are compared with them in both directions"""
    key: list[str] = Field(min_length=1)
    """fields that identify a row"""
    order: list[str] = []
    """fields that decide between two versions of a key: larger is newer"""
    rules: list[Rule] = []
    """what a row must satisfy beyond its fields' types"""
    tolerance: Tolerance = Tolerance()
    """the bands of a batch"""
    mappings: list[LibraryMapping] = []
    """which libraries it feeds"""
    delivery: Delivery = Delivery()
    """when it is due and fetched"""
    reconcile: Reconciling = Reconciling()
    """how often it is compared with its front-end as a whole"""
    contacts: list[Contact] = []
    """of this resource, before the department's"""
    time_zone: str = "Asia/Shanghai"
    """of the timestamps in the delivery"""

    @property
    def department_id(self) -> str:
        return self.id.split(".")[0]

    @property
    def table(self) -> str:
        """Name of the table in schema ``source``."""
        return self.id.replace(".", "__")

    def field(self, name: str) -> FieldSpec:
        return next(f for f in self.fields if f.name == name)


class DepartmentModel(Model):
    """``<department>/department.yml``; ``defaults`` are the only inherited values."""

    id: PhysicalName
    """the folder's name"""
    name: str
    """full name in Chinese"""
    short_name: str
    """name in tables and subjects"""
    credit_code: str
    """统一社会信用代码 of the department (提供方代码)"""
    leader: str
    """责任领导"""
    section: str
    """责任股室"""
    contacts: list[Contact] = []
    """who is told what to mend, the first as addressee"""
    pool_slots: int = Field(default=2, ge=1)
    """how many tasks may read from its front-end processor at once"""
    statement_timeout_seconds: int = Field(default=600, ge=1)
    """longest a statement may run on its front-end processor"""
    reconcile_hours: Annotated[str, StringConstraints(pattern=HOURS)] = "21:00-01:00"
    """hours in which its front-end processor may be read as a whole (``reconcile``); after them nothing more is begun"""
    defaults: dict[str, object] = {}
    """top-level keys of a resource file that its resources inherit when they say nothing"""


class Resource(Model):
    """A loaded resource: its file, its department and where it stands."""

    model: ResourceModel
    department: DepartmentModel
    path: str
    fingerprint: str
    """sha256 of everything that decides how a row is judged; a change makes every row be checked again"""
    city_bounds: tuple[float, float, float, float] | None = None
    """west, south, east, north of the city, for geometries that declare no ``bounds``"""
    city_boundary: tuple[str, float] | None = None
    """file of the city's boundary and the margin around it in metres, for geometries that declare no ``bounds``"""
    kept_units: dict[str, tuple[tuple[str, ...], str]] = {}
    """field that has a unit -> the units in which the library it feeds keeps it, and the library's type"""

    @property
    def id(self) -> str:
        return self.model.id

    @property
    def contacts(self) -> list[Contact]:
        return list(self.model.contacts or self.department.contacts)
