"""Settings, read from the environment once, when asked; nothing is read at import."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from guiji.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
TIME_ZONE = ZoneInfo("Asia/Shanghai")


@dataclass(frozen=True)
class Settings:
    """Where state, catalog, warehouse and staging are. Paths are absolute."""

    home: Path
    catalog: Path
    #: PostgreSQL URL of the warehouse; None means the embedded server in ``home``
    warehouse: str | None
    #: local path or URL (``s3://…``) of the load packages
    staging: str
    #: urlsafe base64 key for what is sensitive at rest; None means the key file in ``home``
    key: str | None
    failpoint: str | None
    #: stands for the clock when set; always timezone-aware
    fixed_now: datetime | None
    real_data: Path | None

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Settings of this process. Raises UsageError for a ``GUIJI_NOW`` that is no ISO timestamp."""
        e = os.environ if env is None else env
        home = Path(e.get("GUIJI_HOME") or ROOT / ".guiji").expanduser().absolute()
        now: datetime | None = None
        if text := e.get("GUIJI_NOW"):
            try:
                now = datetime.fromisoformat(text)
            except ValueError as exc:
                raise UsageError(
                    f"GUIJI_NOW is {text!r}, but must be an ISO timestamp such as 2026-10-24T09:00:00+08:00."
                ) from exc
            now = now.replace(tzinfo=TIME_ZONE) if now.tzinfo is None else now.astimezone(TIME_ZONE)
        real = e.get("GUIJI_REAL_DATA")
        return cls(
            home=home,
            catalog=Path(e.get("GUIJI_CATALOG") or ROOT / "include" / "catalog").expanduser().absolute(),
            warehouse=e.get("GUIJI_WAREHOUSE") or None,
            staging=e.get("GUIJI_STAGING") or str(home / "staging"),
            key=e.get("GUIJI_KEY") or None,
            failpoint=e.get("GUIJI_FAILPOINT") or None,
            fixed_now=now,
            real_data=Path(real).absolute() if real else None,
        )

    def now(self) -> datetime:
        """The time in Asia/Shanghai: ``GUIJI_NOW`` where set, else the clock."""
        return self.fixed_now or datetime.now(TIME_ZONE)

    def today(self) -> date:
        """The business date: the calendar day in Asia/Shanghai (F-09; the only place that computes it)."""
        return self.now().date()

    def at(self, moment: datetime) -> Settings:
        """The same settings with the clock standing at ``moment`` (replays)."""
        return replace(self, fixed_now=moment.astimezone(TIME_ZONE))


def failpoint(settings: Settings, name: str) -> None:
    """Kills this process with SIGKILL when ``GUIJI_FAILPOINT`` names this point; makes crashes testable."""
    if settings.failpoint == name:
        os.kill(os.getpid(), signal.SIGKILL)
