"""The requests of an account, as Vonage and the ledger know them, side by side.

Vonage's side are the rows of REPORTS-USAGE, one for each request. Our side are the ledger's
requests, with the records that their receipts count.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import duckdb

from vonage_reports.domain.products import OWN_REPORTS
from vonage_reports.domain.report import Report, definition_of
from vonage_reports.domain.windows import Window
from vonage_reports_cli.money import total
from vonage_reports_cli.period import Period

_WITH_ARCHIVE = "SUCCESS"
"""The status of the requests whose archives are stored. A TRUNCATED one is collected in parts."""

_ALIKE_WITHIN = timedelta(seconds=120)
"""How far Vonage's time of a request may be from ours."""


@dataclass(frozen=True)
class Listed:
    """A row of REPORTS-USAGE: one request, of any tool. `requester` is the key that sent it.

    `price` is that of the whole report, as Vonage states it.
    """

    request_id: str
    product: str
    account_id: str
    requester: str
    status: str
    is_charged: bool
    records: int
    price: Decimal | None
    currency: str
    received: datetime


@dataclass(frozen=True)
class Own:
    """A request of ours. `records` are those of its receipt, or None without one."""

    request_id: str
    report_id: str
    product: str
    account_id: str
    sent: datetime | None
    records: int | None = None


def read_listed(connection: duckdb.DuckDBPyConnection) -> list[Listed]:
    """Read the rows of REPORTS-USAGE, oldest first. Several files may list a request."""
    found = connection.execute(
        "SELECT coalesce(id, ''), coalesce(requested_product, ''), coalesce(account_id, ''), "
        "coalesce(acc, ''), coalesce(status, ''), coalesce(is_charged, true), "
        "coalesce(items_written, 0), total_price, coalesce(_currency, currency, ''), "
        "received FROM (SELECT *, "
        'coalesce(date_received, _window_start, CAST("date" AS timestamp)) AS received, '
        "row_number() OVER (PARTITION BY id ORDER BY _collected_at DESC NULLS LAST, definition, "
        'account, "date") AS copy FROM reports_usage) AS copies '
        "WHERE copy = 1 OR id IS NULL ORDER BY received, id"
    ).fetchall()
    return [Listed(*(*row[:-1], row[-1].replace(tzinfo=UTC))) for row in found]


def within(listed: Iterable[Listed], period: Period) -> list[Listed]:
    """Return the requests that Vonage received in the period."""
    return [each for each in listed if period.start <= each.received < period.end]


def is_near(instant: datetime, period: Period) -> bool:
    """Whether Vonage or we may have dated a request in the period that the other dated so."""
    return period.start - _ALIKE_WITHIN <= instant < period.end + _ALIKE_WITHIN


class Lists:
    """The time of the delivered lists of REPORTS-USAGE, by account, from the ledger's reports."""

    def __init__(self, reports: Iterable[Report]) -> None:
        self._collected: dict[str, set[Window]] = defaultdict(set)
        self._delivered: dict[str, set[Window]] = defaultdict(set)
        self._of_all: str | None = None
        """The account whose lists have the requests of its sub-accounts too."""
        for report in reports:
            if report.product != OWN_REPORTS or report.is_half:
                continue
            account = report.account_id.lower()
            if report.include_subaccounts:
                self._of_all = account
            self._collected[account].add(report.window)
            # The delivery of a window stays while it is collected again.
            if report.rows is not None or report.delivered_from:
                self._delivered[account].add(report.window)

    def collect(self, account_id: str, period: Period) -> bool:
        """Whether a list of the account has time of the period, delivered or not."""
        return any(
            each.start < period.end and each.end > period.start
            for account in self._accounts(account_id)
            for each in self._collected.get(account, ())
        )

    def have(self, account_id: str, start: datetime, end: datetime) -> bool:
        """Whether all time between two instants is delivered."""
        windows = (self._delivered.get(each, ()) for each in self._accounts(account_id))
        for window in sorted((each for some in windows for each in some), key=_start):
            if window.start <= start < window.end:
                start = window.end
        return start >= end

    def _accounts(self, account_id: str) -> set[str]:
        return {account_id.lower(), *filter(None, [self._of_all])}


def _start(window: Window) -> datetime:
    return window.start


def by_likeness(listed: Iterable[Listed], own: Iterable[Own]) -> dict[str, Own]:
    """Match requests by product, account, time and records, each once.

    Return our requests by the ids of Vonage's rows. It is unknown whether these ids are always
    those of the Reports API.
    """
    left = sorted((each for each in own if each.sent is not None), key=_sent)
    found = {}
    for row in listed:
        alike = (each for each in left if _is_alike(row, each))
        nearest = min(alike, key=lambda each: abs(row.received - _sent(each)), default=None)
        if nearest is not None:
            left.remove(nearest)
            found[row.request_id] = nearest
    return found


def _sent(own: Own) -> datetime:
    assert own.sent is not None
    return own.sent


def _is_alike(row: Listed, own: Own) -> bool:
    return (
        (row.product, row.account_id.lower()) == (own.product, own.account_id.lower())
        and abs(row.received - _sent(own)) <= _ALIKE_WITHIN
        and own.records in (None, row.records)
    )


@dataclass(frozen=True)
class Pair:
    """A request as Vonage lists it, and ours. `own` is None for a request that is not ours."""

    listed: Listed
    own: Own | None

    @property
    def without_archive(self) -> int:
        """Vonage's records of a request of ours that ended without an archive to store."""
        is_stored = self.listed.status == _WITH_ARCHIVE or self.own_records is not None
        return 0 if self.own is None or is_stored else self.listed.records

    @property
    def own_records(self) -> int | None:
        """The records of our receipt, or None without one."""
        return None if self.own is None else self.own.records

    @property
    def difference(self) -> int:
        """Vonage's records less ours. A request without an archive, or not ours, has none."""
        if self.own is None:
            return 0
        return self.listed.records - self.without_archive - (self.own_records or 0)


@dataclass
class Line:
    """The requests of one definition (or of a requester, if they are not ours) and product."""

    name: str
    product: str
    currency: str
    pairs: list[Pair] = field(default_factory=list)

    @property
    def requests(self) -> int:
        """How many requests Vonage lists."""
        return len(self.pairs)

    @property
    def records(self) -> int:
        """Vonage's records."""
        return sum(each.listed.records for each in self.pairs)

    @property
    def without_archive(self) -> int:
        """Vonage's records of requests that ended without an archive."""
        return sum(each.without_archive for each in self.pairs)

    @property
    def own_records(self) -> int:
        """The records of our receipts."""
        return sum(each.own_records or 0 for each in self.pairs)

    @property
    def difference(self) -> int:
        """Vonage's records less ours."""
        return sum(each.difference for each in self.pairs)

    @property
    def charged(self) -> int:
        """The records that Vonage charged."""
        return sum(each.listed.records for each in self.pairs if each.listed.is_charged)

    @property
    def cost(self) -> Decimal | None:
        """The price of the charged requests, or None if Vonage states no price."""
        charged = [each.listed.price for each in self.pairs if each.listed.is_charged]
        known = [each for each in charged if each is not None]
        return None if charged and not known else total(known)

    @property
    def without_price(self) -> int:
        """How many charged requests have no price."""
        return sum(each.listed.is_charged and each.listed.price is None for each in self.pairs)


@dataclass(frozen=True)
class Comparison:
    """All requests of a period. `missing` are ours that Vonage does not list.

    `is_by_likeness`: no row has an id of ours, so the rows are matched by likeness.
    """

    pairs: Sequence[Pair]
    missing: Sequence[Own]
    unlisted: Sequence[Own] = ()
    """Our requests of accounts whose lists no definition collects."""
    waiting: Sequence[Own] = ()
    """Our requests that a list may have that is not delivered yet."""
    is_by_likeness: bool = False

    @property
    def own(self) -> list[Line]:
        """Our requests, by definition and product."""
        return _lines(
            (definition_of(each.own.report_id), each) for each in self.pairs if each.own is not None
        )

    @property
    def others(self) -> list[Line]:
        """The other requests of the account, by product and requester."""
        return _lines((each.listed.requester, each) for each in self.pairs if each.own is None)

    @property
    def different(self) -> list[Pair]:
        """Our requests with other records than Vonage's."""
        return [each for each in self.pairs if each.difference]

    @property
    def is_equal(self) -> bool:
        """Whether Vonage lists each of our requests, with our records."""
        return not self.different and not self.missing


def _lines(named: Iterable[tuple[str, Pair]]) -> list[Line]:
    found: dict[tuple[str, str, str], Line] = {}
    for name, pair in named:
        key = (name, pair.listed.product, pair.listed.currency)
        found.setdefault(key, Line(*key)).pairs.append(pair)
    return [found[key] for key in sorted(found)]


def compare(
    listed: Sequence[Listed],
    period: Period,
    *,
    owners: Mapping[str, Own],
    sent: Sequence[Own],
    lists: Lists,
) -> Comparison:
    """Compare Vonage's list with our requests.

    `listed` may reach out of the period. `owners` has our requests among it, by id. `sent` are the
    requests that the ledger sent in the period, or near it: Vonage may date them otherwise.
    """
    near = [each for each in listed if is_near(each.received, period)]
    is_by_likeness = not owners and bool(near and sent)
    matched = by_likeness(near, sent) if is_by_likeness else owners
    there = {each.request_id for each in matched.values()}
    pairs = [Pair(each, matched.get(each.request_id)) for each in within(listed, period)]
    missing, unlisted, waiting = [], [], []
    for each in sent:
        at = _sent(each)
        if each.request_id in there or not period.start <= at < period.end:
            continue
        if not lists.collect(each.account_id, period):
            unlisted.append(each)
        elif lists.have(each.account_id, at - _ALIKE_WITHIN, at + _ALIKE_WITHIN):
            missing.append(each)
        else:
            waiting.append(each)
    return Comparison(pairs, missing, unlisted, waiting, is_by_likeness and bool(matched))


@dataclass(frozen=True)
class Total:
    """The requests of one currency: ours, and the others."""

    own: Line
    others: Line


def totals_of(comparison: Comparison) -> list[Total]:
    """Add up the requests of each currency."""
    found: dict[str, Total] = {}
    for pair in comparison.pairs:
        currency = pair.listed.currency
        of = found.setdefault(currency, Total(Line("", "", currency), Line("", "", currency)))
        (of.others if pair.own is None else of.own).pairs.append(pair)
    return [found[currency] for currency in sorted(found)]
