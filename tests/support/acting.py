"""`vonage-reports` in process, on the stack of an integration test."""

import contextlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import boto3
import pytest

from tests.support.cli import Ended
from tests.support.handlers import Handler
from vonage_reports_cli.main import main
from vonage_reports_cli.session import Session
from vonage_reports_cli.stack import DeployedStack

STACK = "usage"
OUTPUTS = {
    "TableName": "ledger",
    "BucketName": "reports",
    "SubmitReportsFunctionName": "submit-reports",
    "DefinitionsParameterName": "/definitions",
}

Program = Callable[..., Ended]


class _Lambda:
    """Lambda's API, in front of the handler of submit_reports."""

    def __init__(self, handler: Handler, sent: list[dict[str, Any]]) -> None:
        self._handler = handler
        self._sent = sent

    def invoke(self, **request: Any) -> dict[str, Any]:
        """Invoke the function, as Lambda does: an error is an answer too."""
        assert request.keys() == {"FunctionName", "Payload"}
        assert request["FunctionName"] == OUTPUTS["SubmitReportsFunctionName"]
        event = json.loads(request["Payload"])
        self._sent.append(event)
        try:
            # The function's logs and metrics are no output of the program.
            with contextlib.redirect_stdout(io.StringIO()):
                answer, more = self._handler(event), {}
        # Lambda answers any error of a function.
        except Exception as error:  # noqa: BLE001
            answer = {"errorType": type(error).__name__, "errorMessage": str(error)}
            more = {"FunctionError": "Unhandled"}
        return {"Payload": io.BytesIO(json.dumps(answer).encode()), **more}


class HandledStack(DeployedStack):
    """The stack `usage`, whose ledger, bucket and queue are in moto."""

    def __init__(
        self, handler: Handler, sent: list[dict[str, Any]], more_outputs: Mapping[str, str]
    ) -> None:
        super().__init__(STACK)
        self._lambda = _Lambda(handler, sent)
        url = boto3.client("sqs").create_queue(QueueName="undelivered")["QueueUrl"]
        outputs = {**OUTPUTS, "UndeliveredEventsQueueUrl": url, **more_outputs}
        self.__dict__["description"] = {
            "StackId": f"arn:aws:cloudformation:eu-west-1:123456789012:stack/{STACK}/1",
            "Outputs": [
                {"OutputKey": name, "OutputValue": value} for name, value in outputs.items()
            ],
        }

    def client(self, service: Any, *, read_seconds: float = 60) -> Any:
        """Return a client of moto, and the handler as Lambda."""
        if service == "lambda":
            return self._lambda
        return super().client(service, read_seconds=read_seconds)


def program_on(
    handler: Handler,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sent: list[dict[str, Any]],
    outputs: Mapping[str, str],
) -> Program:
    """Return the program, for arguments without --stack. `sent` gets the events that it sends.

    `outputs` are more outputs of the stack.
    """

    def deployed(session: Session) -> DeployedStack:
        assert session.stack == STACK
        return HandledStack(handler, sent, outputs)

    # Not the class: a verb that is loaded meanwhile would keep the replacement.
    monkeypatch.setattr(Session, "deployed", property(deployed))

    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        code = main(["--stack", STACK, *arguments])
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


def without_outlooks(sent: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the events that change something."""
    return [
        event
        for event in sent
        if not any(isinstance(value, dict) and value.get("dry_run") for value in event.values())
    ]
