"""Python's garbage collector, held back while a large catalog is read."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def pause_collector() -> Iterator[None]:
    """No collection until the end of the block, or of the decorated function; nested use is fine.

    Of 3,000 resource files half a million nodes are alive at once, and none of them is in a cycle: looking through
    them for garbage took three quarters of the time that reading them takes.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
