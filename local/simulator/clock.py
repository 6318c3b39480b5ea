"""The simulator's clock: real time, advanced on request."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class Clock:
    """A monotonic clock that counts seconds since its start, plus the seconds advanced."""

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        started_at: datetime | None = None,
    ) -> None:
        self._monotonic = monotonic
        self._started_at = started_at or datetime.now(UTC)
        self._started = monotonic()
        self._advanced = 0.0

    def elapsed(self) -> float:
        """Return the simulated seconds since the start."""
        return self._monotonic() - self._started + self._advanced

    def now(self) -> datetime:
        """Return the simulated time, in UTC."""
        return self.at(self.elapsed())

    def at(self, elapsed: float) -> datetime:
        """Return the time at `elapsed` simulated seconds after the start."""
        return self._started_at + timedelta(seconds=elapsed)

    def advance(self, seconds: float) -> None:
        """Advance the clock by `seconds`. Raises ValueError if they are negative."""
        if seconds < 0:
            raise ValueError("advance_seconds must not be negative")
        self._advanced += seconds
