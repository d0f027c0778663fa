"""What the file servers share: their faults, and an event loop in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class TransferFaults:
    """How a file server misbehaves. ``clear()`` makes it well again."""

    #: stand still for ``stall_seconds`` once this many bytes of a file were sent
    stall_after_bytes: int | None = None
    stall_seconds: float = 3600.0
    #: cut the connection once this many bytes of a file were sent
    close_after_bytes: int | None = None
    #: how many transfers the two faults above spoil; None means all
    times: int | None = None
    #: listings and stat say the file is this much larger than it is
    size_lie: int = 0
    #: nobody may log in
    refuse_logins: bool = False

    def clear(self) -> None:
        self.__dict__.update(TransferFaults().__dict__)

    def spend(self) -> bool:
        """True when the next spoilt transfer is to be spoilt; counts it."""
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


class LoopThread:
    """An event loop that runs in a thread of its own until ``close``."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout: float = 30) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout)

    def close(self) -> None:
        async def cancel_all() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.run(cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


@contextlib.contextmanager
def running_loop(name: str) -> Iterator[LoopThread]:
    thread = LoopThread(name)
    try:
        yield thread
    finally:
        thread.close()
