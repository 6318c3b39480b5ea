"""The next requests of the calendar, and their cost.

Pure: it uses the domain and the content of the ledger, but no clock and no AWS.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from vonage_reports.aws.ledger_items import Calendar, OpenWork
from vonage_reports.domain.calendar import (
    Delays,
    Due,
    by_definition,
    due_reports,
    where_finals_begin,
)
from vonage_reports.domain.definitions import ReportDefinition, change_of
from vonage_reports.domain.products import billed_records
from vonage_reports.domain.report import Report
from vonage_reports.domain.windows import Window, format_instant
from vonage_reports_cli.errors import BadInput

_A_PRICE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,12})?) ([A-Z]{3})")
"""The same pattern as that of the template's parameter PricePerRecord."""

_CENT = Decimal("0.01")


@dataclass(frozen=True)
class Price:
    """The price of one record in a report, as the operator's setting PricePerRecord has it."""

    amount: Decimal
    currency: str

    @classmethod
    def parse(cls, text: str) -> "Price | None":
        """Parse text such as `0.0004 EUR`. An empty text is no price. Raises BadInput."""
        if not text:
            return None
        found = _A_PRICE.fullmatch(text)
        if found is None:
            raise BadInput(
                f"PricePerRecord takes an amount and a currency, such as 0.0004 EUR, not {text!r}"
            )
        return cls(Decimal(found[1]), found[2])

    def of(self, records: int) -> str:
        """Return the cost of records, such as `0.48 EUR`."""
        cost = self.amount * records
        if 0 < cost < _CENT:
            return f"less than {_CENT} {self.currency}"
        return f"{cost:,.2f} {self.currency}"


def words(records: int | None, price: Price | None = None) -> str:
    """Describe the records that Vonage is expected to bill, with their cost if a price is known."""
    if records is None:
        return "an unknown number of records"
    if records == 0:
        return "no records"
    cost = "" if price is None else f" ({price.of(records)})"
    return f"about {records:,} {'record' if records == 1 else 'records'}{cost}"


def due(
    definitions: Iterable[ReportDefinition],
    calendar: Calendar,
    work: OpenWork,
    *,
    at: datetime,
    now: datetime,
) -> list[Report]:
    """Return the reports that a schedule at the instant `at` plans.

    Leaves out open reports, and definitions that changed under their name. Some others may be in
    the ledger already, and are not requested again.
    """
    stopped = work.planning_stopped
    since = None if stopped is None else stopped.since
    return [
        report
        for _, each in _each_due(definitions, calendar, at=at, now=now, stopped_since=since)
        for report in _new(each, work)
    ]


def late(
    definitions: Iterable[ReportDefinition], calendar: Calendar, *, at: datetime, now: datetime
) -> list["Line"]:
    """Return the windows that a schedule at the instant `at` leaves to the operator.

    They became due more than 7 days before.
    """
    return [
        Line(definition.name, definition.product, each.account_id, each.late, None)
        for definition, each in _each_due(definitions, calendar, at=at, now=now, stopped_since=None)
        if each.late
    ]


def forecast(
    definitions: Sequence[ReportDefinition],
    calendar: Calendar,
    work: OpenWork,
    *,
    first: datetime,
    until: datetime,
    now: datetime,
) -> list[Report]:
    """Return the reports that the schedules from the instant `first` to `until` plan.

    A definition without history begins at `first` with its latest window.
    """
    found = due(definitions, calendar, work, at=first, now=now)
    cursors_of = by_definition(calendar.cursors)
    for definition in definitions:
        before = cursors_of.get(definition.name, {})
        cursors = _cursors_after(definition, calendar, before, at=first, now=now)
        seen: Delays = dict.fromkeys(definition.delay_days)
        after = replace(calendar, delays={definition.name: seen})
        # Each later window is planned soon after it is due, so none of them is late.
        for each in _due(definition, after, cursors, at=until, now=now, stopped_since=first):
            found += _new(each, work)
    return found


_Cursors = Mapping[tuple[str, str, int], datetime]


def _each_due(
    definitions: Iterable[ReportDefinition],
    calendar: Calendar,
    *,
    at: datetime,
    now: datetime,
    stopped_since: datetime | None,
) -> Iterator[tuple[ReportDefinition, Due]]:
    """Yield each definition with the due windows of its accounts, by the calendar's cursors."""
    cursors_of = by_definition(calendar.cursors)
    for definition in definitions:
        cursors = cursors_of.get(definition.name, {})
        for each in _due(
            definition, calendar, cursors, at=at, now=now, stopped_since=stopped_since
        ):
            yield definition, each


def _due(
    definition: ReportDefinition,
    calendar: Calendar,
    cursors: _Cursors,
    *,
    at: datetime,
    now: datetime,
    stopped_since: datetime | None,
) -> Iterator[Due]:
    if change_of(definition, calendar.collects.get(definition.name)) is None:
        yield from due_reports(
            definition,
            cursors=cursors,
            volumes=calendar.volumes,
            profiles=calendar.profiles,
            at=at,
            now=now,
            delays=calendar.delays.get(definition.name),
            stopped_since=stopped_since,
        )


def _new(each: Due, work: OpenWork) -> Iterator[Report]:
    names = {report.report_id for report in work.reports}
    return (report for report in each.reports if report.report_id not in names)


def _cursors_after(
    definition: ReportDefinition,
    calendar: Calendar,
    cursors: _Cursors,
    *,
    at: datetime,
    now: datetime,
) -> _Cursors:
    """Return the cursors of a definition after a schedule at the instant `at`."""
    name, delays = definition.name, calendar.delays.get(definition.name)
    after = dict(cursors)
    for account_id, delay_days, begin in where_finals_begin(definition, cursors, at, delays):
        after[name, account_id, delay_days] = begin
    for each in _due(definition, calendar, cursors, at=at, now=now, stopped_since=None):
        windows = [*each.late, *(report.window for report in each.reports)]
        if windows:
            after[name, each.account_id, each.delay_days] = windows[-1].end
    return after


@dataclass(frozen=True)
class Line:
    """The reports of one definition and account.

    `records` is how many records Vonage is expected to bill, or None without history.
    """

    definition: str
    product: str
    account_id: str
    windows: Sequence[Window]
    records: int | None

    @property
    def reports(self) -> int:
        """How many reports are requested."""
        return len(self.windows)

    def to_dict(self, price: Price | None) -> dict[str, object]:
        """Return the JSON form; the windows as the first start and the last end."""
        return {
            "definition": self.definition,
            "product": self.product,
            "account_id": self.account_id,
            "reports": self.reports,
            "from": format_instant(min(each.start for each in self.windows)),
            "until": format_instant(max(each.end for each in self.windows)),
            **cost_of(self.records, price),
        }


def cost_of(records: int | None, price: Price | None) -> dict[str, object]:
    """Return the JSON form of an expected cost. The money is exact, as text."""
    return {
        "expected_billed_records": records,
        "expected_cost": None if price is None or records is None else str(price.amount * records),
        "currency": None if price is None else price.currency,
    }


def lines_of(reports: Iterable[Report]) -> list[Line]:
    """Sum up reports by definition and account, in their order."""
    groups: Mapping[tuple[str, str, str], list[Report]] = defaultdict(list)
    for report in reports:
        groups[report.definition, report.product, report.account_id].append(report)
    return [
        Line(*key, windows=[each.window for each in group], records=_records(group))
        for key, group in groups.items()
    ]


def _records(reports: Sequence[Report]) -> int | None:
    billed = [billed_records(each.product, each.expected_rows) for each in reports]
    known = [each for each in billed if each is not None]
    return sum(known) if len(known) == len(billed) else None


@dataclass(frozen=True)
class Total:
    """The sum of lines. `unknown` is how many of them have no history."""

    reports: int
    records: int
    unknown: int

    @classmethod
    def of(cls, lines: Sequence[Line]) -> "Total":
        """Sum up lines."""
        return cls(
            sum(each.reports for each in lines),
            sum(each.records or 0 for each in lines),
            sum(each.records is None for each in lines),
        )

    def words(self, price: Price | None) -> str:
        """Describe the sum, such as `3 reports, about 1,200 records (0.48 EUR)`."""
        if not self.reports:
            return "no reports"
        known = words(self.records, price) if self.records or not self.unknown else ""
        unknown = words(None) if self.unknown else ""
        return f"{count(self.reports, 'report')}, {' and '.join(filter(None, [known, unknown]))}"

    def to_dict(self, price: Price | None) -> dict[str, object]:
        """Return the JSON form. The records are a lower bound if some lines have no history."""
        return {
            "reports": self.reports,
            **cost_of(self.records, price),
            "is_lower_bound": self.unknown > 0,
        }


def count(number: int, noun: str) -> str:
    """Return a number and its noun, such as `1 report` or `1,200 reports`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
