"""What a catalog file may say: pydantic models of one resource, one department and one library.

The only pydantic in the product, in files named ``model_*`` and this one, which stands for all of them: metadata, fields,
quality, delivery, source, libraries. A field's docstring stands under it and becomes the description in the JSON Schema
(``schema_files`` reads it from the files: doing so at import would cost every task start 60 ms).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from guiji.catalog.model_base import HOURS, TYPE_PATTERN, Indicator, Model, PhysicalName, ResourceId, Share
from guiji.catalog.model_delivery import Delivery, Reconciling
from guiji.catalog.model_field import CodeMap, FieldSpec
from guiji.catalog.model_geometry import ByShape, Overlap
from guiji.catalog.model_library import LibraryField, LibraryMapping, LibraryModel, Link, Matching
from guiji.catalog.model_metadata import Category, Contact, Opening, Sharing, SharingType, UpdateCycle
from guiji.catalog.model_quality import Rule, Tolerance
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
    TokenRequest,
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
    "Reconciling",
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
    "TokenRequest",
    "Tolerance",
    "Unpivot",
    "UpdateCycle",
]


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
