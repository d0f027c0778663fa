"""What every write to the warehouse shares: turns at a table, one transaction with another try, and PostgreSQL's errors
as ours."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg import errors

from guiji import ledger
from guiji.errors import AccountingError, WarehouseUnavailable
from guiji.settings import Settings, failpoint

if TYPE_CHECKING:
    from psycopg import Connection

    Conn = Connection[dict[str, Any]]

T = TypeVar("T")
_TRIES = 6


def lock_table(conn: Conn, name: str) -> None:
    """Makes the writers of one table take turns until the transaction ends (F-50)."""
    conn.execute("/* guiji lock */ SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))


def tune(conn: Conn) -> None:
    """For this transaction only: memory to build keys, and index probes for few keys in a large table."""
    conn.execute(
        "/* guiji tune */ SELECT set_config('maintenance_work_mem', '256MB', true), set_config('work_mem', '64MB', true),"
        " set_config('random_page_cost', '1.1', true)"
    )


def commit_batch(conn: Conn, settings: Settings, resource_id: str, batch_id: str, work: Callable[[], T]) -> T:
    """What ``work`` returns, committed in one transaction or not at all; again where another writer got in the way."""

    def once() -> T:
        with ledger.transaction(conn):
            done = work()
            failpoint(settings, "publish.before_commit")
        return done

    with translate_errors(resource_id, batch_id):
        done = retry(conn, once)
    failpoint(settings, "publish.after_commit")
    return done


def retry(conn: Conn, once: Callable[[], T]) -> T:
    """``once`` again where another writer got in the way (deadlock, serialization, a key written meanwhile)."""
    for attempt in range(_TRIES):
        try:
            return once()
        except (errors.DeadlockDetected, errors.SerializationFailure, errors.UniqueViolation):
            conn.rollback()
            if attempt == _TRIES - 1:
                raise
            time.sleep(random.uniform(0.02, 0.1) * 2**attempt)  # noqa: S311
    raise AssertionError("unreachable")


@contextlib.contextmanager
def translate_errors(resource_id: str, batch_id: str) -> Iterator[None]:
    """PostgreSQL's errors as ours; none carries a value."""
    holds = "Nothing was published and the former data go on serving"
    try:
        yield
    except errors.CheckViolation as exc:
        if exc.diag.constraint_name != "rows_accounted_for":
            raise
        raise AccountingError(
            f"The rows of batch {batch_id} of {resource_id} don't add up. {holds}; run the resource again.",
            batch_id=batch_id,
        ) from None
    except errors.UniqueViolation as exc:
        raise AccountingError(
            f"Batch {batch_id} of {resource_id} holds a key twice ({exc.diag.constraint_name}). {holds}; this is a defect "
            "of the check step, report it.",
            batch_id=batch_id,
        ) from None
    except (errors.DiskFull, errors.IoError, errors.InternalError_) as exc:
        # a file that may not grow any more is an internal error to PostgreSQL
        if isinstance(exc, errors.InternalError_) and "file" not in (exc.diag.message_primary or ""):
            raise
        raise WarehouseUnavailable(
            f"The disk of the warehouse is full or broken ({exc.sqlstate}). {holds}; free space, then run the resource again."
        ) from None
    except (psycopg.OperationalError, psycopg.InterfaceError) as exc:
        if isinstance(exc, errors.QueryCanceled):
            raise
        raise WarehouseUnavailable(
            f"The connection to the warehouse broke while batch {batch_id} was published ({exc.sqlstate or 'no answer'}). "
            "Either the whole batch is there or nothing of it; run the resource again, the ledger knows."
        ) from None
