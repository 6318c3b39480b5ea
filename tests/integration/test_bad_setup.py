"""Missing or forbidden resources: the error names each, and work resumes once it is mended."""

import ast
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from tests.integration.conftest import answer_of_aws, as_moto_takes_it, refusal_of_aws
from tests.support.catalogue import make_catalogue
from tests.support.handlers import Handler, load_handler, set_environment, set_secret
from tests.support.ledger_table import create_ledger_table
from tests.support.paths import ROOT
from tests.support.stack import Stack
from vonage_reports.aws.error_messages import RESOURCES
from vonage_reports.domain.errors import InvalidRequest, ResourceUnusable, VonageReportsError
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.windows import format_instant

EVENTS = ROOT / "events"
VERIFY = {"name": "verify", "product": "VERIFY-V2"}
NEW_SECRET = "n3w-secret-of-the-tests"


@dataclass
class World:
    """A stack whose workflow the test runs; `answers` replace those of AWS, by operation."""

    stack: Stack
    answers: dict[str, Any]
    warm: dict[str, Handler] = field(default_factory=dict)

    def invoke(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        """Invoke a function, which keeps its caches until the next cold start."""
        if function not in self.warm:
            self.warm[function] = Handler(load_handler(function))
        return self.warm[function](event)

    def schedule(self) -> dict[str, Any]:
        return self.invoke("submit_reports", {"scheduled_time": format_instant(datetime.now(UTC))})

    def sweep(self) -> dict[str, Any]:
        return self.invoke("submit_reports", {"sweep": True})

    def submitted(self) -> Report:
        """Let the schedule plan and submit one window, which Vonage finishes at once."""
        self.stack.simulator.fault("create", "outcome", request_status="SUCCESS", seconds=0)
        self.schedule()
        return self.one()

    def one(self) -> Report:
        (report,) = self.stack.open()
        return report

    def check(self, report: Report) -> dict[str, Any]:
        assert report.execution_input is not None
        return self.invoke(
            "check_report",
            {
                "report": json.loads(report.execution_input),
                "waited_seconds": 20,
                "started": format_instant(datetime.now(UTC)),
            },
        )

    def store(self, report: Report, checked: dict[str, Any]) -> dict[str, Any]:
        assert report.execution_input is not None
        return self.invoke(
            "store_report",
            {"report": json.loads(report.execution_input), "download": checked["download"]},
        )

    def run_steps(self, report: Report) -> int:
        """Run the steps of the workflow for a report; return its rows."""
        assert report.execution_input is not None
        stored = self.store(report, self.check(report))
        converted = self.invoke(
            "convert_report",
            {"report": json.loads(report.execution_input), "receipts": [stored["receipt"]]},
        )
        rows: int = converted["rows"]
        return rows

    def deliver(self, report: Report) -> None:
        """Run the workflow to its end, and settle its result in the ledger."""
        rows = self.run_steps(report)
        assert rows > 0
        succeeded = {"status": "SUCCEEDED", "output": json.dumps({"rows": rows})}
        self.answers["DescribeExecution"] = answer_of_aws(200, succeeded)
        assert self.sweep()["settled"] == [report.report_id]

    def is_at_rest_having_bought(self, reports: int) -> None:
        """Assert that nothing is open, all is delivered, and Vonage created `reports` reports."""
        work = self.stack.services.ledger.open_work()
        assert (work.reports, work.slots, work.unreadable) == ((), {}, ())
        assert len(self.stack.created()) == reports
        finished = [item for item in self.stack.table() if item["pk"].startswith("finished#")]
        assert {item["state"] for item in finished} == {State.DELIVERED}

    def refuse(self, operation: str, status: int, code: str, message: str = "") -> None:
        self.answers[operation] = refusal_of_aws(status, code)
        self.answers[operation][1]["Error"]["Message"] = message or code

    def put_secret(self, api_secret: str) -> None:
        set_secret(self.stack.simulator.api_key, api_secret)

    def put_definitions(self) -> None:
        self.define(VERIFY)

    def define(self, *definitions: dict[str, Any]) -> None:
        boto3.client("ssm").put_parameter(
            Name="/definitions", Value=json.dumps(definitions), Type="String", Overwrite=True
        )


@pytest.fixture
def world(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    answers: dict[str, Any] = {}

    def answer(model: Any, **_: object) -> Any:
        return answers.get(model.name)

    session = boto3.DEFAULT_SESSION
    assert session is not None
    session.events.register("before-call", answer)
    session.events.register_first("before-call.s3", as_moto_takes_it)
    set_environment(stack, monkeypatch)
    monkeypatch.setenv("WAIT_SCALE", "0")
    world = World(stack, answers)
    world.put_definitions()
    make_catalogue("VERIFY-V2")
    yield world
    session.events.unregister("before-call.s3", as_moto_takes_it)
    session.events.unregister("before-call", answer)


@dataclass(frozen=True)
class Cause:
    """A fault, its remedy, and the words that the error must contain."""

    spoil: Callable[[World], object]
    mend: Callable[[World], object]
    says: tuple[str, ...]


def refused(
    operation: str, says: tuple[str, ...], *, status: int = 400, code: str, message: str = ""
) -> Cause:
    """Return the cause in which AWS refuses one operation."""
    return Cause(
        lambda world: world.refuse(operation, status, code, message),
        lambda world: world.answers.pop(operation),
        (operation, *says),
    )


def a_secret_of(text: str) -> Cause:
    """Return the cause in which the secret has an invalid value."""

    def spoil(_: World) -> None:
        client = boto3.client("secretsmanager")
        client.put_secret_value(SecretId="vonage", SecretString=text)

    return Cause(spoil, mend_secret, ("the secret arn:aws:secretsmanager", "api_key"))


def mend_secret(world: World) -> None:
    world.put_secret(world.stack.simulator.api_secret)


def delete_secret(_: World) -> None:
    boto3.client("secretsmanager").delete_secret(SecretId="vonage")


def restore_secret(_: World) -> None:
    boto3.client("secretsmanager").restore_secret(SecretId="vonage")


KEY_DENIED = "is not authorized to perform: kms:GenerateDataKey on this resource"
NOT_OPEN = "refuses this function. Allow the access in"
OF_A_KEY = "a KMS key that is disabled, or that this function may not use. Enable"

OF_SUBMIT_REPORTS = {
    "the table is gone": Cause(
        lambda _: boto3.client("dynamodb").delete_table(TableName="ledger"),
        lambda _: create_ledger_table(boto3.client("dynamodb"), "ledger"),
        ("the table ledger (TABLE_NAME", "LedgerTable", "restore-table-from-backup"),
    ),
    "the table may not be read": refused(
        "Query", ("TABLE_NAME", NOT_OPEN), code="AccessDeniedException"
    ),
    "the table may not be written": refused(
        "TransactWriteItems", ("TABLE_NAME", NOT_OPEN), code="AccessDeniedException"
    ),
    "the definitions are gone": Cause(
        lambda _: boto3.client("ssm").delete_parameter(Name="/definitions"),
        World.put_definitions,
        ("/definitions (DEFINITIONS_PARAMETER", "aws ssm put-parameter --name /definitions"),
    ),
    "the secret is deleted": Cause(
        delete_secret, restore_secret, ("VONAGE_SECRET_ARN", "aws secretsmanager restore-secret")
    ),
    "the secret may not be read": refused(
        "GetSecretValue",
        ("VONAGE_SECRET_ARN", "VonageSecretArn", NOT_OPEN),
        code="AccessDeniedException",
    ),
    "the secret's key is denied": refused(
        "GetSecretValue",
        ("VONAGE_SECRET_ARN", OF_A_KEY),
        code="AccessDeniedException",
        message="Access to KMS is not allowed",
    ),
    "the secret is empty": a_secret_of(" "),
    "the secret is no JSON": a_secret_of('{"api_key": "abcd1234", '),
    "the workflow may not be started": refused(
        "StartExecution", ("STATE_MACHINE_ARN", NOT_OPEN), code="AccessDeniedException"
    ),
    "the workflow is gone": refused(
        "StartExecution", ("ReportWorkflow", "REVERT_DRIFT"), code="StateMachineDoesNotExist"
    ),
}


def test_submit_reports_names_an_unusable_resource_and_recovers(
    world: World, subtests: pytest.Subtests
) -> None:
    for name, cause in OF_SUBMIT_REPORTS.items():
        with subtests.test(name):
            if "secret" in name:
                # A warm function would use its cached credentials.
                world.warm.clear()
            cause.spoil(world)
            with pytest.raises((ResourceUnusable, InvalidRequest)) as raised:
                world.submitted()
            cause.mend(world)
            world.stack.simulator.clear_faults()
            for words in cause.says:
                assert words in str(raised.value)
            # No partial plan: each open report was requested once.
            assert {report.state for report in world.stack.open()} <= {State.SUBMITTED}
            assert len(world.stack.created()) == len(world.stack.open()) <= 1
    world.schedule()
    report = world.one()
    assert (report.state, report.attempt, report.slot) == (State.SUBMITTED, 1, 1)
    world.deliver(report)
    world.is_at_rest_having_bought(1)


def test_failed_announcement_stops_nothing_and_is_repeated(world: World) -> None:
    world.define(VERIFY, {"name": "broken", "product": "SMS"})
    world.refuse("Publish", 404, "NotFound", "Topic does not exist")
    with pytest.raises(
        ResourceUnusable, match=r"the topic arn:.*reports \(TOPIC_ARN; .*create-topic"
    ):
        world.submitted()
    del world.answers["Publish"]
    for _ in range(2):
        world.schedule()
    assert [each["event"] for each in world.stack.announced()] == ["definition.refused"]
    world.deliver(world.one())
    world.is_at_rest_having_bought(1)


def test_open_reports_go_on_without_definitions(world: World) -> None:
    world.stack.simulator.fault("create", "status", status=401)
    world.stack.simulator.fault("create", "status", status=401)
    world.schedule()
    assert world.one().state is State.PLANNED
    boto3.client("ssm").delete_parameter(Name="/definitions")
    with pytest.raises(ResourceUnusable, match="DEFINITIONS_PARAMETER"):
        world.submitted()
    assert world.one().state is State.SUBMITTED


def test_refused_key_is_announced_once_and_used_when_correct(world: World) -> None:
    world.put_secret("wr0ng")
    for _ in range(3):
        world.schedule()
    (told,) = world.stack.announced()
    assert (told["event"], told["error"]) == ("report.failed", "VonageRejected")
    assert "the secret arn:aws:secretsmanager" in told["message"]
    assert (world.one().state, world.one().attempt, world.one().slot) == (State.PLANNED, 0, None)
    mend_secret(world)
    world.deliver(world.submitted())
    world.is_at_rest_having_bought(1)


OF_THE_WORKFLOW = {
    "the secret is empty": a_secret_of("{}"),
    "the key was revoked": Cause(
        lambda world: world.stack.simulator.settings(secrets=[NEW_SECRET]),
        lambda world: world.put_secret(NEW_SECRET),
        ("401", "the API key and secret in the secret arn:aws:secretsmanager"),
    ),
    "the bucket is gone": Cause(
        lambda _: boto3.client("s3").delete_bucket(Bucket="reports"),
        lambda _: boto3.client("s3").create_bucket(
            Bucket="reports", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        ),
        ("the bucket reports (BUCKET_NAME", "ReportsBucket", "aws s3 mb s3://reports"),
    ),
    "the bucket may not be looked into": refused(
        "HeadObject", ("BUCKET_NAME", NOT_OPEN), status=403, code="403", message="Forbidden"
    ),
    "the bucket's key is denied": refused(
        "PutObject", ("BUCKET_NAME", OF_A_KEY), status=403, code="AccessDenied", message=KEY_DENIED
    ),
}


def test_workflow_step_names_an_unusable_resource_and_recovers(
    world: World, subtests: pytest.Subtests
) -> None:
    report = world.submitted()
    ledger = world.stack.table()
    for name, cause in OF_THE_WORKFLOW.items():
        with subtests.test(name):
            if "secret" in name:
                # A warm function would use its cached credentials.
                world.warm.clear()
            cause.spoil(world)
            with pytest.raises(VonageReportsError) as raised:
                world.run_steps(report)
            cause.mend(world)
            for words in cause.says:
                assert words in str(raised.value)
            assert world.stack.table() == ledger
    world.deliver(report)
    world.is_at_rest_having_bought(1)


def test_secret_rotated_during_a_run_fails_nothing(world: World) -> None:
    old = world.stack.simulator.api_secret
    report = world.submitted()
    checked = world.check(report)
    # Vonage accepts both for a while, and the functions cache the old one for minutes.
    world.stack.simulator.settings(secrets=[old, NEW_SECRET])
    world.put_secret(NEW_SECRET)
    assert world.check(report) == checked
    world.stack.simulator.settings(secrets=[NEW_SECRET])
    assert world.store(report, world.check(report))["stored"]
    world.deliver(report)
    world.is_at_rest_having_bought(1)
    assert world.stack.announced() == []


OF_VONAGE = ("VONAGE_BASE_URL", "VONAGE_SECRET_ARN")
VARIABLES = {
    "submit_reports": (
        *OF_VONAGE,
        *("TABLE_NAME", "BUCKET_NAME", "TOPIC_ARN", "STATE_MACHINE_ARN", "DEFINITIONS_PARAMETER"),
        "DATABASE_NAME",
    ),
    "check_report": OF_VONAGE,
    "store_report": (*OF_VONAGE, "BUCKET_NAME"),
    "convert_report": ("BUCKET_NAME", "DATABASE_NAME"),
}


@pytest.mark.usefixtures("world")
def test_missing_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    for function, variables in VARIABLES.items():
        name = "schedule" if function == "submit_reports" else function
        event = json.loads((EVENTS / f"{name}.json").read_text())
        for variable in variables:
            with subtests.test(f"{function}, {variable}"), monkeypatch.context() as patch:
                patch.delenv(variable)
                with pytest.raises(ResourceUnusable, match=f"no environment variable {variable}: "):
                    Handler(load_handler(function))(event)


def test_every_called_operation_of_aws_belongs_to_a_resource(
    aws_session: boto3.Session,
) -> None:
    services = ("dynamodb", "s3", "sns", "stepfunctions", "ssm", "secretsmanager", "glue")
    operations: dict[str, str] = {}
    for service in services:
        client: Any = aws_session.client(service)  # type: ignore[call-overload]  # by a variable
        operations |= client.meta.method_to_api_mapping
    called = {
        operations[node.func.attr]
        for path in [*ROOT.glob("layers/**/*.py"), *ROOT.glob("functions/*/app.py")]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in operations
    }
    # receive_callback explains nothing to its callers, and logs AWS's own words.
    called.remove("SendTaskSuccess")
    assert called == frozenset().union(*(each.operations for each in RESOURCES))
