"""What a resource says of itself: the metadata of 政务信息资源目录编制指南（试行）, 发改高技术〔2017〕1272号."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

from guiji.catalog.model_base import Model


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


class Contact(Model):
    name: str
    """name of the person"""
    email: str
    """where notices go"""
    phone: str | None = None
    """telephone number"""
    role: str = "数据专员"
    """what the person does"""
