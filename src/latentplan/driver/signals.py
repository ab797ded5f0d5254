"""Graceful stop on SIGINT and SIGTERM."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stop_on_signals(stop: threading.Event, say: Callable[[str], None]) -> Iterator[None]:
    """Makes the first SIGINT or SIGTERM request a stop at the next safe point, and a second one exit at once.

    Args:
        stop: set by the first signal.
        say: called with a message on the first signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            os._exit(130)  # unwinding could hang in or break a compilation; workers exit by themselves
        stop.set()
        say("stopping: finishing this update or decision, then saving everything; press again to stop at once")

    for number in signals:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
