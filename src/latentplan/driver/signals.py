"""Ctrl-C without losing anything."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_on_signals(stop: threading.Event, say: Callable[[str], None]) -> Iterator[None]:
    """SIGINT and SIGTERM ask a run to stop at the next safe point; a second one ends the process at once.

    Args:
        stop: set by the first signal.
        say: called what happens.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def handle(number: int, frame: Any) -> None:
        if stop.is_set():
            os._exit(130)  # unwinding could be stuck in, or break, a compilation; worker processes end by themselves
        stop.set()
        say("stopping: this update or decision is finished, then everything is saved; press again to stop at once")

    for number in signals:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
