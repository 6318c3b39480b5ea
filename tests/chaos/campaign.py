"""One seed: a week of several definitions under faults, until every report is finished.

The handlers and the workflow are the deployed ones. The simulator stands in for Vonage, fakes for
AWS. All of them run in this process, in virtual time.
"""

import contextlib
import hashlib
import importlib.util
import io
import json
import logging
import os
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from random import Random
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol
from unittest.mock import patch

import boto3
from boto3.dynamodb.types import TypeDeserializer
from botocore.exceptions import BotoCoreError, ClientError
from requests.adapters import HTTPAdapter

from local.simulator.settings import Settings
from local.simulator.simulation import Account
from local.stack.template import read_template
from tests.chaos import callbacks, refusals
from tests.chaos.answers import StrangeAnswers
from tests.chaos.callbacks import Callbacks
from tests.chaos.fake_aws import (
    BUCKET,
    DATABASE,
    MACHINE,
    PARAMETER,
    REGION,
    SECRET,
    TABLE,
    TOPIC,
    Execution,
    FakeAws,
)
from tests.chaos.fault_plan import FaultPlan, LedgerFaults, Outage
from tests.chaos.virtual_time import Invocation, VirtualTime
from tests.chaos.vonage import Vonage, with_secret
from tests.chaos.watch import OVERDUE_HOURS, Watch
from tests.chaos.workflow import Call, StateError, Steps, Wait, Workflow
from tests.support.paths import ROOT
from vonage_reports.aws.ledger import Ledger
from vonage_reports.aws.ledger_items import OpenWork, report_of
from vonage_reports.aws.secrets import cached_credentials
from vonage_reports.domain.definitions import SUBACCOUNTS
from vonage_reports.domain.errors import InvalidRequest, VonageReportsError
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.spend import month_of
from vonage_reports.domain.subaccounts import UNKNOWN
from vonage_reports.submit_reports import read_definitions, withdraw
from vonage_reports.submit_reports.context import Services
from vonage_reports.vonage.answers import Deadline

FUNCTIONS = (
    *("submit_reports", "check_report", "store_report", "convert_report", "receive_callback"),
)
API_KEY, SUBACCOUNT, NEW_ACCOUNT, OTHER_KEY = "abcd1234", "subacct1", "newacct1", "other999"
DAYS = 7
FIRST_DAYS = (datetime(2026, 10, 21, tzinfo=UTC), datetime(2026, 11, 3, tzinfo=UTC))
"""London's clocks go back in the first of these weeks."""
PATIENCE = timedelta(days=18)
"""After the last fault. An unfinished report is given up after two days, three times. A refused one
fails after seven days, and then its window's preliminary revision after seven more."""

_HOURLY: Mapping[str, Any] = {
    "name": "hourly", "product": "VOICE-CALL", "window": "hour", "delay_days": [0],
}  # fmt: skip

_DEFINITIONS: tuple[Mapping[str, Any], ...] = (
    {
        "name": "sms",
        "product": "SMS",
        "filters": {"direction": "outbound"},
        "time_zone": "Europe/London",
        "delay_days": [0, 3],
    },
    {"name": "voice", "product": "VOICE-CALL", "account_ids": [API_KEY, SUBACCOUNT],
     "delay_days": [1]},
    {"name": "verify", "product": "VERIFY-V2", "delay_days": [0]},
    {"name": "messages", "product": "MESSAGES", "filters": {"direction": "inbound"},
     "window": "week", "delay_days": [0, 1]},
)  # fmt: skip


@dataclass(frozen=True)
class CalendarRun:
    """A run of the calendar: the scheduled time, its success, and the definitions that it read."""

    at: datetime
    succeeded: bool
    definitions: str = ""
    """With the accounts of each, those that Vonage listed at that time included."""
    without_accounts: frozenset[str] = frozenset()
    """The names that were refused because their sub-accounts were not known."""


@dataclass
class Outcome:
    """The result of a seed, for the invariants."""

    seed: int
    definitions: list[dict[str, Any]]
    aws: FakeAws
    vonage: Vonage
    reports: list[Report]
    open_work: OpenWork
    scheduled: list[CalendarRun]
    operator_events: list[dict[str, Any]]
    """The operator's events, each as often as it was sent. A recollection has its token."""
    broken_on_the_way: list[str]
    """The promises that were broken at some time."""
    unexpected_errors: list[str]
    """Errors of a function that no planned fault explains."""
    secrets: list[str]
    logs: str
    trace: str
    """A digest of every call and its outcome. Two runs of a seed have the same trace."""
    unable_to_abort: int
    """How often store_report was killed, or S3 refused to abort an upload: each may stay open."""
    at_rest: bool
    invocations: int
    woken: Mapping[str, int] = field(default_factory=dict)
    """How many waits each callback ended, by the SHA-256 of its path."""
    paths: list[str] = field(default_factory=list)
    """The paths that Vonage calls."""
    created: Mapping[str, datetime] = field(default_factory=dict)
    """When Vonage created a sub-account, by its own clock."""
    suspended: Mapping[str, datetime] = field(default_factory=dict)
    """When Vonage suspended a sub-account."""
    reactivated: Mapping[str, datetime] = field(default_factory=dict)
    """When Vonage ended the suspension."""


@cache
def _app(function: str) -> ModuleType:
    path = ROOT / "functions" / function / "app.py"
    spec = importlib.util.spec_from_file_location(f"chaos_{function}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # The logger keeps the stream that it finds at import.
    with contextlib.redirect_stdout(_LOGS):
        spec.loader.exec_module(module)
    if function == "submit_reports":
        vars(module)["reconcile"] = _recorded(module.reconcile)
    return module


def _recorded(reconcile: Callable[..., Any]) -> Callable[..., Any]:
    accept = read_definitions.accepted_definitions
    of_thread = threading.local()  # each invocation is a thread

    def accept_and_record(*arguments: Any, api_key: str) -> Any:
        of_thread.api_key = api_key
        return accept(*arguments, api_key=api_key)

    vars(read_definitions)["accepted_definitions"] = accept_and_record

    def go(*arguments: Any, **more: Any) -> Any:
        result = reconcile(*arguments, **more)
        owner = arguments[3].owner
        _STEP_ERRORS[owner] = list(result.errors)
        _API_KEYS[owner] = getattr(of_thread, "api_key", "")
        _WITHOUT_ACCOUNTS[owner] = frozenset(
            each["definition"]
            for each in result.answer["refused"]
            if each["reason"].startswith(UNKNOWN)
        )
        return result

    return go


_LOGS = io.StringIO()
_STEP_ERRORS: dict[str, list[Exception]] = {}
"""The errors that a pass collected, by the request id. The function raises only the first."""
_API_KEYS: dict[str, str] = {}
"""The API key of a pass, by the request id. The secret may have changed since."""
_WITHOUT_ACCOUNTS: dict[str, frozenset[str]] = {}
"""The definitions that a pass refused because their sub-accounts were not known."""


@cache
def _timeouts() -> dict[str, int]:
    resources = read_template(ROOT / "template.yaml")["Resources"]
    names = {each: each.title().replace("_", "") + "Function" for each in FUNCTIONS}
    return {each: resources[name]["Properties"]["Timeout"] for each, name in names.items()}


@dataclass(frozen=True)
class SeedKind:
    """The kinds of trouble that a seed has as a whole."""

    crowd: tuple[str, ...]
    """The accounts of which hundreds of reports wait for a Vonage that cannot be reached."""
    wrong_secret: str | None
    clock_error: timedelta
    """How far Vonage's clock is ahead of ours."""
    follows: bool = False
    """Whether a definition follows Vonage's list of sub-accounts."""
    calls_back: bool = False
    """Whether Vonage calls the stack when a report ends."""

    @classmethod
    def of(cls, random: Random) -> "SeedKind":
        """Draw a seed's kinds."""
        crowd = random.choice([(API_KEY,), (API_KEY,), (API_KEY, SUBACCOUNT)])
        errors = [0, 0, 0, 0, random.uniform(-300, 300), random.uniform(-3600, 3600)]
        return cls(
            crowd=crowd if random.random() < 0.015 else (),
            wrong_secret=random.choice([*[None] * 6, "mistyped", "mistyped_key", "other_key"]),
            clock_error=timedelta(seconds=random.choice(errors)),
            follows=random.random() < 0.25,
            calls_back=random.random() < 0.3,
        )


@dataclass(frozen=True)
class _Context:
    """The context that Lambda passes to a handler."""

    invocation: Invocation
    function_name: str
    aws_request_id: str
    memory_limit_in_mb: int = 512

    @property
    def invoked_function_arn(self) -> str:
        return f"arn:aws:lambda:{REGION}:123456789012:function:{self.function_name}"

    def get_remaining_time_in_millis(self) -> int:
        return int(self.invocation.seconds_left() * 1000)


class _Over(Protocol):
    """A callback at the end of an invocation and its retries."""

    def __call__(self, *, good: bool) -> None:
        """`good`: whether one of them succeeded."""


def _ignored(*, good: bool) -> None:
    del good


@dataclass
class Campaign:
    """The running stack of one seed."""

    seed: int
    folder: Path
    random: Random = field(init=False)
    definitions: list[dict[str, Any]] = field(init=False)
    """The definitions at the start; `current` has the present ones."""
    current: list[dict[str, Any]] = field(init=False)
    operator_events: list[dict[str, Any]] = field(default_factory=list)
    scheduled: list[CalendarRun] = field(default_factory=list)
    watch: Watch = field(default_factory=Watch)
    created: dict[str, datetime] = field(default_factory=dict)
    suspended: dict[str, datetime] = field(default_factory=dict)
    reactivated: dict[str, datetime] = field(default_factory=dict)
    unexpected_errors: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    woken: Counter[str] = field(default_factory=Counter)
    invocations: int = 0
    killed_storing: int = 0
    expected: int = 0
    """Events of the operator and of the calendar that are still to come."""
    _running: int = 0
    _executing: int = 0
    _notifications_read: int = 0
    _wait: float = 300
    _sweeps: int = 0
    _mistakes: int = 0
    """The operator's mistakes that are not corrected yet."""

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        # A stream of their own, so that a new kind of fault leaves the others as they are.
        self.kinds = Random(f"{self.seed} kinds")
        start = self.random.choice(FIRST_DAYS)
        self.virtual_time = VirtualTime(start)
        self.faults_end = start + timedelta(days=DAYS + 1)
        # The word is part of the seed: another word would change every run.
        self.fault_plan = FaultPlan(Random(f"{self.seed} weather"), start, self.faults_end)
        self.digest = hashlib.sha256()
        ledger_faults = LedgerFaults(Random(f"{self.seed} ledger"), start, self.faults_end)
        self.aws = FakeAws(
            self.virtual_time,
            self.fault_plan,
            self._latency,
            self._execute,
            self._note,
            ledger_faults,
        )
        self.aws.period_written = self._period_written
        self.definitions = [dict(each) for each in _DEFINITIONS if self.random.random() < 0.7] or [
            dict(_DEFINITIONS[0])
        ]
        if self.random.random() < 0.5:
            for each in self.definitions:
                each["max_records"] = 60
        self.kind = SeedKind.of(Random(f"{self.seed} kind"))
        if self.kind.crowd:
            self.definitions = [{**_HOURLY, "account_ids": list(self.kind.crowd)}]
            closed = Outage("vonage", {"fault": "unreachable"}, start, start + timedelta(days=5))
            self.fault_plan.outages.append(closed)
        elif self.kind.follows:
            self._follow(Random(f"{self.seed} follows"), start)
        # An archive of more than 8 MB is uploaded in parts.
        is_large = self.random.random() < 0.08
        self.fault_plan.of_downloads = 0.5 if is_large else 0
        self.secrets.append(f"5ecret-{self.random.getrandbits(64):016x}")
        self.vonage = Vonage(
            Account(api_key=API_KEY, api_secret=self.secrets[0], others=(SUBACCOUNT,)),
            Settings(
                rows_per_day=24,
                rows_per_day_by_product={"VERIFY-V2": 90, "MESSAGES": 30_000 if is_large else 3},
                max_records=10**6 if is_large else 60,
                requests_per_second=0,
                seconds_per_report=self.random.choice([10, 120, 900]),
                empty_report=self.random.choice(["header_only", "zero_bytes", "no_link"]),
                callbacks_to="the stack" if self.kind.calls_back else "",
            ),
            self.folder,
            virtual_time=self.virtual_time,
            fault_plan=self.fault_plan,
            random=Random(f"{self.seed} vonage"),
            strange=StrangeAnswers(Random(f"{self.seed} answers"), self.faults_end),
            clock_error=self.kind.clock_error,
            another=Account(api_key=OTHER_KEY, api_secret="another5ecret", others=()),
        )
        self.vonage.refusals = refusals.draw(
            Random(f"{self.seed} refusals"),
            start=start,
            end=self.faults_end,
            accounts=(API_KEY, SUBACCOUNT),
            products=[each["product"] for each in self.definitions],
        )
        if self.kind.calls_back:
            self.vonage.callbacks = Callbacks(
                self.vonage.simulation,
                self.virtual_time,
                Random(f"{self.seed} callbacks"),
                self._receive,
            )
        self.cap = Random(f"{self.seed} cap").choice([*[0] * 7, 40, 150])
        self.workflow = Workflow.of_file(
            ROOT / "functions/report_workflow.asl.yaml",
            {
                **{each.title().replace("_", "") + "FunctionArn": each for each in FUNCTIONS},
                "TopicArn": TOPIC,
                "CallbackTableName": callbacks.TABLE,
            },
        )

    def _follow(self, random: Random, start: datetime) -> None:
        """Let a daily definition follow the sub-accounts, whose list may be out for days."""
        daily = [each for each in self.definitions if "window" not in each]
        random.choice(daily or self.definitions)["account_ids"] = SUBACCOUNTS
        if random.random() < 0.5:
            begins = start + timedelta(days=DAYS * random.random())
            ends = min(begins + timedelta(days=random.choice([0.5, 2, 4])), self.faults_end)
            how = random.choice(
                [
                    {"fault": "status", "status": 503},
                    {"fault": "status", "status": 403, "body": '{"title": "Forbidden"}'},
                    {"fault": "status", "status": 429, "retry_after": 7200},
                    {"fault": "distorted", "how": "pages"},
                ]
            )
            self.fault_plan.outages.insert(0, Outage("vonage", how, begins, ends, "subaccounts"))

    def _schedule_sub_accounts(self) -> None:
        """Let Vonage create one sub-account and suspend another."""
        random, start = Random(f"{self.seed} changes of sub-accounts"), self.virtual_time.now
        if random.random() < 0.7:
            self._expect(start + timedelta(days=0.5 + DAYS * random.random()), self._create)
        if random.random() < 0.4:
            when = start + timedelta(days=0.5 + DAYS * random.random())
            self._expect(when, self._suspend)
            if random.random() < 0.6:
                self._expect(when + timedelta(days=3 * random.random()), self._reactivate)

    def _create(self) -> None:
        created = (self.virtual_time.now + self.kind.clock_error).replace(microsecond=0)
        self.created[NEW_ACCOUNT] = created
        self._set_at_vonage(created_accounts={NEW_ACCOUNT: f"{created:%Y-%m-%dT%H:%M:%SZ}"})

    def _suspend(self) -> None:
        self.suspended[SUBACCOUNT] = self.virtual_time.now
        self._set_at_vonage(suspended_accounts=[SUBACCOUNT])

    def _reactivate(self) -> None:
        self.reactivated[SUBACCOUNT] = self.virtual_time.now
        self._set_at_vonage(suspended_accounts=[])

    def _set_at_vonage(self, **changes: object) -> None:
        world = self.vonage.simulation.world
        world.settings = world.settings.changed(changes)

    def _listed(self, api_key: str) -> list[str]:
        """Return the accounts that Vonage lists now."""
        if api_key != API_KEY:
            return [api_key]
        suspended = self.suspended.keys() - self.reactivated.keys()
        return sorted({API_KEY, SUBACCOUNT, *self.created} - suspended)

    def run(self) -> Outcome:
        """Run a week, and then until every report is finished."""
        self.current = list(self.definitions)
        self.aws.define(json.dumps(self.current))
        self._put_secret(self.secrets[0])
        ledger = Ledger(boto3.resource("dynamodb").Table(TABLE))
        self.ledger = ledger
        for function in FUNCTIONS:
            self._start_cold(function)
        self._schedule_calendar()
        self._schedule_operator_events()
        self._schedule_changes()
        # The operator raises the cap after the faults.
        os.environ[_CAP] = str(self.cap)
        self.virtual_time.at(self.faults_end, lambda: os.environ.update({_CAP: "0"}))
        if self.kind.follows:
            self._schedule_sub_accounts()
        if self.kind.calls_back:
            os.environ["CALLBACK"] = "function-url"
            self._schedule_strangers()
        self.virtual_time.after(300, self._sweep)
        end = self.faults_end + PATIENCE
        at_rest = False
        while self.virtual_time.now < end and self.virtual_time.step():
            if self.virtual_time.now > self.faults_end and self._is_quiet():
                at_rest = True
                break
        self._close_periods()
        self.watch.items(self.aws.table.items)
        return Outcome(
            seed=self.seed,
            definitions=json.loads(
                _with_accounts(json.dumps(self.current), API_KEY, self._listed(API_KEY))
            ),
            aws=self.aws,
            vonage=self.vonage,
            reports=self._reports(),
            open_work=ledger.open_work(),
            scheduled=self.scheduled,
            operator_events=self.operator_events,
            broken_on_the_way=[*self.watch.broken, *self.vonage.followed],
            unexpected_errors=self.unexpected_errors,
            secrets=self.secrets,
            logs=_LOGS.getvalue(),
            trace=self.digest.hexdigest(),
            unable_to_abort=self.killed_storing + self.aws.refused_aborts,
            at_rest=at_rest,
            invocations=self.invocations,
            woken=self.woken,
            paths=self.vonage.callbacks.paths if self.vonage.callbacks else [],
            created=self.created,
            suspended=self.suspended,
            reactivated=self.reactivated,
        )

    def _close_periods(self) -> None:
        """Sweep until every complete period is announced: each sweep announces one number.

        An account that is not listed any more keeps its periods open for seven days.
        """
        over: list[bool] = []
        hours_later = (2, 4, 6, 8 * 24)
        for hours in hours_later:
            self.virtual_time.after(
                hours * 3600,
                lambda: self._submit(
                    {"sweep": True}, over=lambda *, good: over.append(good), retries=0
                ),
            )
        while len(over) < len(hours_later) and self.virtual_time.step():
            pass

    # Events from outside.

    def _schedule_calendar(self) -> None:
        day, missing = self.virtual_time.now, 0
        for number in range(DAYS + 2):
            at = day + timedelta(days=number, hours=2, minutes=15)
            last = number == DAYS + 1
            if number and not last and missing == 0 and self.random.random() < 0.15:
                missing = self.random.choice([1, 1, 2, 4])
            if missing and not last:
                missing -= 1
                continue
            late = 0.0
            if not last and self.random.random() < 0.2:
                late = self.random.choice([60, 3600, 40 * 3600])
            times = 2 if self.random.random() < 0.2 else 1
            for _ in range(times):
                apart = self.random.choice([0, 0, 1, 600]) if times > 1 else 0
                self._expect(at + timedelta(seconds=late + apart), self._scheduled(at))

        if self.kind.crowd:
            # Planning stops while too many reports are open, and a later run goes on.
            for days in range(1, 6):
                self._expect(at + timedelta(days=days), self._scheduled(at))

    def _scheduled(self, at: datetime) -> Callable[[], None]:
        def go() -> None:
            request_id = f"request-{self.invocations + 1}"

            def over(*, good: bool) -> None:
                read = self.aws.definitions_read.get(self._ended.number, "")
                if not good:
                    self.scheduled.append(CalendarRun(at, good, read))
                    return
                key = _API_KEYS[request_id]
                written = _with_accounts(read, key, self._listed(key))
                refused = _WITHOUT_ACCOUNTS[request_id]
                self.scheduled.append(CalendarRun(at, good, written, refused))

            event = {"scheduled_time": f"{at:%Y-%m-%dT%H:%M:%SZ}"}
            self._submit(event, over=over, request_id=request_id)

        return go

    def _schedule_operator_events(self) -> None:
        start = self.virtual_time.now
        random = self.random
        if random.random() < 0.4:
            daily = [each for each in self.definitions if "window" not in each]
            if daily:
                of = random.choice(daily)
                first = start - timedelta(days=random.randrange(5, 9))
                event = {
                    "backfill": {
                        "definition": of["name"],
                        "start": f"{first:%Y-%m-%d}",
                        "end": f"{first + timedelta(days=random.randrange(2, 5)):%Y-%m-%d}",
                    }
                }
                self._send_later(start + timedelta(days=5 * random.random()), lambda: event)
        if random.random() < 0.3:
            self._send_later(start + timedelta(days=1 + 5 * random.random()), self._cancellation)
        for _ in range(random.choice([0, 1, 2])):
            self._send_later(start + timedelta(days=2 + 6 * random.random()), self._recollection)
        for _ in range(random.choice([0, 1])):
            self._send_later(start + timedelta(days=2 + 6 * random.random()), self._reconversion)
        if random.random() < 0.3:
            self._expect(start + timedelta(days=1 + 5 * random.random()), self._rotate)
        self._schedule_operator_mistakes(start)

    def _schedule_operator_mistakes(self, start: datetime) -> None:
        random = self.random
        if random.random() < 0.2:
            self._mistake(start + timedelta(days=DAYS * random.random()), "secret", lambda: "{}")
        if random.random() < 0.3:
            wrong = random.choice([lambda: "[", self._with_a_wrong_definition])
            self._mistake(start + timedelta(days=DAYS * random.random()), "definitions", wrong)
        if random.random() < 0.3:
            for _ in range(3):
                self._expect(start + timedelta(days=DAYS * random.random()), self._abort_a_run)

    def _mistake(self, when: datetime, name: str, wrong: Callable[[], str]) -> None:
        """Let the operator set a wrong value, and correct it some hours later."""

        def mend(made: str) -> None:
            self._mistakes -= 1
            # A rotation, a change or another mistake may have replaced the value already.
            if getattr(self.aws, name) == made:
                self._set(name, self._right(name))

        def go() -> None:
            self._mistakes += 1
            made = wrong()
            self._set(name, made)
            later = self.virtual_time.now + timedelta(hours=self.random.uniform(0.5, 20))
            self._expect(later, lambda: mend(made))

        self._expect(when, go)

    def _right(self, name: str) -> str:
        if name == "definitions":
            return json.dumps(self.current)
        return json.dumps({"api_key": API_KEY, "api_secret": self.secrets[-1]})

    def _set(self, name: str, value: str) -> None:
        if name == "definitions":
            self.aws.define(value)
        else:
            self.aws.secret = value

    def _with_a_wrong_definition(self) -> str:
        return json.dumps([*self.current, {"name": "voice-2"}])

    def _wrong_secret(self) -> str:
        """Return a secret of another account, or with a mistyped key or secret."""
        right = {"api_key": API_KEY, "api_secret": self.secrets[-1]}
        wrong = {
            "mistyped": {"api_secret": self.secrets[-1][:-1]},
            "mistyped_key": {"api_key": f"{API_KEY}5"},
            "other_key": {"api_key": OTHER_KEY, "api_secret": "another5ecret"},
        }
        return json.dumps({**right, **wrong[self.kind.wrong_secret or "mistyped"]})

    def _schedule_changes(self) -> None:
        """Let the operator change definitions, mistype a secret and withdraw reports."""
        kinds, start = self.kinds, self.virtual_time.now
        if self.kind.wrong_secret:
            when = start + timedelta(days=DAYS * kinds.random())
            self._mistake(when, "secret", self._wrong_secret)
        changes = [_longer, _shorter, _wider, _absent]
        if kinds.random() < 0.3 and not self.kind.crowd:
            change, name = kinds.choice(changes), kinds.choice(self.definitions)["name"]
            for_good = kinds.random() < 0.5
            when = start + timedelta(days=1 + (DAYS - 1.5) * kinds.random())
            self._expect(when, lambda: self._redefine(name, change))
            if change is _absent and not for_good:
                original = next(each for each in self.definitions if each["name"] == name)
                later = when + timedelta(days=kinds.choice([0.5, 1, 2]))
                self._expect(later, lambda: self._redefine(name, lambda _: original))
        if kinds.random() < 0.25:
            for _ in range(4):
                self._send_later(start + timedelta(days=9 * kinds.random()), self._withdrawal)

    def _redefine(
        self, name: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]
    ) -> None:
        now = [each for each in self.current if each["name"] != name]
        before = next((each for each in self.current if each["name"] == name), {})
        after = change(before)
        # Written whole, so that it also ends a mistake in the definitions.
        self.current = [*now, *([after] if after else [])]
        self.aws.define(json.dumps(self.current))

    def _withdrawal(self) -> dict[str, Any] | None:
        states = (
            *(State.PLANNED, State.SUBMITTING, State.SUBMITTED, State.HELD, State.SPLIT),
            State.FAILED,
        )
        name = self._some_report(*states, of_whole_windows=True)
        return {"withdraw": {"report_id": name}} if name else None

    def _rotate(self) -> None:
        """Let the operator rotate the secret, at Vonage first or in the stack first."""
        secret = f"5ecret-{self.random.getrandbits(64):016x}"
        self.secrets.append(secret)

        def at_vonage() -> None:
            simulation = self.vonage.simulation
            simulation.account = with_secret(simulation.account, secret)

        def here() -> None:
            self._put_secret(secret)

        first, second = self.random.choice([(at_vonage, here), (here, at_vonage)])
        first()
        self._expect(self.virtual_time.now + timedelta(hours=3 * self.random.random()), second)

    def _put_secret(self, secret: str) -> None:
        self.aws.secret = json.dumps({"api_key": API_KEY, "api_secret": secret})

    def _abort_a_run(self) -> None:
        running = [each for each in self.aws.executions.values() if each.status == "RUNNING"]
        if running:
            self._end(self.random.choice(running), "ABORTED")

    def _cancellation(self) -> dict[str, Any] | None:
        running = sorted(each.name for each in self.ledger.open_work().backfills)
        return {"cancel": {"backfill": running[0]}} if running else None

    def _some_report(self, *states: State, of_whole_windows: bool = False) -> str | None:
        names = sorted(
            each.report_id
            for each in self._reports()
            if each.state in states and not (of_whole_windows and each.is_half)
        )
        return self.random.choice(names) if names else None

    def _reports(self) -> list[Report]:
        """Return every report of the ledger, open or finished."""
        read = TypeDeserializer().deserialize
        return [
            report_of({name: read(value) for name, value in item.items()})
            for _, item in sorted(self.aws.table.items.items())
            if "window" in item
        ]

    def _recollection(self) -> dict[str, Any] | None:
        name = self._some_report(State.DELIVERED, State.FAILED, State.STORED)
        return {"recollect": {"report_id": name, "confirm": True}} if name else None

    def _reconversion(self) -> dict[str, Any] | None:
        name = self._some_report(State.DELIVERED)
        return {"reconvert": {"report_id": name}} if name else None

    def _react_to_notifications(self) -> None:
        """Let the operator answer notifications: always those of held reports, else sometimes."""
        for message in self.aws.messages[self._notifications_read :]:
            self._notifications_read += 1
            event = message.get("run_again")
            when = self.virtual_time.now + timedelta(hours=self.random.uniform(0.2, 30))
            if message["event"] == "report.held":
                report_id = message["report_id"]
                self._send_later(when, partial(self._resolution, report_id))
            elif message.get("error") == "VonageRejected" and self._is_refused_for_good(message):
                # Collected again, the report would wait and be refused for up to 13 more days.
                continue
            elif event is not None and self.random.random() < 0.3:
                self._send_later(when, partial(_unchanged, event))
                if self.kinds.random() < 0.4:
                    # A second operator reads the same notification.
                    again = when + timedelta(hours=self.kinds.choice([0, 0.01, 3, 40]))
                    self._send_later(again, partial(_unchanged, event))

    def _is_refused_for_good(self, message: Mapping[str, Any]) -> bool:
        # A run with a mistyped API key plans reports of an account that Vonage does not know.
        is_known = message.get("account_id") in (API_KEY, SUBACCOUNT)
        return not is_known or any(each.end is None for each in self.vonage.refusals)

    def _resolution(self, report_id: str) -> dict[str, Any] | None:
        """Return the event that answers a hold, from Vonage's dashboard."""
        report = self.ledger.report(report_id)
        if report is None or report.state is not State.HELD or report.submitted_at is None:
            return None
        clock = self.vonage.simulation.world.clock
        found = [
            each.request_id
            for each in self.vonage.simulation.world.reports.values()
            if each.request.product.name == report.product
            and each.request.account_id == report.account_id
            and (each.request.start, each.request.end) == (report.window.start, report.window.end)
            and clock.at(each.received) - self.vonage.clock_error
            >= report.submitted_at - timedelta(minutes=1)
            and not each.is_forgotten(clock.elapsed())
            and self.ledger.report_served_by(each.request_id) is None
        ]
        request_id = found[0] if found else None
        hold = {"hold": report.holds} if self.kinds.random() < 0.7 else {}
        return {"resolve": {"report_id": report_id, "request_id": request_id, **hold}}

    def _send_later(self, when: datetime, event: Callable[[], dict[str, Any] | None]) -> None:
        def go() -> None:
            made = event()
            if made is not None:
                self._send_until_accepted(made, 6)

        self._expect(when, go)

    def _send_until_accepted(self, event: dict[str, Any], times: int) -> None:
        """Send an event, and again while it fails, or the record of its undelivered invocation."""
        request_id = f"request-{self.invocations + 1}"
        self.operator_events.append(_with_token(event, request_id))

        def over(*, good: bool) -> None:
            next_event, left = event, times - 1
            resolve = event.get("requestPayload", event).get("resolve")
            if resolve and not good:
                # Look in the dashboard again. Only the operator can end a hold, so never give up.
                next_event, left = self._resolution(resolve["report_id"]) or {}, times
            elif self.kinds.random() < (0.5 if not good else 0.05):
                next_event = _undelivered(event, request_id)
            elif good:
                return
            if times and next_event:
                later = self.virtual_time.now + timedelta(hours=6)
                self._expect(later, lambda: self._send_until_accepted(next_event, left))

        is_asynchronous = self.kinds.random() < 0.3
        self._submit(event, over=over, retries=2 if is_asynchronous else 0, request_id=request_id)

    def _expect(self, when: datetime, event: Callable[[], None]) -> None:
        self.expected += 1

        def go() -> None:
            self.expected -= 1
            event()

        self.virtual_time.at(when, go)

    def _sweep(self) -> None:
        """Sweep as the schedule does, but less often while no report is open or changes."""
        self._react_to_notifications()
        before, states = self.aws.writes, self._open_states()
        unregistered = sum(sk.startswith("catalogue#") for _, sk in self.aws.table.items)
        periods = sum(sk.startswith("mark#") for _, sk in self.aws.table.items)
        if not self._has_open_work():
            self.virtual_time.after(300, self._sweep)
            return

        def over(*, good: bool) -> None:
            self._watch(states, unregistered, periods, good=good)
            changed = self.aws.writes > before
            self._wait = 300 if changed else min(self._wait * 1.5, 3600)
            if self._only_refused or (self.kind.crowd and not self.aws.executions):
                # Nothing happens but that Vonage refuses again. It would take most of the time.
                self._wait = 3600
            self.virtual_time.after(self._wait, self._sweep)

        self._submit({"sweep": True}, over=over, retries=0)

    _only_refused = False
    """Whether every open report waits for Vonage, which refuses at least one."""

    def _open_states(self) -> list[str]:
        items = self.aws.table.items.items()
        return [each["state"]["S"] for (pk, _), each in items if pk == "open" and "state" in each]

    def _watch(self, before: list[str], unregistered: int, periods: int, *, good: bool) -> None:
        """Check the promises that hold at any time."""
        self._sweeps += 1
        work = self.ledger.open_work()
        reports, now = list(work.reports), self.virtual_time.now
        self._only_refused = all(each.state is State.PLANNED for each in reports) and any(
            each.error == "VonageRejected" for each in reports
        )
        waiting = before.count(State.PLANNED)
        at_work = len(before) - waiting
        self.watch.sweep(self._ended.calls, at_work, waiting, unregistered, periods)
        self.watch.overdue(
            reports,
            list(zip(self.aws.sent_at, self.aws.messages, strict=True)),
            listed=self._is_listed,
            is_done=good and self._ended.number in self.aws.definitions_read and not self._mistakes,
            now=now,
        )
        slots = {slot: self.aws.table.items["open", f"slot#{slot}"] for slot in work.slots}
        read = TypeDeserializer().deserialize
        items = {
            n: {name: read(value) for name, value in each.items()} for n, each in slots.items()
        }
        self.watch.slots(reports, items, now)
        if self.cap and now < self.faults_end:
            month = month_of(now)
            counted = self.ledger.counted_records(month)
            self.watch.cap(counted, self.cap, self.vonage.records_of_requests(month))
        if self._sweeps % 20 == 0:
            self.watch.ends(reports, self._refusal_of_withdrawal)
            self.watch.items(self.aws.table.items)

    def _refusal_of_withdrawal(self, report: Report) -> str | None:
        try:
            services: Any = SimpleNamespace(ledger=self.ledger)
            withdraw._require_unfinished(report, services, now=self.virtual_time.now)
        except InvalidRequest as error:
            return str(error)
        return None

    def _period_written(self, key: str) -> None:
        self.watch.period(key, self._reports(), listed_pairs(self.current))

    def _is_listed(self, report: Report) -> bool:
        return any(
            each["name"] == report.definition and report.account_id in each["account_ids"]
            for each in json.loads(
                _with_accounts(
                    json.dumps(self.current), API_KEY, [API_KEY, SUBACCOUNT, NEW_ACCOUNT]
                )
            )
        )

    def _has_open_work(self) -> bool:
        if self._writes_seen != self.aws.writes:
            self._writes_seen = self.aws.writes
            work = self.ledger.open_work()
            self._open = bool(
                work.reports
                or work.backfills
                or work.slots_until
                or work.relabellings
                or work.registrations
            )
        return self._open

    _writes_seen = -1
    _open = False

    def _is_quiet(self) -> bool:
        return (
            not (self.expected or self._running or self._executing or self._has_open_work())
            and len(self.aws.messages) == self._notifications_read
        )

    # Functions and the workflow.

    def _submit(
        self,
        event: dict[str, Any],
        *,
        over: _Over,
        retries: int = 2,
        request_id: str | None = None,
    ) -> None:
        """Invoke submit_reports as EventBridge does: asynchronously, with two retries.

        A retry has the request id of the first invocation.
        """
        request_id = request_id or f"request-{self.invocations + 1}"

        def ended(invocation: Invocation) -> None:
            self._ended = invocation
            error = invocation.error
            good = error is None and not invocation.killed
            # The calendar, a part that is collected again, and an adoption may succeed later.
            later = {"recollect", "scheduled_time", "resolve"} & event.get(
                "requestPayload", event
            ).keys()
            is_final = isinstance(error, InvalidRequest) and not later
            if good or is_final or not retries:
                answer: Any = invocation.result if good else {}
                refused = [each["definition"] for each in answer.get("refused", ())]
                over(good=(good or is_final) and "(all)" not in refused)
                return
            wait = 60 * (3 - retries)
            self.virtual_time.after(
                wait,
                lambda: self._submit(event, over=over, retries=retries - 1, request_id=request_id),
            )

        self._invoke("submit_reports", event, ended, request_id=request_id)

    def _invoke(
        self,
        function: str,
        event: dict[str, Any],
        then: Callable[[Invocation], None],
        *,
        request_id: str = "",
    ) -> None:
        if self.random.random() < 0.003:
            self._start_cold(function)
        self.invocations += 1
        self._running += 1
        number = self.invocations
        identity = request_id or f"request-{number}"
        self._note(f"{number} {function} {json.dumps(event, sort_keys=True)}")

        def program(invocation: Invocation) -> object:
            context = _Context(invocation, function, identity)
            answer = _app(function).lambda_handler(event, context)
            return json.loads(json.dumps(answer))

        def ended(invocation: Invocation) -> None:
            self._running -= 1
            error = invocation.error
            end = "killed" if invocation.killed else repr(error or invocation.result)
            self._note(f"{number} {end}")
            found = [*([error] if error else []), *_STEP_ERRORS.pop(identity, [])]
            for each in found:
                if not isinstance(each, _EXPECTED):
                    self.unexpected_errors.append(f"{function}: {each!r}")
            self.killed_storing += invocation.killed and function == "store_report"
            then(invocation)

        self.virtual_time.invoke(
            number,
            program,
            lifetime=_timeouts()[function],
            dies_at_call=self.fault_plan.death(self.virtual_time.now),
            then=ended,
        )

    def _start_cold(self, function: str) -> None:
        """Let the next invocation create its clients again, as after a cold start."""
        app = _app(function)
        for name in ("_services", "_vonage", "_bucket", "_catalogue", "_waiting_runs"):
            if hasattr(app, name):
                getattr(app, name).cache_clear()

    def _execute(self, execution: Execution) -> None:
        self._executing += 1
        random = Random(f"{self.seed} {execution.name}")
        started = f"{self.virtual_time.now:%Y-%m-%dT%H:%M:%S.%fZ}"
        steps = self.workflow.steps(json.loads(execution.input), started=started, random=random)
        timeout = self.workflow.timeout_seconds
        self.virtual_time.after(0.05, lambda: self._go_on(execution, steps, lambda: next(steps)))
        self.virtual_time.after(timeout, lambda: self._end(execution, "TIMED_OUT"))

    def _go_on(self, execution: Execution, steps: Steps, advance: Callable[[], Any]) -> None:
        if execution.status != "RUNNING":
            return
        try:
            step = advance()
        except StopIteration as end:
            execution.output = json.dumps(end.value)
            self._end(execution, "SUCCEEDED")
            return
        except StateError as error:
            execution.error, execution.cause = error.name, error.cause
            self._end(execution, "FAILED")
            return
        if isinstance(step, Wait):
            self.virtual_time.after(
                step.seconds, lambda: self._go_on(execution, steps, lambda: steps.send(None))
            )
        elif step.token is not None:
            self._wait_for_token(
                execution,
                step,
                lambda value: self._go_on(execution, steps, lambda: steps.send(value)),
                lambda error: self._go_on(execution, steps, lambda: steps.throw(error)),
            )
        else:
            self._call(
                step,
                lambda value: self._go_on(execution, steps, lambda: steps.send(value)),
                lambda error: self._go_on(execution, steps, lambda: steps.throw(error)),
            )

    def _call(
        self, call: Call, then: Callable[[Any], None], fails: Callable[[StateError], None]
    ) -> None:
        if call.resource.endswith(":sns:publish"):
            how = self.fault_plan.over_aws("sns", "Publish", self.virtual_time.now)
            self._note(f"announce {how or ''}")
            if how in (None, "lost", "slow"):
                arguments = call.arguments
                self.aws.publish(arguments["Message"], arguments["MessageAttributes"])
            if how in (None, "slow"):
                self.virtual_time.after(0.1, lambda: then({"MessageId": "m"}))
            else:
                self.virtual_time.after(
                    0.1, lambda: fails(StateError("SNS.SnsException", str(how)))
                )
            return
        how = self.fault_plan.over_lambda(self.virtual_time.now)
        if how not in (None, "lost"):
            self.virtual_time.after(0.1, lambda: fails(StateError(str(how), "Lambda")))
            return

        def ended(invocation: Invocation) -> None:
            if how == "lost":
                fails(StateError("Lambda.SdkClientException", "no answer"))
            elif invocation.killed:
                name = "Sandbox.Timedout" if invocation.timed_out else "Runtime.ExitError"
                fails(StateError(name, "the function did not end"))
            elif invocation.error is not None:
                error = invocation.error
                message = {"errorMessage": str(error), "errorType": type(error).__name__}
                fails(StateError(type(error).__name__, json.dumps(message)))
            else:
                then({"Payload": invocation.result})

        self._invoke(call.arguments["FunctionName"], call.arguments["Payload"], ended)

    def _wait_for_token(
        self,
        execution: Execution,
        call: Call,
        then: Callable[[Any], None],
        fails: Callable[[StateError], None],
    ) -> None:
        how = self.fault_plan.over_aws("dynamodb", "PutItem", self.virtual_time.now)
        self._note(f"{execution.name} waits for its callback {how or ''}")
        assert call.token is not None
        token, item = call.token, call.arguments["Item"]
        callback = item["callback"]["S"]
        if how in (None, "lost", "slow"):
            self.aws.waiting[callback] = item
        if how not in (None, "slow"):
            error = StateError("DynamoDb.DynamoDbException", str(how))
            self.virtual_time.after(0.1, lambda: fails(error))
            return

        def called() -> None:
            self._note(f"{execution.name} is called")
            self.woken[callback] += 1
            then({})

        def timed_out() -> None:
            if self.aws.tasks.pop(token, None) is not None:
                fails(StateError("States.Timeout", "no call"))

        self.aws.tasks[token] = (execution, called)
        self.virtual_time.after(call.timeout, timed_out)

    def _receive(self, path: str, over: Callable[[], None]) -> None:
        """Invoke receive_callback with a path, as any caller of its URL can."""
        self._invoke("receive_callback", {"rawPath": f"/{path}"}, lambda _: over())

    def _schedule_strangers(self) -> None:
        """Schedule calls by strangers. Some of them know a path."""
        random, made = Random(f"{self.seed} strangers"), self.vonage.callbacks
        assert made is not None
        for _ in range(12):
            when = self.virtual_time.now + timedelta(days=DAYS * random.random())
            self.virtual_time.at(when, made.stranger)

    def _end(self, execution: Execution, status: str) -> None:
        if execution.status != "RUNNING":
            return
        execution.status = status
        self._executing -= 1
        self._note(f"{execution.name} {status} {execution.error or ''}")
        event = {"source": "aws.states", "detail": {"name": execution.name, "status": status}}
        faults_end = self.virtual_time.now >= self.faults_end
        for _ in range(1 if faults_end else self.random.choice([0, 1, 1, 1, 2])):
            late = 1.0 if faults_end else self.random.choice([0.5, 0.5, 2, 300])
            self.virtual_time.after(late, lambda: self._submit(event, over=_ignored))

    def _latency(self) -> float:
        return self.random.uniform(0.01, 0.1)

    def _note(self, line: str) -> None:
        self.digest.update(f"{self.virtual_time.now.isoformat()} {line}\n".encode())
        if _TRACES:
            print(f"{self.virtual_time.now:%m-%d %H:%M:%S} {line[:400]}", file=sys.stderr)


_EXPECTED = (VonageReportsError, ClientError, BotoCoreError)
"""The errors that a function may raise. Any other error is a defect."""

_CAP = "MAX_BILLED_RECORDS_MONTH"

_TRACES = bool(os.environ.get("TRACE"))


def listed_pairs(definitions: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Return the definitions with each of their accounts."""
    return {
        (each["name"], account_id)
        for each in definitions
        for account_id in each.get("account_ids", [API_KEY])
    }


def _unchanged(event: dict[str, Any]) -> dict[str, Any]:
    return event


def _with_accounts(definitions: str, api_key: str, listed: list[str]) -> str:
    """Return definitions with the accounts of each: the API key by default, or all `listed`."""
    try:
        entries = [{"account_ids": [api_key], **each} for each in json.loads(definitions)]
        return json.dumps(
            [
                {**each, "account_ids": listed} if each["account_ids"] == SUBACCOUNTS else each
                for each in entries
            ]
        )
    except (ValueError, KeyError, TypeError):
        return definitions


def _longer(definition: dict[str, Any]) -> dict[str, Any]:
    *before, last = definition["delay_days"]
    return {**definition, "delay_days": [*before, last + 1]}


def _shorter(definition: dict[str, Any]) -> dict[str, Any]:
    return {**definition, "delay_days": definition["delay_days"][:1]}


def _wider(definition: dict[str, Any]) -> dict[str, Any]:
    """Add the sub-account, or remove it."""
    accounts = definition.get("account_ids", [API_KEY])
    if accounts == SUBACCOUNTS:
        return {**definition, "account_ids": [API_KEY, SUBACCOUNT, NEW_ACCOUNT]}
    return {**definition, "account_ids": [API_KEY, SUBACCOUNT][: 3 - len(accounts)]}


def _absent(_: dict[str, Any]) -> dict[str, Any] | None:
    """Remove the definition."""
    return None


def _with_token(event: dict[str, Any], request_id: str) -> dict[str, Any]:
    """Return the event of an operator, with the token that a recollection has by default."""
    if "requestPayload" in event:
        return _with_token(event["requestPayload"], event["requestContext"]["requestId"])
    if "recollect" in event:
        return {"recollect": {"token": request_id, **event["recollect"]}}
    return event


def _undelivered(event: dict[str, Any], request_id: str) -> dict[str, Any]:
    """Return the record of an event that Lambda gave up, as the dead-letter queue keeps it."""
    if "requestPayload" in event:
        return event
    context = {"requestId": request_id, "condition": "RetriesExhausted"}
    return {"version": "1.0", "requestContext": context, "requestPayload": event}


@contextlib.contextmanager
def _loggers_to(stream: io.StringIO) -> Iterator[None]:
    """Redirect the functions' loggers, which other tests may have created, to a stream."""
    handlers = [
        handler
        for function in FUNCTIONS
        for handler in logging.getLogger(_app(function).logger.name).handlers
        if isinstance(handler, logging.StreamHandler)
    ]
    before = [handler.stream for handler in handlers]
    # Not setStream, which flushes the old stream: pytest closes a captured one.
    for handler in handlers:
        handler.stream = stream
    try:
        yield
    finally:
        for handler, old in zip(handlers, before, strict=True):
            handler.stream = old


def _defaults_of_services(seed: int) -> tuple[Any, ...]:
    """Return the defaults of Services, with random bytes that are the same in each run."""
    *others, _ = Services.__init__.__defaults__ or ()
    return (*others, Random(f"{seed} paths").randbytes)


@contextlib.contextmanager
def campaign(seed: int, of: Callable[[int, Path], Campaign] = Campaign) -> Iterator[Campaign]:
    """Run the stack of a seed. The outcome is valid within the `with` block."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "VONAGE_BASE_URL": "https://api.nexmo.com",
        "VONAGE_SECRET_ARN": SECRET,
        "DEFINITIONS_PARAMETER": PARAMETER,
        "BUCKET_NAME": BUCKET,
        "TABLE_NAME": TABLE,
        "TOPIC_ARN": TOPIC,
        "STATE_MACHINE_ARN": MACHINE,
        "DATABASE_NAME": DATABASE,
        "REQUEST_INTERVAL": "0",
        "STACK_NAME": "weeks",
        "CALLBACK_URL": callbacks.URL,
        "CALLBACK_TABLE_NAME": callbacks.TABLE,
        "OVERDUE_HOURS": str(OVERDUE_HOURS),
        # No month ends in a seed.
        "PERIOD_LENGTH": "day",
        "POWERTOOLS_TRACE_DISABLED": "1",
    }
    _LOGS.seek(0)
    _LOGS.truncate()
    with (
        _loggers_to(_LOGS),
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, environment, clear=True),
        contextlib.redirect_stdout(_LOGS),
    ):
        made = of(seed, Path(folder))

        def send(adapter: HTTPAdapter, request: Any, **more: Any) -> Any:
            return made.vonage.send(adapter, request, **more)

        try:
            seconds = made.virtual_time.seconds
            with (
                patch.object(HTTPAdapter, "send", send),
                # time_machine leaves the monotonic clock as it is.
                patch.object(Deadline.__init__, "__defaults__", (seconds,)),
                patch.object(cached_credentials, "__kwdefaults__", {"clock": seconds}),
                patch.object(Services.__init__, "__defaults__", _defaults_of_services(seed)),
                made.aws.connected(),
            ):
                yield made
        finally:
            made.virtual_time.close()
