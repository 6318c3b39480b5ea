"""What people write: report definitions and events, parsed with pydantic.

Only submit_reports imports this module; the other functions start without pydantic.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Annotated, Any, Literal
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
from vonage_reports.domain.products import direction_problem, known_filters
from vonage_reports.domain.windows import WindowLength


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
    if len(set(ids)) != len(ids):
        raise ValueError("an account stands in the list twice")
    return ids


_AccountId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{1,40}$")]


def _filter_value(value: object) -> object:
    if not isinstance(value, str | bool | int):
        raise ValueError("a filter is a text, a whole number, or true or false")  # noqa: TRY004 - pydantic's contract
    return value


def _an_id(value: str) -> str:
    if not value.strip("."):
        raise ValueError("that is no request_id: it is the one that Vonage's dashboard shows")
    return value


def _text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("a time is a text, such as 2026-11-22T02:15:00Z")  # noqa: TRY004 - as above
    return value


class _Definition(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,30}$")]
    product: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9-]{1,40}$")]
    account_ids: (
        Annotated[list[_AccountId], Field(min_length=1), AfterValidator(_distinct)] | None
    ) = None
    include_subaccounts: bool = False
    filters: dict[str, Annotated[Any, AfterValidator(_filter_value)]] = {}
    window: Annotated[WindowLength, Field(strict=False)] = WindowLength.DAY
    time_zone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    delay_days: Annotated[
        list[Annotated[int, Field(ge=0, le=90)]], Field(min_length=1), AfterValidator(_rising)
    ] = list(DEFAULT_DELAY_DAYS)
    max_records: Annotated[int, Field(ge=1)] = DEFAULT_MAX_RECORDS
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] | None = None


def parse_definitions(text: str, *, api_key: str) -> tuple[list[ReportDefinition], list[Refusal]]:
    """Parse the definitions parameter; what cannot be carried out is refused, one by one.

    `api_key` is the account of a definition that names none.
    """
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        return [], [Refusal("(all)", "(JSON)", f"the parameter is not valid JSON: {error}")]
    if not isinstance(entries, list):
        return [], [Refusal("(all)", "(JSON)", "the parameter must be a list of definitions")]
    accepted: list[ReportDefinition] = []
    refused: list[Refusal] = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            refused.append(Refusal(f"(entry {number})", "(JSON)", "it must be an object"))
            continue
        name = str(entry.get("name") or f"(entry {number})")
        try:
            definition = _definition(entry, api_key)
        except ValidationError as error:
            refused += [Refusal(name, *_first_problem(error))]
            continue
        problem = _problem(definition, accepted)
        if problem:
            refused.append(Refusal(name, *problem))
        else:
            accepted.append(definition)
    return accepted, refused


def definition_named(
    name: str, accepted: Sequence[ReportDefinition], refused: Sequence[Refusal]
) -> ReportDefinition:
    """Return the definition of that name. Raises InvalidRequest where there is none to use."""
    for definition in accepted:
        if definition.name == name:
            return definition
    for refusal in refused:
        if refusal.definition in (name, "(all)"):
            raise InvalidRequest(f"{refusal.definition}, {refusal.field}: {refusal.reason}")
    names = ", ".join(definition.name for definition in accepted) or "none"
    raise InvalidRequest(f"there is no report definition {name}: there are {names}")


def _definition(entry: dict[str, Any], api_key: str) -> ReportDefinition:
    value = parse(event=entry, model=_Definition)
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


def _problem(
    definition: ReportDefinition, accepted: Sequence[ReportDefinition]
) -> tuple[str, str] | None:
    """Return the field and the reason why a definition cannot stand beside those before it."""
    direction = direction_problem(definition.product, definition.filters.get("direction"))
    if direction:
        return "filters.direction", direction
    for other in accepted:
        if other.name == definition.name:
            return "name", "another definition has this name"
        alike = replace(other, name=definition.name, account_ids=definition.account_ids)
        if alike == definition and set(other.account_ids) & set(definition.account_ids):
            return "name", f"{other.name} collects the same: each record would be billed twice"
    return None


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


Asked = (
    ScheduledRun | Sweep | Resolution | Recollection | Reconversion | BackfillRequest | Cancellation
)
"""What an event may say."""


def parse_event(event: object) -> Asked:
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
