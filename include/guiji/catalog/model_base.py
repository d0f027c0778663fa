"""What the models of the catalog share: strictness, and the kinds of name."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

PhysicalName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
ResourceId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,20}\.[a-z][a-z0-9_]{0,30}$")]
Indicator = Annotated[str, StringConstraints(pattern=r"^0[1-6]0[1-6]$")]
Share = Annotated[float, Field(ge=0, le=1)]

#: two times of a day, the second may be past midnight: 21:00-01:00
HOURS = r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$"
TYPE_PATTERN = re.compile(
    r"^(string|int64|float64|bool|date32|timestamp|geometry|decimal128\((\d{1,2}),\s*(\d{1,2})\))$"
)


class Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        str_strip_whitespace=True,
        defer_build=True,  # a task start needs two of these models, not twenty
    )
