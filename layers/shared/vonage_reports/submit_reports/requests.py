"""What people write: report definitions and events, parsed with pydantic.

Only submit_reports imports this module; the other functions start without pydantic.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Literal, TypeGuard
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from aws_lambda_powertools.utilities.parser import parse
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
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

PARAMETER_BYTES = 8_192
"""What an advanced parameter of SSM holds."""

_MOST_QUOTED = 60


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no IANA time zone, such as Europe/London") from error
    return name


def _rising(days: list[int]) -> list[int]:
    if sorted(set(days)) != days:
        raise ValueError("the days must rise, each once: the last one is the final revision")
    return days


def _distinct(ids: list[str]) -> list[str]:
    if len({each.lower() for each in ids}) != len(ids):
        raise ValueError("an account stands in the list twice")
    return ids


_AccountId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{1,40}$")]


def _filter_value(value: object) -> object:
    if not isinstance(value, str | bool | int):
        raise ValueError("a filter is a text, a whole number, or true or false")  # noqa: TRY004 - pydantic reports ValueError alone
    if isinstance(value, str) and not value.isprintable():
        raise ValueError("a filter's text is printable")
    return value


def _an_id(value: str) -> str:
    if not value.strip("."):
        raise ValueError("that is no request_id: it is the one that Vonage's dashboard shows")
    return value


def _text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("a time is a text, such as 2026-11-22T02:15:00Z")  # noqa: TRY004 - pydantic reports ValueError alone
    return value


class _Definition(BaseModel):
    """A definition as it is written; a field's description says what it takes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[
        str,
        StringConstraints(pattern=r"^[a-z0-9-]{1,30}$"),
        Field(description="lower-case letters, digits and hyphens, 30 at most"),
    ]
    product: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Z0-9-]{1,40}$"),
        Field(description="the product as Vonage names it, in capitals, such as VOICE-CALL"),
    ]
    account_ids: Annotated[
        Annotated[list[_AccountId], Field(min_length=1), AfterValidator(_distinct)] | None,
        Field(description='account ids in a list, one at least, such as ["abcd1234"]'),
    ] = None
    include_subaccounts: Annotated[bool, Field(description="true or false")] = False
    filters: Annotated[
        dict[
            Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,40}$")],
            Annotated[Any, AfterValidator(_filter_value)],
        ],
        Field(description='names and values in an object, such as {"direction": "outbound"}'),
    ] = {}
    window: Annotated[WindowLength, Field(strict=False, description="hour, day, week or month")] = (
        WindowLength.DAY
    )
    time_zone: Annotated[
        str,
        AfterValidator(_known_zone),
        Field(description="the name of an IANA time zone, such as Europe/London"),
    ] = "UTC"
    delay_days: Annotated[
        list[Annotated[int, Field(ge=0, le=999)]],
        Field(min_length=1, description="whole numbers from 0 to 999 in a list, such as [0, 3]"),
        AfterValidator(_rising),
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
    """A JSON object that knows which of its names was given twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs]
        self.repeated = next((name for name in names if names.count(name) > 1), None)


EVERY_DEFINITION = "(all)"
"""The name in the refusal of a parameter that cannot be read at all."""


def parse_definitions(text: str, *, api_key: str) -> tuple[list[ReportDefinition], list[Refusal]]:
    """Parse the definitions parameter; what cannot be carried out is refused, one by one.

    `api_key` is the account of a definition that names none.
    """
    try:
        entries = _entries(text)
    except ValueError as error:
        return [], [Refusal(EVERY_DEFINITION, "(JSON)", str(error))]
    accepted: dict[int, ReportDefinition] = {}
    refused: list[Refusal] = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, _Object):
            refused.append(Refusal(_entry(number), "(JSON)", "it must be an object in { }"))
            continue
        problem = _repetition(entry)
        try:
            definition = _definition(entry, api_key)
        except ValidationError as error:
            problem = problem or _first_reason(error)
        else:
            problem = problem or _problem(definition, accepted)
        if problem:
            refused.append(Refusal(_name(entry, number), *problem))
        else:
            accepted[number] = definition
    return list(accepted.values()), refused


def definition_named(
    name: str, accepted: Sequence[ReportDefinition], refused: Sequence[Refusal]
) -> ReportDefinition:
    """Return the definition of that name. Raises InvalidRequest where there is none to use."""
    for definition in accepted:
        if definition.name == name:
            return definition
    for refusal in refused:
        if refusal.definition in (name, EVERY_DEFINITION):
            raise InvalidRequest(f"{refusal.definition}, {refusal.field}: {refusal.reason}")
    names = ", ".join(definition.name for definition in accepted) or "none"
    raise InvalidRequest(f"there is no report definition {name}: there are {names}")


def _entries(text: str) -> list[Any]:
    """Read the parameter's list. Raises ValueError, with a sentence, where it is none."""
    size = len(text.encode())
    if size > PARAMETER_BYTES:
        raise ValueError(
            f"the parameter is too large: it has {size:,} bytes, and SSM holds "
            f"{PARAMETER_BYTES:,} at most"
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
    """Name a definition as it names itself, if that can be shown; else by its place."""
    name = entry.get("name")
    fit = isinstance(name, str) and name.isascii() and name.isprintable()
    return name if name and fit and len(name) <= _MOST_QUOTED else _entry(number)


def _repetition(entry: _Object) -> tuple[str, str] | None:
    """Return the field that stands twice in a definition: JSON would take the last one unasked."""
    filters = entry.get("filters")
    for prefix, each in (("", entry), ("filters.", filters)):
        if isinstance(each, _Object) and each.repeated is not None:
            return f"{prefix}{each.repeated}", "it is given twice"
    return None


def _definition(entry: Mapping[str, Any], api_key: str) -> ReportDefinition:
    value = parse(event=dict(entry), model=_Definition)
    filters = value.filters
    if "include_message" in known_filters(value.product):
        # Message bodies are personal data: they come only where they are asked for.
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


def _first_reason(error: ValidationError) -> tuple[str, str]:
    """Return the first field that does not fit and what it takes, in words of our own.

    What stands in a filter is not quoted: it may be a phone number.
    """
    first: Any = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"] if part != "[key]"]
    field = ".".join(path)
    if not path:
        return "(JSON)", "a name in it is no valid Unicode text"
    if first["type"] == "extra_forbidden":
        return field, f"there is no such field: there are {', '.join(_Definition.model_fields)}"
    if first["type"] == "value_error":
        return field, str(first["ctx"]["error"])
    takes = f"it takes {_Definition.model_fields[path[0]].description}"
    if first["type"] == "missing":
        return field, f"it is missing; {takes}"
    return field, takes if path[0] == "filters" else f"{takes}, not {_quoted(first['input'])}"


def _quoted(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]}..."


def _problem(
    definition: ReportDefinition, accepted: Mapping[int, ReportDefinition]
) -> tuple[str, str] | None:
    """Return the field and the reason why a definition cannot stand beside those before it."""
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
            return "name", f"{_entry(number)}, of {other.product}, has this name already"
        if _collects_the_same(definition, other):
            return "name", f"{other.name} collects the same: each record would be billed twice"
    return None


def _collects_the_same(one: ReportDefinition, other: ReportDefinition) -> bool:
    """Whether two definitions ask Vonage, of one account at least, for the same reports."""
    accounts = [{account.lower() for account in each.account_ids} for each in (one, other)]
    return not accounts[0].isdisjoint(accounts[1]) and (
        (one.collects, one.include_subaccounts, one.delay_days)
        == (other.collects, other.include_subaccounts, other.delay_days)
    )


class ScheduledRun(BaseModel):
    """The calendar's run; the time is the schedule's, never the clock's."""

    scheduled_time: AwareDatetime


class Sweep(BaseModel):
    """Settle and submit, nothing else."""


class Resolution(BaseModel):
    """What a person says about a HELD report: that id is it, or (None) there is none."""

    model_config = ConfigDict(extra="forbid")

    report_id: str
    request_id: Annotated[str, AfterValidator(_an_id)] | None


class Recollection(BaseModel):
    """Collect a window again, once for each token; it is billed again."""

    model_config = ConfigDict(extra="forbid", strict=True)

    report_id: str
    token: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    dry_run: bool = False


class Reconversion(BaseModel):
    """Make dataset and manifest again from the archives; nothing is asked of Vonage."""

    model_config = ConfigDict(extra="forbid")

    report_id: str


def _a_date(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        raise ValueError("it is a date, such as 2026-01-31")
    return date.fromisoformat(value)


_Date = Annotated[date, BeforeValidator(_a_date)]


class BackfillRequest(BaseModel):
    """Collect a definition's windows between two local dates; `end` is exclusive."""

    model_config = ConfigDict(extra="forbid", strict=True)

    definition: str
    start: _Date
    end: _Date
    confirm: bool = False
    dry_run: bool = False


class Cancellation(BaseModel):
    """Plan nothing more of a backfill; what is in flight is finished."""

    model_config = ConfigDict(extra="forbid")

    backfill: str


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid")

    scheduled_time: Annotated[AwareDatetime, BeforeValidator(_text)] | None = None
    sweep: Literal[True] | None = None
    resolve: Resolution | None = None
    recollect: Recollection | None = None
    reconvert: Reconversion | None = None
    backfill: BackfillRequest | None = None
    cancel: Cancellation | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> "_Event":
        said = [name for name in self.model_fields_set if getattr(self, name) is not None]
        if len(said) != 1 or len(self.model_fields_set) != 1:
            names = ", ".join(sorted(self.model_fields_set)) or "nothing"
            raise ValueError(f"an event says one thing, with a value; it says {names}: see events/")
        return self


Request = (
    ScheduledRun | Sweep | Resolution | Recollection | Reconversion | BackfillRequest | Cancellation
)
"""What an event may say."""


def is_dry_run(asked: Request) -> TypeGuard[BackfillRequest | Recollection]:
    """Whether somebody only wants to know what an event would do: nothing is written."""
    return isinstance(asked, BackfillRequest | Recollection) and asked.dry_run


def parse_event(event: object) -> Request:
    """Parse what triggered submit_reports. Raises InvalidRequest.

    The event of a run's end is a wake-up, and means what a sweep means: its content, which may be
    late or out of order, is not read.
    """
    if not isinstance(event, dict):
        raise InvalidRequest("the event must be a JSON object: see events/")
    if event.get("source") == "aws.states":
        return Sweep()
    try:
        parsed = parse(event=event, model=_Event)
    except ValidationError as error:
        field, reason = _first_problem(error)
        raise InvalidRequest(f"the event's {field}: {reason}") from None
    if parsed.scheduled_time is not None:
        return ScheduledRun(scheduled_time=parsed.scheduled_time)
    said = (parsed.resolve, parsed.recollect, parsed.reconvert, parsed.backfill, parsed.cancel)
    return next((each for each in said if each is not None), Sweep())


def _first_problem(error: ValidationError) -> tuple[str, str]:
    first: Any = error.errors(include_url=False)[0]
    return ".".join(str(part) for part in first["loc"]) or "(value)", first["msg"].removeprefix(
        "Value error, "
    )
