"""The simulator's clock: real time, moved ahead on request."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class Clock:
    """Counts seconds since its start on a monotonic clock, plus what it was advanced by."""

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
        """Seconds of simulated time since the clock was started."""
        return self._monotonic() - self._started + self._advanced

    def now(self) -> datetime:
        """The simulated instant, in UTC."""
        return self.at(self.elapsed())

    def at(self, elapsed: float) -> datetime:
        """Turn simulated seconds since the start into an instant."""
        return self._started_at + timedelta(seconds=elapsed)

    def advance(self, seconds: float) -> None:
        """Move ahead by `seconds`; time never goes back."""
        if seconds < 0:
            raise ValueError("advance_seconds must not be negative")
        self._advanced += seconds
