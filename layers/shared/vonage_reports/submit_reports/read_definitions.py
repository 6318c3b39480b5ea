"""Reads the operator's report definitions, and accepts or refuses each definition.

Only submit_reports imports this module, so the other functions start without pydantic.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from vonage_reports.domain.definitions import (
    DEFAULT_DELAY_DAYS,
    DEFAULT_MAX_RECORDS,
    Refusal,
    ReportDefinition,
)
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.products import filter_problem, known_filters, retention_problem
from vonage_reports.domain.windows import WindowLength
from vonage_reports.submit_reports.context import Services

PARAMETER_BYTES = 8_192
"""The size limit of an advanced SSM parameter."""

_MOST_QUOTED = 60


_NO_ZONES = re.compile(r"(posix|right)/.*|localtime|posixrules|Factory", re.DOTALL)
"""Files beside the IANA zones: copies, links to a machine's own zone, and a placeholder."""


def _known_zone(name: str) -> str:
    try:
        ZoneInfo("" if _NO_ZONES.fullmatch(name) else name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is not an IANA time zone, such as Europe/London") from error
    return name


def _increasing(days: list[int]) -> list[int]:
    if sorted(set(days)) != days:
        raise ValueError("the days must increase; the last one is the final revision")
    return days


def _distinct(ids: list[str]) -> list[str]:
    if len({each.lower() for each in ids}) != len(ids):
        raise ValueError("the list has an account twice")
    return ids


_AccountId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{1,40}$")]


def _filter_value(value: object) -> object:
    if not isinstance(value, str | bool | int):
        raise ValueError("takes a string, a whole number, true or false")  # noqa: TRY004 - pydantic reports ValueError alone
    if isinstance(value, str) and not value.isprintable():
        raise ValueError("takes printable characters only")
    return value


class _Definition(BaseModel):
    """A definition as the operator writes it. Refusals quote the fields' descriptions."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[
        str,
        StringConstraints(pattern=r"^[a-z0-9-]{1,30}$"),
        Field(description="1 to 30 lower-case letters, digits and hyphens"),
    ]
    product: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Z0-9-]{1,40}$"),
        Field(description="Vonage's name for the product, in capitals, such as VOICE-CALL"),
    ]
    account_ids: Annotated[
        Annotated[list[_AccountId], Field(min_length=1), AfterValidator(_distinct)] | None,
        Field(description='a list of account ids, such as ["abcd1234"]'),
    ] = None
    include_subaccounts: Annotated[bool, Field(description="true or false")] = False
    filters: Annotated[
        dict[
            Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,40}$")],
            Annotated[Any, AfterValidator(_filter_value)],
        ],
        Field(description='an object of names and values, such as {"direction": "outbound"}'),
    ] = {}
    window: Annotated[WindowLength, Field(strict=False, description="hour, day, week or month")] = (
        WindowLength.DAY
    )
    time_zone: Annotated[
        str,
        AfterValidator(_known_zone),
        Field(description="an IANA time zone, such as Europe/London"),
    ] = "UTC"
    delay_days: Annotated[
        list[Annotated[int, Field(ge=0, le=999)]],
        Field(min_length=1, description="a list of whole numbers from 0 to 999, such as [0, 3]"),
        AfterValidator(_increasing),
    ] = list(DEFAULT_DELAY_DAYS)
    max_records: Annotated[
        int,
        Field(ge=1, le=1_000_000_000, description="a whole number from 1 to 1,000,000,000"),
    ] = DEFAULT_MAX_RECORDS
    currency: Annotated[
        Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] | None,
        Field(description="three capital letters, such as EUR"),
    ] = None


class _Object(dict[str, Any]):
    """A JSON object. `repeated` is the first name that occurs twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs]
        self.repeated = next((name for name in names if names.count(name) > 1), None)


EVERY_DEFINITION = "(all)"
"""The name in a refusal if the parameter cannot be read at all."""


@dataclass(frozen=True)
class LoadedDefinitions:
    """The usable definitions, and a refusal for each unusable definition."""

    definitions: Sequence[ReportDefinition]
    refusals: Sequence[Refusal]
    changed_at: datetime

    @property
    def is_readable(self) -> bool:
        """Whether the parameter holds a list, even if some definitions are unusable."""
        return all(each.definition != EVERY_DEFINITION for each in self.refusals)

    def named(self, name: str) -> ReportDefinition:
        """Return a definition by name. Raises InvalidRequest if it is refused or unknown."""
        for definition in self.definitions:
            if definition.name == name:
                return definition
        for refusal in self.refusals:
            if refusal.definition in (name, EVERY_DEFINITION):
                raise InvalidRequest(f"{refusal.definition}, {refusal.field}: {refusal.reason}")
        names = ", ".join(each.name for each in self.definitions) or "none"
        raise InvalidRequest(f"no report definition is named {name}; the usable names: {names}")


def load_definitions(services: Services) -> LoadedDefinitions:
    """Read the definitions, uncached, because they change without a deployment.

    Raises:
        InvalidRequest: the secret, whose API key is the default account, is unusable.
        ClientError, BotoCoreError: AWS refused a call.
    """
    text, changed_at = services.definitions.read()
    definitions, refusals = parse_definitions(text, api_key=services.vonage.api_key)
    return LoadedDefinitions(definitions, refusals, changed_at)


def load_currencies(services: Services) -> dict[str, str | None]:
    """Return the current currency of each definition by name. Needs no secret."""
    text, _ = services.definitions.read()
    definitions, _ = parse_definitions(text, api_key="")
    return {each.name: each.currency for each in definitions}


def parse_definitions(text: str, *, api_key: str) -> tuple[list[ReportDefinition], list[Refusal]]:
    """Parse the parameter's text. Return the usable definitions and the refusals.

    `api_key` is the account of a definition without account_ids.
    """
    try:
        entries = _entries(text)
    except ValueError as error:
        return [], [Refusal(EVERY_DEFINITION, "(JSON)", str(error))]
    accepted: dict[int, ReportDefinition] = {}
    refused: list[Refusal] = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, _Object):
            refused.append(Refusal(_entry(number), "(JSON)", "must be an object, in { }"))
            continue
        problem = _repetition(entry)
        try:
            definition = _definition(entry, api_key)
        except ValidationError as error:
            problem = problem or first_problem(error, _Definition)
        else:
            problem = problem or _problem(definition, accepted)
        if problem:
            refused.append(Refusal(_name(entry, number), *problem))
        else:
            accepted[number] = definition
    return list(accepted.values()), refused


def _entries(text: str) -> list[Any]:
    """Parse the parameter's list. Raises ValueError, with a sentence, if there is no valid list."""
    size = len(text.encode())
    if size > PARAMETER_BYTES:
        raise ValueError(
            f"the parameter is too large: it has {size:,} bytes, and SSM allows at most "
            f"{PARAMETER_BYTES:,}"
        )
    try:
        entries = json.loads(text, object_pairs_hook=_Object)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the parameter is not valid JSON: {error}") from error
    if not isinstance(entries, list):
        raise ValueError("the parameter must be a list of definitions, in [ ]")  # noqa: TRY004 - the caller takes ValueError
    return entries


def _entry(number: int) -> str:
    return f"(entry {number})"


def _name(entry: Mapping[str, Any], number: int) -> str:
    """Return a definition's name if it is safe to print, else its position in the list."""
    name = entry.get("name")
    fit = isinstance(name, str) and name.isascii() and name.isprintable()
    return name if name and fit and len(name) <= _MOST_QUOTED else _entry(number)


def _repetition(entry: _Object) -> tuple[str, str] | None:
    """Return a field that a definition has twice, and a sentence. JSON parsers drop the first."""
    filters = entry.get("filters")
    for prefix, each in (("", entry), ("filters.", filters)):
        if isinstance(each, _Object) and each.repeated is not None:
            return f"{prefix}{each.repeated}", "given twice"
    return None


def _definition(entry: Mapping[str, Any], api_key: str) -> ReportDefinition:
    value = _Definition.model_validate(dict(entry))
    filters = value.filters
    if "include_message" in known_filters(value.product):
        # Message bodies are personal data, so collect them only on request.
        filters = {"include_message": False, **filters}
    return ReportDefinition(
        name=value.name,
        product=value.product,
        account_ids=tuple(value.account_ids or [api_key]),
        include_subaccounts=value.include_subaccounts,
        filters=filters,
        window=value.window,
        time_zone=value.time_zone,
        delay_days=tuple(value.delay_days),
        max_records=value.max_records,
        currency=value.currency,
    )


def first_problem(error: ValidationError, model: type[BaseModel]) -> tuple[str, str]:
    """Return the first invalid field, as a dotted path, and a description of valid values.

    The path is empty if the value itself is not an object. Never quotes a filter, because a filter
    may be a phone number.
    """
    first: Any = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"] if part != "[key]"]
    field = ".".join(path)
    names = ", ".join(model.model_fields)
    if first["type"] == "model_type":
        return field, f"takes an object with {names}"
    if not path:
        return "(JSON)", "a field name is not valid Unicode"
    if first["type"] == "extra_forbidden":
        return field, f"no such field; the fields are {names}"
    if first["type"] == "value_error":
        return field, str(first["ctx"]["error"])
    takes = f"takes {model.model_fields[path[0]].description}"
    if first["type"] == "missing":
        return field, f"missing; it {takes}"
    return field, takes if path[0] == "filters" else f"{takes}, not {_quoted(first['input'])}"


def _quoted(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]}..."


def _problem(
    definition: ReportDefinition, accepted: Mapping[int, ReportDefinition]
) -> tuple[str, str] | None:
    """Return the field and the reason for refusing a definition, or None to accept it.

    `accepted` maps positions in the list to the definitions that were accepted so far.
    """
    refused_filter = filter_problem(definition.product, definition.filters)
    if refused_filter:
        name, reason = refused_filter
        return f"filters.{name}", reason
    days = definition.window.most_days + definition.delay_days[-1]
    too_old = retention_problem(definition.product, days)
    if too_old:
        return f"delay_days.{len(definition.delay_days) - 1}", too_old
    for number, other in accepted.items():
        if other.name == definition.name:
            return "name", f"{_entry(number)}, of {other.product}, already has this name"
        if _collects_the_same(definition, other):
            return "name", f"{other.name} collects the same; Vonage would bill each record twice"
    return None


def _collects_the_same(one: ReportDefinition, other: ReportDefinition) -> bool:
    """Whether two definitions request the same reports for at least one account."""
    accounts = [{account.lower() for account in each.account_ids} for each in (one, other)]
    return not accounts[0].isdisjoint(accounts[1]) and (
        (one.collects, one.include_subaccounts, one.delay_days)
        == (other.collects, other.include_subaccounts, other.delay_days)
    )
