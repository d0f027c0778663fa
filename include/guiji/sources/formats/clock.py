"""The time that reading one file may take (size, cell and time limits of a spreadsheet).

The clock is looked at between pieces of work. A piece that has no place to look in it (a parser written in another
language, which lets other threads run) is done in a thread that is left behind when its time is over: it ends by itself,
for what it parses was measured before, and keeps neither the run nor the process waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

from guiji.errors import DeliveryRefused

T = TypeVar("T")
#: of one spreadsheet, where the catalog says nothing; the largest within the other limits takes about a tenth of it
MAX_SECONDS = 600.0


class Clock:
    """Runs from its making on. ``what`` is the file, as messages name it."""

    def __init__(self, what: str, seconds: float = MAX_SECONDS) -> None:
        self.what = what
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raises DeliveryRefused once the time is over."""
        if time.monotonic() > self._end:
            raise DeliveryRefused(
                f"{self.what}：读取超过 {self.seconds:g} 秒，已停止。现有数据继续有效；"
                "请删去表格之外的内容、拆分文件或改用 CSV 后重新提供。",
                rule_id="delivery.too_slow",
            )

    def watch(self, items: Iterable[T]) -> Generator[T]:
        """The same items, the clock looked at before each; ``items`` are closed with this."""
        try:
            for item in items:
                self.check()
                yield item
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    @contextmanager
    def stopped(self) -> Generator[None]:
        """The clock stands still meanwhile: what others do with the rows is not the file's fault."""
        since = time.monotonic()
        try:
            yield
        finally:
            self._end += time.monotonic() - since

    def start(self, work: Callable[[], T]) -> Future[T]:
        """``work``, begun in a thread of its own; its result is asked for with ``wait``."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(work())
            except BaseException as exc:  # carried over to who waits; a panic of a parser is no Exception
                future.set_exception(exc)

        threading.Thread(target=run, name="guiji-workbook", daemon=True).start()
        return future

    def wait(self, future: Future[T]) -> T:
        """What ``future`` gives or raises. Raises DeliveryRefused where it is not done in time."""
        try:
            return future.result(max(0.001, self._end - time.monotonic()))
        except TimeoutError:
            if not future.done():
                self.check()
            raise
