"""What ``libraries/<name>.yml`` may say: one base or topic library and how its values are chosen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from guiji.catalog.model_base import Model, PhysicalName, ResourceId, Share


class LibraryField(Model):
    name: PhysicalName
    """physical name: short ASCII"""
    title: str
    """name in Chinese, the COMMENT of the column"""
    type: str = "string"
    """as a field's type"""
    sensitivity: Literal[1, 2, 3, 4] = 1
    """分级, as a field's; not lower than that of what feeds it"""
    strategy: Literal["authority", "newest_non_null", "most_frequent", "longest", "union"] = "authority"
    """authority: the first department of ``authority`` that has a value; newest_non_null: the newest value;
    most_frequent: what most departments say; longest: the longest text; union: all different texts, joined. A value
    in doubt (a failed check that warns, a doubtful identifier) wins only where no other department has one"""
    authority: list[str] = []
    """departments in order; a department that is not named can't supply this field under ``authority``; under the
    other strategies it says who wins a tie and whose text stands first"""
    separator: str = "；"
    """between the texts of ``union``"""
    tolerance: Annotated[float, Field(ge=0)] | None = None
    """numbers that differ by no more than this, in the field's own unit, don't disagree"""
    tolerance_share: Share | None = None
    """numbers that differ by no more than this share of the winning one don't disagree"""
    units: list[str] = []
    """计量单位 in which this number is kept, one of each dimension (万元, 人, '%'), of quality/codes/unit.csv. What is
    delivered in another unit of the dimension is converted exactly; a row with any other unit is set aside"""
    codes: str | None = None
    """code table by which every field that feeds this one is judged, so that the same thing is always written alike"""
    unit_of: str | None = None
    """this text is the unit of that field's value: it always comes from whoever supplied the value, is never mapped"""
    crs: str | None = None
    """coordinate reference system of a geometry"""


class Link(Model):
    """A secondary key of the library: rows that have it only are found through a resource that has both."""

    name: PhysicalName
    """name that a mapping's ``by`` refers to, for instance registration_no"""
    title: str
    """name in Chinese"""
    through: ResourceId
    """the resource that has both; a secondary key that stands there for two keys links nothing"""
    fields: list[str] = Field(min_length=1)
    """fields of that resource that are the secondary key"""
    key: list[str] = Field(min_length=1)
    """fields of that resource that are the library's key, in its order"""


class Matching(Model):
    """How rows without any key are compared with the library; what is alike is proposed to a person, never merged."""

    block: list[str] = Field(min_length=1)
    """library fields that must be equal: they bound what is compared with what"""
    compare: dict[str, Annotated[float, Field(gt=0)]] = Field(min_length=1)
    """library field -> weight; texts are compared by their edit distance"""
    threshold: Annotated[float, Field(gt=0, le=100)] = 85
    """smallest weighted likeness, of 100, that is proposed"""


class LibraryModel(Model):
    """``libraries/<name>.yml``: one base or topic library. A further library is a further file, no code."""

    name: PhysicalName
    """name on the command line (population)"""
    table: PhysicalName
    """table in schema ``library`` (person)"""
    title: str
    """name in Chinese"""
    kind: Literal["base", "topic"] = "base"
    """base (基础库) or topic (主题库)"""
    key: list[LibraryField]
    """key columns; strategy does not apply"""
    fields: list[LibraryField]
    """all columns beside the key"""
    links: list[Link] = []
    """secondary keys (注册号 to 统一社会信用代码)"""
    matching: Matching | None = None
    """proposals for rows without any key; none where absent"""
    vintages: bool = False
    """keep every published value instead of overwriting (economy)"""
    demand: list[str] = []
    """数据需求清单: resource ids that should feed it"""
    demand_names: dict[str, str] = {}
    """Chinese names of what the list asks for and the catalog does not hold: by resource id, and by department id"""
    summary: str = ""
    """grain, scope and which department is believed for what"""


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
