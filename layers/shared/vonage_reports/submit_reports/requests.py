"""The events for submit_reports, parsed with pydantic: one class for each.

A new event of the operator is a subclass of OperatorRequest, an example in `events/` and a line in
docs/events.md.
"""

import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Literal, TypeGuard

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from vonage_reports.domain.acceptance import Acceptable
from vonage_reports.domain.backfill import Backfill, checked_backfill, closed_accounts
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.settings import Settings
from vonage_reports.submit_reports import backfills, reprocess
from vonage_reports.submit_reports.context import Invocation, Services, StepResult
from vonage_reports.submit_reports.plan import require_unchanged
from vonage_reports.submit_reports.read_definitions import (
    LoadedDefinitions,
    first_problem,
    load_currencies,
    load_definitions,
)
from vonage_reports.submit_reports.reprocess import resolve
from vonage_reports.submit_reports.spend_cap import records_left
from vonage_reports.submit_reports.take_over import taken_over_definitions
from vonage_reports.submit_reports.withdraw import withdraw, withdraw_windows

_A_TIME = "a time with its offset from UTC, such as 2026-11-22T02:15:00Z"
_A_DATE = "a date, such as 2026-01-31"
_REQUEST_ID = "the request_id that Vonage's dashboard shows, or null"


def _string(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(f"takes {_A_TIME}")  # noqa: TRY004 - pydantic reports ValueError alone
    return value


def _date(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        return date.fromisoformat(value)
    raise ValueError(f"takes {_A_DATE}")


def _request_id(value: str) -> str:
    # It becomes a segment of a URL's path.
    if not value.strip("."):
        raise ValueError(f"takes {_REQUEST_ID}")
    return value


_AN_ACCOUNT = "an account of the definition, such as abcd1234"
_BACKFILL_ACCOUNT = f"{_AN_ACCOUNT}. Without it, every account except closed and suspended ones"
_Definition = Annotated[str, Field(description="the name of a report definition")]
_ReportId = Annotated[str, Field(description="the report_id of a notification or manifest")]
_Date = Annotated[date, BeforeValidator(_date), Field(description=_A_DATE)]
_Flag = Annotated[bool, Field(description="true or false")]
_A_LIST_OF_ACCEPTABLE = f"a list of {', '.join(Acceptable)}"
_Acceptable = Annotated[Acceptable, Field(strict=False, description=_A_LIST_OF_ACCEPTABLE)]


@dataclass(frozen=True)
class RequestContext:
    """The arguments of an operator's request."""

    services: Services
    settings: Settings
    invocation: Invocation
    now: datetime


def _left_this_month(context: RequestContext, *, is_backfill: bool) -> dict[str, int | None]:
    """Return the records that the month's cap leaves; None without a cap."""
    left = records_left(
        context.services.ledger,
        cap=context.settings.max_billed_records_month,
        is_backfill=is_backfill,
        now=context.now,
    )
    return {"records_left_this_month": left}


class Request(BaseModel):
    """A trigger of submit_reports. Its event has one key, `key`, with the fields as its value."""

    model_config = ConfigDict(extra="forbid", strict=True)

    key: ClassVar[str]


class ScheduledRun(Request):
    """Plan the windows that are due at the time of the schedule, never of the clock."""

    key = "scheduled_time"

    scheduled_time: Annotated[
        AwareDatetime, BeforeValidator(_string), Field(strict=False, description=_A_TIME)
    ]


class Sweep(Request):
    """Settle, submit and monitor."""

    key = "sweep"

    sweep: Annotated[Literal[True], Field(description="true")] = True


class OperatorRequest(Request):
    """An operator's request, on top of a pass that settles and submits."""

    @abstractmethod
    def carry_out(self, context: RequestContext) -> StepResult:
        """Carry out the request, before the other steps; return the reports that it planned.

        Raises InvalidRequest, having written nothing, if the operator has to change the event.
        """

    def outlook(self, context: RequestContext) -> dict[str, Any]:
        """Return the effect of `carry_out`; write nothing. Requests with a `dry_run` have it."""
        raise NotImplementedError


class Resolution(OperatorRequest):
    """Adopt the Vonage report of a HELD report, or (None) create one."""

    key = "resolve"

    report_id: _ReportId
    request_id: Annotated[
        Annotated[str, AfterValidator(_request_id)] | None, Field(description=_REQUEST_ID)
    ]
    hold: Annotated[int | None, Field(description="the hold of the notification, or none")] = None

    def carry_out(self, context: RequestContext) -> StepResult:
        """Resolve the hold."""
        resolve(self.report_id, self.request_id, context.services, now=context.now, hold=self.hold)
        return StepResult()


class Recollection(OperatorRequest):
    """Collect a window again, once per token. Vonage bills it again."""

    key = "recollect"

    report_id: _ReportId
    token: Annotated[
        Annotated[str, StringConstraints(min_length=1, max_length=100)] | None,
        Field(description="a string of 1 to 100 characters"),
    ] = None
    confirm: _Flag = False
    dry_run: _Flag = False

    def carry_out(self, context: RequestContext) -> StepResult:
        """Plan the report again."""
        return reprocess.recollect(
            self.report_id,
            self.token or context.invocation.owner,
            context.services,
            now=context.now,
            currencies=load_currencies(context.services),
            confirmed=self.confirm,
        )

    def outlook(self, context: RequestContext) -> dict[str, Any]:
        """Return the cost of collecting the window again."""
        outlook = reprocess.outlook(self.report_id, context.services)
        return {**outlook, **_left_this_month(context, is_backfill=False)}


class Reconversion(OperatorRequest):
    """Make dataset and manifest again from the archives, without a request to Vonage."""

    key = "reconvert"

    report_id: _ReportId
    accept: Annotated[list[_Acceptable], Field(description=_A_LIST_OF_ACCEPTABLE)] = []

    def carry_out(self, context: RequestContext) -> StepResult:
        """Start the conversion."""
        reprocess.reconvert(
            self.report_id,
            context.services,
            now=context.now,
            currencies=load_currencies(context.services),
            accept=self.accept,
        )
        return StepResult()


class Withdrawal(OperatorRequest):
    """End an open or failed report; only a recollection plans its window again."""

    key = "withdraw"

    report_id: _ReportId

    def carry_out(self, context: RequestContext) -> StepResult:
        """Withdraw the report."""
        return withdraw(self.report_id, context.services, now=context.now)


class WithdrawalOfWindows(OperatorRequest):
    """End all open and failed reports of one account whose windows begin in a range of dates."""

    key = "withdraw_windows"

    definition: _Definition
    account_id: Annotated[str, Field(description=_AN_ACCOUNT)]
    start: _Date
    end: _Date

    def carry_out(self, context: RequestContext) -> StepResult:
        """Withdraw the reports."""
        return withdraw_windows(
            self.definition,
            self.account_id,
            (self.start, self.end),
            context.services,
            context.invocation,
            now=context.now,
        )


class BackfillRequest(OperatorRequest):
    """Collect a definition's windows between two local dates; `end` is exclusive.

    `account_id` is the only account, perhaps a sub-account that is closed or suspended.
    """

    key = "backfill"

    definition: _Definition
    start: _Date
    end: _Date
    account_id: Annotated[str | None, Field(description=_BACKFILL_ACCOUNT)] = None
    confirm: _Flag = False
    dry_run: _Flag = False

    def carry_out(self, context: RequestContext) -> StepResult:
        """Begin the backfill. The pass plans its windows as slots become free."""
        limit, services = context.settings.max_billed_records, context.services
        work, calendar = services.ledger.open_work(), services.ledger.calendar()
        loaded = taken_over_definitions(services, work, calendar)
        backfills.begin(self._backfill(loaded, context), services, max_billed_records=limit)
        return StepResult()

    def outlook(self, context: RequestContext) -> dict[str, Any]:
        """Return the windows of the backfill and their cost."""
        loaded = load_definitions(context.services)
        backfill = self._backfill(loaded, context)
        outlook = backfills.outlook(backfill, context.services)
        closed = closed_accounts(backfill, loaded.named(self.definition))
        return {**outlook, "closed_accounts": closed, **_left_this_month(context, is_backfill=True)}

    def _backfill(self, loaded: LoadedDefinitions, context: RequestContext) -> Backfill:
        definition = loaded.named(self.definition)
        require_unchanged(definition, context.services)
        return checked_backfill(
            definition,
            self.start,
            self.end,
            confirmed=self.confirm,
            now=context.now,
            account_id=self.account_id,
        )


class Cancellation(OperatorRequest):
    """Stop a backfill. Windows in flight are finished."""

    key = "cancel"

    backfill: Annotated[str, Field(description="the name of a backfill")]

    def carry_out(self, context: RequestContext) -> StepResult:
        """Cancel it, and the reports that Vonage was not asked for yet."""
        backfills.cancel(self.backfill, context.services, now=context.now)
        return StepResult()


_MODELS: tuple[type[Request], ...] = (ScheduledRun, Sweep, *OperatorRequest.__subclasses__())

REQUESTS: Mapping[str, type[Request]] = {model.key: model for model in _MODELS}
"""Every request by the key of its event."""


def is_dry_run(request: Request) -> TypeGuard[OperatorRequest]:
    """Whether the operator wants only the outlook, and nothing written."""
    return isinstance(request, OperatorRequest) and bool(getattr(request, "dry_run", False))


def _undelivered(record: Mapping[str, Any]) -> Request:
    """Parse the record of an event that Lambda gave up, as the dead-letter queue keeps it.

    A recollection gets the id of that invocation as its token: the invocation may have followed it.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    request = parse_event(record["requestPayload"])
    context = record.get("requestContext")
    token = context.get("requestId") if isinstance(context, dict) else None
    if isinstance(request, Recollection) and request.token is None and isinstance(token, str):
        return request.model_copy(update={"token": token})
    return request


def parse_event(event: object) -> Request:
    """Parse the event that triggered submit_reports. Raises InvalidRequest.

    The end of a workflow's run is a sweep. Its content is not read: EventBridge may deliver it
    late, twice or out of order.
    """
    if not isinstance(event, dict):
        raise InvalidRequest("the event must be a JSON object: see events/")
    if event.get("source") == "aws.states":
        return Sweep()
    if "requestPayload" in event:
        return _undelivered(event)
    if len(event) != 1:
        keys = ", ".join(sorted(event)) or "none"
        raise InvalidRequest(f"an event takes exactly one key, this one has {keys}: see events/")
    ((key, value),) = event.items()
    model = REQUESTS.get(key)
    if model is None:
        raise InvalidRequest(f"{key}: no such event; the events are {', '.join(REQUESTS)}")
    # The schedules' events are flat: {"sweep": true}.
    is_flat = key in model.model_fields
    try:
        return model.model_validate(event if is_flat else value)
    except ValidationError as error:
        field, reason = first_problem(error, model)
        path = field if is_flat else ".".join(filter(None, [key, field]))
        raise InvalidRequest(f"{path}: {reason}") from None
