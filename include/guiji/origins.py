"""Where a resource's data come from in the end: a department, an upper level, or a purchase.

A department is assessed by what it supplies itself. What flows back from upper levels (上级回流) and what the city buys
(社会数据统采共用) serves the libraries as well, but is counted apart.
"""

from __future__ import annotations

OWN = "department"
ORIGINS = {OWN: "部门归集", "backflow": "上级回流", "purchased": "社会数据"}


def mark_name(name: str, origin: str) -> str:
    """The name of a resource, with its origin where that is not a department."""
    return name if origin == OWN else f"{name}（{ORIGINS[origin]}）"
