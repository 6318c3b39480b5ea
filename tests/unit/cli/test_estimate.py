import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT
from vonage_reports.aws.ledger_items import Calendar, OpenWork, StoppedPlanning
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.submit_reports.read_definitions import parse_definitions
from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.estimate import Price, Total, due, forecast, lines_of, words

NOTHING = OpenWork((), {}, frozenset())
NEW = Calendar({}, {}, {})
NIGHT = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
PRICE = Price(Decimal("0.0004"), "EUR")


def definition(name: str = "verify", **entry: Any) -> ReportDefinition:
    text = json.dumps([{"name": name, "product": "VERIFY-V2", **entry}])
    (made,), refused = parse_definitions(text, api_key="abcd1234")
    assert refused == []
    return made


def calendar(of: ReportDefinition, end: datetime, rows_per_hour: float | None = None) -> Calendar:
    """Return a calendar that has planned the windows until `end`."""
    return Calendar(
        {(of.name, each, days): end for each in of.account_ids for days in of.delay_days},
        {} if rows_per_hour is None else {(of.name, of.account_ids[0]): rows_per_hour},
        {of.name: of.collects},
        delays={of.name: dict.fromkeys(of.delay_days)},
    )


def at_night(day: int) -> datetime:
    return datetime(2026, 11, day, tzinfo=UTC)


@pytest.mark.parametrize(
    ("records", "price", "text"),
    [
        (None, PRICE, "an unknown number of records"),
        (0, PRICE, "no records"),
        (1, None, "about 1 record"),
        (1_200, None, "about 1,200 records"),
        (1_200, PRICE, "about 1,200 records (0.48 EUR)"),
        (3, PRICE, "about 3 records (less than 0.01 EUR)"),
        (12_500_000, PRICE, "about 12,500,000 records (5,000.00 EUR)"),
    ],
)
def test_records_and_their_cost_in_words(records: int, price: Price | None, text: str) -> None:
    assert words(records, price) == text


@pytest.mark.parametrize(
    "text", ["0.0004", "0,0004 EUR", "EUR 0.0004", "-1 EUR", "1 eur", "1 EUR\n"]
)
def test_other_prices_are_refused_here_and_by_the_template(text: str) -> None:
    pattern = template_parameters()["PricePerRecord"]["AllowedPattern"]

    assert re.fullmatch(pattern, text) is None
    with pytest.raises(BadInput, match=r"such as 0\.0004 EUR"):
        Price.parse(text)


@pytest.mark.parametrize("text", ["", "0.0004 EUR", "12 USD"])
def test_prices_are_accepted_here_and_by_the_template(text: str) -> None:
    assert re.fullmatch(template_parameters()["PricePerRecord"]["AllowedPattern"], text)
    price = Price.parse(text)
    assert ("" if price is None else f"{price.amount} {price.currency}") == text


def template_parameters() -> Mapping[str, Any]:
    text = (ROOT / "template.yaml").read_text()
    section = text[text.index("\nParameters:\n") : text.index("\nConditions:\n")]
    parameters: Mapping[str, Any] = yaml.safe_load(section)["Parameters"]
    return parameters


def test_first_night_requests_the_latest_window_of_each_revision() -> None:
    of = definition(delay_days=[0, 3])

    reports = due([of], NEW, NOTHING, at=NIGHT, now=NIGHT)

    assert [(each.window.start, each.revision) for each in reports] == [
        (at_night(21), "preliminary"),
        (at_night(18), "final"),
    ]
    assert {each.expected_rows for each in reports} == {None}


def test_open_report_is_not_requested_again() -> None:
    of = definition()
    reports = due([of], NEW, NOTHING, at=NIGHT, now=NIGHT)
    work = OpenWork(tuple(reports), {}, frozenset())

    assert due([of], NEW, work, at=NIGHT, now=NIGHT) == []


def test_changed_definition_requests_nothing() -> None:
    of = definition()
    changed = definition(window="hour")

    assert due([changed], calendar(of, at_night(10)), NOTHING, at=NIGHT, now=NIGHT) == []


def test_windows_missed_for_days_are_due_together() -> None:
    of = definition()
    known = calendar(of, at_night(16), rows_per_hour=50)

    (line,) = lines_of(due([of], known, NOTHING, at=NIGHT, now=NIGHT))

    assert [each.start for each in line.windows] == [at_night(day) for day in (16, 17, 18)]
    assert (line.account_id, line.records) == ("abcd1234", 3 * 24 * 50)


def test_planning_that_stopped_makes_no_window_late() -> None:
    of = definition()
    known = calendar(of, at_night(5))
    stopped = OpenWork((), {}, frozenset(), planning_stopped=StoppedPlanning(at_night(9), "verify"))

    assert len(due([of], known, NOTHING, at=NIGHT, now=NIGHT)) < 14
    assert len(due([of], known, stopped, at=NIGHT, now=NIGHT)) == 14


@pytest.mark.parametrize("window", ["hour", "day"])
@pytest.mark.parametrize("delay_days", [[3], [0, 3]])
def test_forecast_has_each_window_of_each_revision_once(window: str, delay_days: list[int]) -> None:
    of = definition(window=window, delay_days=delay_days)
    per_day = 24 if window == "hour" else 1

    for known in (NEW, calendar(of, at_night(18))):
        first = due([of], known, NOTHING, at=NIGHT, now=NIGHT)
        reports = forecast(
            [of], known, NOTHING, first=NIGHT, until=NIGHT + timedelta(days=30), now=NIGHT
        )
        assert len({each.report_id for each in reports}) == len(reports)
        assert reports[: len(first)] == first
        assert len(reports) - len(first) == 30 * per_day * len(delay_days)


def test_forecast_catches_up_first() -> None:
    of = definition()
    known = calendar(of, at_night(1), rows_per_hour=10)

    reports = forecast(
        [of], known, NOTHING, first=NIGHT, until=NIGHT + timedelta(days=30), now=NIGHT
    )

    # Windows due for more than 7 days are left to the operator.
    assert reports[0].window.start == at_night(12)
    assert reports[-1].window.end == at_night(19) + timedelta(days=30)


def test_total_without_history_is_a_lower_bound() -> None:
    known, new = definition(), definition("voice", product="VOICE-CALL")
    lines = lines_of(
        due([known, new], calendar(known, at_night(18), 50), NOTHING, at=NIGHT, now=NIGHT)
    )
    total = Total.of(lines)

    assert total.words(PRICE) == (
        "2 reports, about 1,200 records (0.48 EUR) and an unknown number of records"
    )
    assert total.to_dict(PRICE) == {
        "reports": 2,
        "expected_billed_records": 1_200,
        "expected_cost": "0.4800",
        "currency": "EUR",
        "is_lower_bound": True,
    }
    assert Total.of([]).words(PRICE) == "no reports"


def test_free_product_costs_nothing() -> None:
    of = definition("usage", product="REPORTS-USAGE")

    (line,) = lines_of(due([of], NEW, NOTHING, at=NIGHT, now=NIGHT))

    assert line.records == 0
