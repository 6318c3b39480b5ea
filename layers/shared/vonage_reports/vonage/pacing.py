"""Keeps requests apart, so that Vonage's limit of 5 requests in a second is never reached."""

import fcntl
import time
from collections.abc import Callable
from pathlib import Path

from vonage_reports.domain.settings import Settings


class Pacer:
    """Lets a caller through at most once in `interval` seconds.

    With a `file`, all processes that name the same one share that pace: the time of the last
    passage stands in it, under a lock. The clock must be one that they share, as the machine's
    monotonic clock is.
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
        """Make the pacer that the settings ask for."""
        file = None if settings.pacing_file is None else Path(settings.pacing_file)
        return cls(settings.request_interval, file=file)

    def wait(self) -> None:
        """Return when the next request may go out."""
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
        # A file may be older than the machine's clock, which begins anew with the machine.
        last = min(last, self._clock())
        while (wait := last + self._interval - self._clock()) > 0:
            self._sleep(wait)
        return self._clock()
