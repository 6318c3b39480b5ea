"""Every wait, lease and deadline, in seconds or as a timedelta. Nothing here reads a clock."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from vonage_reports.domain.errors import RateLimited

SHORTEST_POLL = 20
"""How many seconds two polls are apart at least. Five reports stay below 5 requests a second."""

POLLS_PER_AGE = 8
"""Polls are an eighth of the run's age apart, so a report is seen ready at most an eighth late."""

LONGEST_POLL = 4 * 60
"""How many seconds two polls are apart at most before `LATE`."""

LONGEST_LATE_POLL = 15 * 60
"""How many seconds two polls are apart at most after `LATE`. A run of 48 hours then has 2,336
events in its history, of 25,000 that Step Functions allows."""

LATE = timedelta(hours=4)
"""After this time, a report takes longer than Vonage ever documented."""

LONGEST_FIRST_WAIT = 30 * 60  # seconds

EXPECTED_GENERATION = timedelta(minutes=6) / 1_000_000
"""When to poll first, per record, without a pace. Vonage documents 5 to 10 minutes per million
records."""

SLOWEST_RECORD = timedelta(minutes=30) / 1_000_000
"""How long Vonage needs per record at most, by the slowest speed that it ever documented."""

DEADLINE = timedelta(hours=48)
"""How long Vonage may work on a report before we cancel it. A report has at most 7 million records,
which take up to four hours at the slowest documented speed."""

NOT_FOUND_PATIENCE = 4
"""How many runs are resumed after a 404, for more than an hour in all. Then the report counts as
expired. We wait, because Vonage may answer 404 for a moment although the report exists, and a
second report costs more."""

TOLD_AT_RESUME = 3
"""How many runs fail before the operator is notified, 20 minutes after the first failure."""

MAX_RESUMES = 72
"""How many hourly runs may fail to convert a stored archive. That is three days, as long as Vonage
keeps the file. A longer failure is no outage."""

FILE_KEPT = timedelta(hours=72)
"""How long Vonage keeps a generated file (OpenAPI 3.1.4)."""

REPORT_KEPT = timedelta(days=4)
"""How long Vonage keeps a report after it has ended (OpenAPI 3.1.4)."""

EXPIRES_SOON = timedelta(hours=12)
"""How long before a file's expiry the alarm starts, so that the operator has time to act."""

BESIDE_GENERATION = timedelta(hours=1)
"""How long queueing, storing and converting may take, however few rows a report has."""

MAX_ATTEMPTS = 3
"""How many reports we pay for per window and revision. Then the operator has to act."""

SHORTEST_LEASE = timedelta(seconds=5)
"""How long a lease lasts at least, even with a small WAIT_SCALE."""

MAX_EQUAL_FAILURES = 3
"""How many runs may fail with the same error of our own code. Then the report fails, because a
repeated error is a defect, not an outage."""

LIST_RELIABLE_FOR = timedelta(days=3)
"""How long an absence from Vonage's list is a proof. The list drops reports after 4 days."""

DENIED_FOR = timedelta(days=7)
"""How long Vonage may refuse an account or a product. Then its reports fail, one by one."""

_RATE_LIMIT_WAIT = timedelta(seconds=60)
_REFUSED_WAIT = timedelta(minutes=15)
_LEASE_MARGIN = timedelta(seconds=60)
_ANNOUNCE_LEASE = timedelta(seconds=60)
_SECOND_LOOK_UP = timedelta(minutes=2)
_HELD_SLOT = timedelta(hours=24)
_COOL_DOWNS = (1, 5, 15, 60)  # minutes


@dataclass(frozen=True)
class Waits:
    """The waits of submit_reports, multiplied by the setting WAIT_SCALE (0 to 1)."""

    scale: float = 1

    @property
    def rate_limit(self) -> timedelta:
        """How long to pause after a 429 without Retry-After, or after a failed connection."""
        return self.scale * _RATE_LIMIT_WAIT

    @property
    def refused(self) -> timedelta:
        """How long a refused report waits, so that the operator can remove the cause."""
        return self.scale * _REFUSED_WAIT

    @property
    def second_look_up(self) -> timedelta:
        """How long to wait for the second look-up, because Vonage's list may lag."""
        return self.scale * _SECOND_LOOK_UP

    def held_slot_until(self, now: datetime, submitted_at: datetime | None) -> datetime:
        """Return the time until which a report that is held now keeps its slot.

        Vonage no longer works on a report 24 hours after the hold and 48 hours after the POST.
        """
        held = now + self.scale * _HELD_SLOT
        return held if submitted_at is None else max(held, submitted_at + self.scale * DEADLINE)

    @property
    def announce_lease(self) -> timedelta:
        """How long a failure is left to the invocation that announces it."""
        return max(self.scale * _ANNOUNCE_LEASE, SHORTEST_LEASE)

    def submit_lease(self, seconds_left: float) -> timedelta:
        """Return how long an invocation with `seconds_left` to run may hold a lease."""
        return max(self.scale * (timedelta(seconds=seconds_left) + _LEASE_MARGIN), SHORTEST_LEASE)

    def cool_down(self, times: int) -> timedelta:
        """Return how long to leave a report alone after its run failed `times` times."""
        minutes = _COOL_DOWNS[min(times, len(_COOL_DOWNS)) - 1]
        return self.scale * timedelta(minutes=minutes)


UNSCALED = Waits()


def first_wait(expected_rows: int | None, pace: int | None = None) -> int:
    """Return the seconds from the start of a run to its first poll.

    `pace` is the definition's own: how many seconds Vonage takes for a million rows.
    """
    of_a_row = EXPECTED_GENERATION.total_seconds() if pace is None else pace / 1_000_000
    expected = (expected_rows or 0) * of_a_row
    return round(min(max(expected, SHORTEST_POLL), LONGEST_FIRST_WAIT))


def next_poll(age: timedelta) -> int:
    """Return the seconds before the next poll. `age` is the time since the start of the run."""
    longest = LONGEST_POLL if age < LATE else LONGEST_LATE_POLL
    return round(min(max(age.total_seconds() / POLLS_PER_AGE, SHORTEST_POLL), longest))


def after_429(error: RateLimited) -> int:
    """Return the seconds in Vonage's Retry-After, or a default, but at least SHORTEST_POLL."""
    asked = error.retry_after
    return max(round(_RATE_LIMIT_WAIT.total_seconds()) if asked is None else asked, SHORTEST_POLL)
