"""How long to wait for what. All in seconds, or as a timedelta; nothing here reads a clock."""

from datetime import timedelta

from vonage_reports.domain.errors import RateLimited

SHORTEST_POLL = 20
"""Polls of one report are at least this far apart: five reports stay below 5 requests a second."""

LONGEST_POLL = 15 * 60

DEADLINE = timedelta(hours=48)
"""A report that Vonage still works on after this is cancelled. Generation takes 5 to 30 minutes
per million records, and a report has 7 million at most: four hours."""

NOT_FOUND_PATIENCE = 4
"""Runs that are resumed on a 404, over an hour in all, before it counts as the end: Vonage says
"does not exist, or you do not have access" for a moment too, and buying again costs more."""

TOLD_AT_RESUME = 3
"""The failed run of one attempt after which somebody is told, 20 minutes after the first."""

MAX_RESUMES = 72
"""Runs, an hour apart, that may fail to convert an archive that is stored: three days, as long as
what is not stored can be fetched. An outage is over by then; what is left is no outage."""

RATE_LIMIT_WAIT = timedelta(seconds=60)
"""After a 429 that named no `Retry-After`."""

REFUSED_WAIT = timedelta(minutes=15)
"""After a 401, a 403 and whatever else is not about the report: somebody has to act first."""

FILE_KEPT = timedelta(hours=72)
"""For which Vonage keeps a generated file (OpenAPI 3.1.4)."""

EXPIRES_SOON = timedelta(hours=12)
"""Before that: time enough for a person to set right what keeps the file from being fetched."""

SLOWEST_RECORD = timedelta(minutes=30) / 1_000_000
"""What Vonage ever said that generating takes; today's documents say a sixth of it."""

BESIDE_GENERATION = timedelta(hours=1)
"""For which a report may wait, be stored and be converted, however few rows it has."""

MAX_ATTEMPTS = 3
"""Reports that we pay for per window and revision, before a person has to look."""

LOOK_MARGIN = timedelta(seconds=60)
"""Beyond the end of an invocation and of its last request, before another looks for its report."""

ANNOUNCE_LEASE = timedelta(seconds=60)
"""For which a failure is left to the invocation that announces it."""

SHORTEST_LEASE = timedelta(seconds=5)
"""However far waits are scaled down, a report is left this long to whoever works on it."""

LOOK_AGAIN = timedelta(minutes=2)
"""Between the two looks that must both find a report absent: Vonage's list may lag."""

LOOK_UNTIL = timedelta(days=3)
"""The list forgets reports after 4 days: an absence proves something only well before."""

HELD_SLOT = timedelta(hours=24)
"""For which a held report keeps its slot: Vonage cannot be working on it any longer."""

_COOL_DOWNS = (1, 5, 15, 60)


def next_poll(waited: float) -> int:
    """Return how long to wait before the next poll, having waited `waited` before this one."""
    return round(min(max(waited * 1.5, SHORTEST_POLL), LONGEST_POLL))


def cool_down(times: int) -> timedelta:
    """Return how long to leave a report alone after its run failed for the `times`-th time."""
    return timedelta(minutes=_COOL_DOWNS[min(times, len(_COOL_DOWNS)) - 1])


def after_429(error: RateLimited) -> int:
    """Return the seconds to wait: what Vonage asked for, never less than between two polls."""
    asked = error.retry_after
    return max(round(RATE_LIMIT_WAIT.total_seconds()) if asked is None else asked, SHORTEST_POLL)
