"""When a resource is due, fetched, and compared as a whole with its front-end."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from guiji.catalog.model_base import Model


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
