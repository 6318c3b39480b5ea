"""Step Functions: starts and describes the runs of the workflow."""

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from vonage_reports.domain.catalogue import CatalogueState
from vonage_reports.domain.decisions import Execution, ExecutionStatus
from vonage_reports.domain.report import Report

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient


class Executions:
    """The runs of one state machine."""

    def __init__(self, client: "SFNClient", state_machine_arn: str) -> None:
        self._client = client
        self._state_machine_arn = state_machine_arn

    def arn(self, report: Report) -> str:
        """Return the ARN of the report's current run. The run may not exist yet."""
        machine = self._state_machine_arn.replace(":stateMachine:", ":execution:")
        return f"{machine}:{report.execution_name}"

    def start(self, report: Report) -> None:
        """Start the report's current run, unless the run was started before.

        Idempotent: Step Functions accepts a repeated start with the same name and input while the
        run lasts, and refuses a repeated start afterwards. Either way, the run exists once.
        """
        assert report.execution_input is not None
        with suppress(self._client.exceptions.ExecutionAlreadyExists):
            self._client.start_execution(
                stateMachineArn=self._state_machine_arn,
                name=report.execution_name,
                input=report.execution_input,
            )

    def describe(self, report: Report) -> Execution:
        """Return the state of the report's current run."""
        try:
            answer = self._client.describe_execution(executionArn=self.arn(report))
        except self._client.exceptions.ExecutionDoesNotExist:
            return Execution(ExecutionStatus.MISSING)
        if answer["status"] in ("RUNNING", "PENDING_REDRIVE"):
            return Execution(ExecutionStatus.RUNNING)
        if answer["status"] == "SUCCEEDED":
            output = json.loads(answer["output"])
            # A run that only stores has no notification.
            notification = output.get("notification") or {}
            return Execution(
                ExecutionStatus.SUCCEEDED,
                rows=output["rows"],
                rescued=notification.get("rescued"),
                is_unregistered=notification.get("catalogue") == CatalogueState.PENDING,
            )
        return Execution(
            ExecutionStatus.FAILED,
            # A run that timed out or was aborted has no error of its own.
            error=answer.get("error") or answer["status"],
            reason=_sentence(answer.get("cause", "")),
        )


def _sentence(cause: str) -> str | None:
    """Return the message in Lambda's cause, which is JSON with a message and a stack trace."""
    try:
        value = json.loads(cause)
    except ValueError:
        return cause or None
    message = value.get("errorMessage") if isinstance(value, dict) else None
    return str(message) if message else cause
