"""The saved queries, in the SQL that Athena and DuckDB have in common.

A query's parameters are variables of CloudFormation's `Fn::Sub`, such as `${MarkUp}`. In Athena,
template.yaml sets their values. Here, the caller sets them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from string import Template

import duckdb

from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.period import Period, date_of
from vonage_reports_cli.sql.usage_view import usage_of_period

ACCOUNT_CURRENCY = "AccountCurrency"
"""The variable for the currency of records without one; by default the stack's parameter."""

_DESCRIPTIONS = {
    "billing": "Amount to charge each customer, by product and country. Set mark-up and period.",
    "reconciliation": "Our totals beside those of Vonage's invoice, a CSV file under invoices/.",
    "customers": "An example that joins usage with your own data.",
    "reports_bill": "Vonage's charges for reports, by requester and product.",
}
_DEFAULTS = {
    "Since": "date_trunc('month', current_date) - INTERVAL '1' MONTH",
    "Until": "current_date + INTERVAL '1' DAY",
    "Period": "month",
    "MarkUp": "0.00",
    ACCOUNT_CURRENCY: "",
}
_PERIOD = Template(
    "SELECT CAST(${start} AS date), CAST(${end} AS date) "
    "FROM (SELECT ${Since} AS since, ${Until} AS until)"
)
_CURRENCY = re.compile(r"[A-Z]{3}")
_BY_MONTH = ("reconciliation",)
_AS_SET = ("since", "until")
_WHOLE_MONTHS = (
    "date_trunc('month', since)",
    "date_trunc('month', until - INTERVAL '1' DAY) + INTERVAL '1' MONTH",
)


@dataclass(frozen=True)
class NamedQuery:
    """A saved query. `defaults` has its parameters, with the values as SQL or as text in quotes.

    `bounds` are SQL for the first instant of its records and for the first one after them, of the
    columns `since` and `until`.
    """

    description: str
    text: str
    defaults: Mapping[str, str]
    bounds: tuple[str, str]

    def render(self, values: Mapping[str, str]) -> str:
        """Return the SQL with these values, and the defaults for the other parameters."""
        return Template(self.text).substitute({**self.defaults, **values})

    def period(self, values: Mapping[str, str]) -> Period:
        """Return the days of the records that the query with these values has."""
        start, end = self.bounds
        given = {**self.defaults, **values}
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            found = connection.execute(_PERIOD.substitute({**given, "start": start, "end": end}))
            [(since, until)] = found.fetchall()
        return Period(since, until)


def named_queries() -> dict[str, NamedQuery]:
    """Return the saved queries by name."""
    return {name: _named(name, said) for name, said in _DESCRIPTIONS.items()}


def _named(name: str, description: str) -> NamedQuery:
    text = (files(__package__) / "queries" / f"{name}.sql").read_text(encoding="utf-8")
    bounds = _WHOLE_MONTHS if name in _BY_MONTH else _AS_SET
    text = Template(text).safe_substitute(UsageOfPeriod=usage_of_period(*bounds))
    used = set(Template(text).get_identifiers())
    defaults = {key: value for key, value in _DEFAULTS.items() if key in used}
    return NamedQuery(description, text, defaults, bounds)


def values_of(
    query: str,
    *,
    since: str | None = None,
    until: str | None = None,
    currency: str | None = None,
) -> dict[str, str]:
    """Return the parameters of a saved query. Raises BadInput, which names the option.

    `since` and `until` are ISO dates; `until` is exclusive. `currency` is that of records without
    one.
    """
    values = {}
    for option, name, text in (("--since", "Since", since), ("--until", "Until", until)):
        if text is not None:
            values[name] = _date(option, text, of_month=query in _BY_MONTH)
    if currency is not None:
        if not _CURRENCY.fullmatch(currency):
            raise BadInput(f"--currency is {currency!r}; use a code like EUR")
        values[ACCOUNT_CURRENCY] = currency
    return values


def _date(option: str, text: str, *, of_month: bool) -> str:
    day = date_of(option, text)
    if of_month and day.day != 1:
        raise BadInput(
            f"{option} is {text!r}, but invoices cover whole months; use the first day of a "
            "month, like 2026-11-01"
        )
    return f"DATE '{day:%Y-%m-%d}'"
