"""The saved queries, in the SQL that Athena and DuckDB have in common.

A query's parameters are variables of CloudFormation's `Fn::Sub`, such as `${MarkUp}`. In Athena,
template.yaml sets their values. Here, the caller sets them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from string import Template

from vonage_reports_cli.errors import BadInput

ACCOUNT_CURRENCY = "AccountCurrency"
"""The variable for the currency of records without one; by default the stack's parameter."""

_DESCRIPTIONS = {
    "billing": "Amount to charge each customer, by product and country. Set mark-up and period.",
    "reconciliation": "Our totals beside those of Vonage's invoice, a CSV file under invoices/.",
    "customers": "An example that joins usage with your own data.",
    "reports_bill": "What Vonage charged for reports, by requester and product.",
}
_DEFAULTS = {
    "Since": "date_trunc('month', current_date) - INTERVAL '1' MONTH",
    "Until": "current_date + INTERVAL '1' DAY",
    "Period": "month",
    "MarkUp": "0.00",
    ACCOUNT_CURRENCY: "",
}
_CURRENCY = re.compile(r"[A-Z]{3}")
_BY_MONTH = ("reconciliation",)


@dataclass(frozen=True)
class NamedQuery:
    """A saved query. `defaults` has its parameters, with the values as SQL or as text in quotes."""

    description: str
    text: str
    defaults: Mapping[str, str]

    def render(self, values: Mapping[str, str]) -> str:
        """Return the SQL with these values, and the defaults for the other parameters."""
        return Template(self.text).substitute({**self.defaults, **values})


def named_queries() -> dict[str, NamedQuery]:
    """Return the saved queries by name."""
    return {name: _named(name, said) for name, said in _DESCRIPTIONS.items()}


def _named(name: str, description: str) -> NamedQuery:
    text = (files(__package__) / "queries" / f"{name}.sql").read_text(encoding="utf-8")
    used = set(Template(text).get_identifiers())
    return NamedQuery(
        description, text, {key: value for key, value in _DEFAULTS.items() if key in used}
    )


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
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"{option} is {text!r}; use a date like 2026-11-01") from error
    if of_month and day.day != 1:
        raise BadInput(
            f"{option} is {text!r}, but invoices cover whole months; use the first day of a "
            "month, like 2026-11-01"
        )
    return f"DATE '{day:%Y-%m-%d}'"
