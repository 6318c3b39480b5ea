"""Paces requests, so that they never reach Vonage's limit of 5 requests per second."""

import fcntl
import time
from collections.abc import Callable
from pathlib import Path

from vonage_reports.domain.settings import Settings


class Pacer:
    """Admits at most one request per `interval` seconds.

    All processes that use the same `file` share one pace: the file holds the time of the last
    request, under a lock. These processes need a common clock, such as the machine's monotonic one.
    """

    def __init__(
        self,
        interval: float,
        *,
        file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval = interval
        self._file = file
        self._clock = clock
        self._sleep = sleep
        self._last = -interval

    @classmethod
    def from_settings(cls, settings: Settings) -> "Pacer":
        """Return the pacer for the settings."""
        file = None if settings.pacing_file is None else Path(settings.pacing_file)
        return cls(settings.request_interval, file=file)

    def wait(self) -> None:
        """Block until the next request may be sent."""
        if self._file is None:
            self._last = self._pass(self._last)
            return
        with self._file.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            last = self._pass(float(file.read() or -self._interval))
            file.truncate(0)
            file.write(repr(last))

    def _pass(self, last: float) -> float:
        # The file may be older than the machine's clock, which restarts with the machine.
        last = min(last, self._clock())
        while (wait := last + self._interval - self._clock()) > 0:
            self._sleep(wait)
        return self._clock()
