"""Count the requests to the API, limit their rate and record violations by clients."""

import time
from collections import Counter, deque
from collections.abc import Callable
from email.message import Message
from urllib.parse import parse_qs, urlsplit

OPERATIONS = ("create", "get", "list", "cancel", "download", "subaccounts")
# HTTP libraries send these User-Agents if the client sets no other.
_DEFAULT_AGENTS = ("python-requests/", "python-urllib", "python-httpx/", "aiohttp/")
_CREDENTIAL_PARAMETERS = {"api_key", "api_secret", "apikey", "apisecret"}
_ONE_SECOND = 1.0


class Traffic:
    """Counters and rate limit. Not thread-safe: the server's lock guards them.

    `monotonic` returns real seconds, because simulated time may jump.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self.by_operation = Counter(dict.fromkeys(OPERATIONS, 0))
        self.by_status: Counter[str] = Counter()
        self.total = 0
        self.max_requests_per_second = 0
        self.violations = Counter(
            {"credentials_in_url": 0, "missing_user_agent": 0, "basic_auth_missing": 0}
        )
        self._arrived: deque[float] = deque()
        self._admitted: deque[float] = deque()

    def arrived(self, operation: str | None, target: str, headers: Message) -> None:
        """Count a request; `operation` is None for an unknown path."""
        self.total += 1
        if operation:
            self.by_operation[operation] += 1
        now = self._monotonic()
        self._arrived.append(now)
        _forget(self._arrived, now)
        self.max_requests_per_second = max(self.max_requests_per_second, len(self._arrived))
        url = urlsplit(target)
        if "@" in url.netloc or _CREDENTIAL_PARAMETERS & parse_qs(url.query).keys():
            self.violations["credentials_in_url"] += 1
        agent = str(headers["User-Agent"] or "").lower()
        if not agent or agent.startswith(_DEFAULT_AGENTS):
            self.violations["missing_user_agent"] += 1
        if not str(headers["Authorization"]).startswith("Basic "):
            self.violations["basic_auth_missing"] += 1

    def admit(self, limit: int) -> bool:
        """Return whether the limit allows one more request now. 0 means no limit.

        Refused requests do not count against the limit.
        """
        now = self._monotonic()
        _forget(self._admitted, now)
        if limit and len(self._admitted) >= limit:
            return False
        self._admitted.append(now)
        return True


def _forget(times: deque[float], now: float) -> None:
    while times and times[0] <= now - _ONE_SECOND:
        times.popleft()
