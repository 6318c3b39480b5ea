"""The SQL in template.yaml: the view `usage` and Athena's named queries.

They are written once, in the SQL that Athena and DuckDB have in common. A query's parameters are
variables of `Fn::Sub`, such as `${MarkUp}`. The template sets their values in Athena, and the
environment sets their values here.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

from local.stack.package import NAMED_QUERY
from local.stack.template import read_template
from vonage_reports_cli.errors import BadInput

TEMPLATE = Path(__file__).parents[3] / "template.yaml"

_MARK_UP = re.compile(r"-?[0-9]{1,5}(\.[0-9]{1,4})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_BY_MONTH = ("reconciliation",)


@dataclass(frozen=True)
class NamedQuery:
    """A named query of the template. `defaults` are the template's parameter values."""

    description: str
    text: str
    defaults: Mapping[str, str]

    def render(self, values: Mapping[str, str]) -> str:
        """Return the SQL with these values, and the defaults for the other parameters."""
        return Template(self.text).substitute({**self.defaults, **values})


def usage_view() -> str:
    """Return the SELECT of the view `usage`."""
    view = _template()["Resources"]["UsageView"]["Properties"]["TableInput"]["ViewOriginalText"]
    _, variables = view["Fn::Sub"]
    sql: str = json.loads(variables["View"]["Fn::Base64"]["Fn::Sub"])["originalSql"]
    return sql


def named_queries() -> dict[str, NamedQuery]:
    """Return the template's named queries by name, such as `billing` for `BillingQuery`."""
    template = _template()
    found = {}
    for logical_id, resource in template["Resources"].items():
        if resource["Type"] == NAMED_QUERY:
            properties = resource["Properties"]
            text, variables = properties["QueryString"]["Fn::Sub"]
            currency = template["Parameters"]["AccountCurrency"]["Default"]
            found[logical_id.removesuffix("Query").lower()] = NamedQuery(
                properties["Description"], text, {"AccountCurrency": currency, **variables}
            )
    return found


@cache
def _template() -> dict[str, Any]:
    return read_template(TEMPLATE)


def values_from(given: Mapping[str, str], *, query: str) -> dict[str, str]:
    """Read the parameters of a named query from the environment. Raises BadInput."""
    values = {}
    for variable, name in (("SINCE", "Since"), ("UNTIL", "Until")):
        if variable in given:
            values[name] = _date(variable, given[variable], of_month=query in _BY_MONTH)
    if "PERIOD" in given:
        values["Period"] = given["PERIOD"]
        if values["Period"] not in ("day", "month"):
            raise BadInput(f"PERIOD is {given['PERIOD']!r}; use day or month")
    if "MARK_UP" in given:
        values["MarkUp"] = given["MARK_UP"]
        if not _MARK_UP.fullmatch(values["MarkUp"]):
            raise BadInput(f"MARK_UP is {given['MARK_UP']!r}; use a number like 0.15 for 15 %")
    if "ACCOUNT_CURRENCY" in given:
        values["AccountCurrency"] = given["ACCOUNT_CURRENCY"]
        if not _CURRENCY.fullmatch(values["AccountCurrency"]):
            raise BadInput(
                f"ACCOUNT_CURRENCY is {given['ACCOUNT_CURRENCY']!r}; use a code like EUR"
            )
    return values


def _date(variable: str, text: str, *, of_month: bool) -> str:
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"{variable} is {text!r}; use a date like 2026-11-01") from error
    if of_month and day.day != 1:
        raise BadInput(
            f"{variable} is {text!r}, but invoices cover whole months; use the first day of a "
            "month, like 2026-11-01"
        )
    return f"DATE '{day:%Y-%m-%d}'"
