"""Reconciling on schedule: comparing what is due of a department with its front-end, one after another (F-05, F-72)."""

from __future__ import annotations

from dataclasses import dataclass

from guiji.catalog import Catalog
from guiji.errors import CatalogError, GuijiError, LeaseLost, SourceUnavailable
from guiji.pipeline import Say
from guiji.reconciliation import reconcile_resource
from guiji.reconciliation_due import find_due, is_within_hours, list_scheduled
from guiji.settings import Settings

__all__ = ["LibraryLacksKeys", "Round", "reconcile_due"]


class LibraryLacksKeys(GuijiError):
    """A library lacks keys that its source layer has, and nothing waits to be resolved: no fault of a department's."""

    cause = "library_lacks_keys"


@dataclass(frozen=True)
class Round:
    """What one round over a department's due resources did; ids only."""

    agree: tuple[str, ...] = ()
    differ: tuple[str, ...] = ()
    later: tuple[str, ...] = ()  # the hours ended, their front-end is down, or they were published meanwhile

    def __str__(self) -> str:
        parts = ((self.agree, "agree"), (self.differ, "differ"), (self.later, "are left for later"))
        told = [f"{len(ids)} {word}" + (f" ({', '.join(ids)})" if ids else "") for ids, word in parts]
        return "reconciled: " + "; ".join(told)


def reconcile_due(
    department_id: str, settings: Settings, catalog: Catalog, say: Say, *, any_hour: bool = False
) -> Round:
    """Compares what is due of a department, one after another, and begins nothing after its hours.

    A front-end that doesn't answer is not asked for its other tables. Each comparison is recorded, and where it finds a
    difference the department is told (``reconcile_resource``). Raises in the end what the first one raised that failed,
    else LibraryLacksKeys where a library lacks keys.
    """
    from guiji.warehouse import connect

    department = catalog.departments.get(department_id)
    if department is None:
        raise CatalogError(
            f"The file of the department {department_id!r} can't be used, or there is none. Nothing was compared; "
            "`./guiji catalog check` says what is wrong."
        )
    scheduled = list_scheduled(catalog.resources.values(), department_id)
    with connect(settings, autocommit=True) as conn:
        due = find_due(conn, scheduled, settings.now())
    agree: list[str] = []
    differ: list[str] = []
    later: list[str] = []
    failed: list[Exception] = []
    lacking: list[str] = []
    down: set[str] = set()
    for resource in due:
        connection = str(getattr(resource.model.source, "connection", ""))
        if connection in down or not (any_hour or is_within_hours(department, settings.now())):
            later.append(resource.id)
            continue
        try:
            found = reconcile_resource(
                resource.id, settings, repair=resource.model.reconcile.repair, say=say, catalog=catalog
            )
        except LeaseLost as exc:
            say(str(exc))
            later.append(resource.id)
            continue
        except Exception as exc:  # one resource must not keep the others from being compared, night after night
            say(f"{resource.id} was not compared: {exc if isinstance(exc, GuijiError) else type(exc).__name__}")
            failed.append(exc)
            later.append(resource.id)
            if isinstance(exc, SourceUnavailable):
                down.add(connection)
            continue
        (agree if found.agrees else differ).append(resource.id)
        if not resource.model.reconcile.repair:
            lacking += [f"{c.library} ({resource.id}: {c.missing} keys)" for c in found.libraries if c.differs]
    done = Round(tuple(agree), tuple(differ), tuple(later))
    say(str(done))
    if failed:
        raise failed[0]
    if lacking:
        raise LibraryLacksKeys(
            f"Libraries lack keys that the source layer has: {'; '.join(lacking)}. Everything serves as before; "
            "`./guiji reconcile ID --repair` resolves them anew."
        )
    return done
