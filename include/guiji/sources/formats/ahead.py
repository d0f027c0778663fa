"""Reading ahead in a thread: decoding a block (which holds the interpreter) overlaps with parsing the one before."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")


def read_ahead(items: Generator[T], depth: int = 2) -> Generator[T]:
    """The same items in the same order, at most ``depth`` of them made before they are asked for.

    Raises what ``items`` raises, at the same place. When the reader stops, the thread does, and ``items`` is closed.
    """
    waiting: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: tuple[T] | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def run() -> None:
        try:
            for item in items:
                if not put((item,)):
                    break
            else:
                put(None)
        except BaseException as exc:  # carried over to the reader
            put(exc)
        finally:
            items.close()

    thread = threading.Thread(target=run, name="guiji-read-ahead", daemon=True)
    thread.start()
    try:
        while (got := waiting.get()) is not None:
            if isinstance(got, BaseException):
                raise got
            yield got[0]
    finally:
        stopped.set()
        thread.join()
