"""Wall-clock time by named part of a phase."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator


class Stopwatch:
    """Accumulates seconds by name.

    Examples:
        >>> stopwatch = Stopwatch()
        >>> with stopwatch("act"):
        ...     pass
        >>> list(stopwatch.seconds())
        ['time/act']
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Adds the duration of the block to `name`."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] += time.monotonic() - started

    def seconds(self) -> dict[str, float]:
        """{"time/NAME": seconds}, as metrics."""
        return {f"time/{name}": seconds for name, seconds in self._seconds.items()}
