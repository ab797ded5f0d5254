"""Where the time goes: seconds per part of a phase."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator


class Stopwatch:
    """Adds up seconds by the name of a part.

    Example:
        >>> parts = Stopwatch()
        >>> with parts("act"):
        ...     pass
        >>> list(parts.seconds())
        ['time/act']
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Counts what runs inside towards the part `name`."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] += time.monotonic() - started

    def seconds(self) -> dict[str, float]:
        """{"time/NAME": seconds}, as the metrics name them."""
        return {f"time/{name}": seconds for name, seconds in self._seconds.items()}
