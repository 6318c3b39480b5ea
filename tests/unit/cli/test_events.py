"""Messages of the dead-letter queue: Lambda's records, EventBridge's events, and other text."""

import json
from typing import Any

import pytest

from vonage_reports_cli.verbs.events import Undelivered

SWEEP = {"sweep": True}
RECORD = {
    "version": "1.0",
    "timestamp": "2026-11-22T02:18:13.123Z",
    "requestContext": {"requestId": "an-invocation", "condition": "EventAgeExceeded"},
    "requestPayload": SWEEP,
}


def message(body: object, **attributes: str) -> Undelivered:
    """Return a message that was sent at 2026-11-22T02:20:00Z."""
    return Undelivered.of(
        {
            "ReceiptHandle": "receipt",
            "Body": body if isinstance(body, str) else json.dumps(body),
            "Attributes": {"SentTimestamp": "1795314000000"},
            "MessageAttributes": {
                name: {"DataType": "String", "StringValue": value}
                for name, value in attributes.items()
            },
        }
    )


def test_record_of_lambda_is_read() -> None:
    answer = {"errorType": "ResourceUnusable", "errorMessage": "no table"}
    read = message({**RECORD, "responsePayload": answer})

    assert (read.payload, read.error) == (SWEEP, "ResourceUnusable: no table")
    assert f"{read.at:%H:%M:%S}" == "02:18:13"
    assert read.to_send() == {
        "requestContext": {"requestId": "an-invocation"},
        "requestPayload": SWEEP,
    }


def test_event_of_eventbridge_is_read() -> None:
    read = message(SWEEP, ERROR_CODE="THROTTLING", ERROR_MESSAGE="Rate exceeded")

    assert (read.payload, read.error) == (SWEEP, "THROTTLING: Rate exceeded")
    assert f"{read.at:%H:%M:%S}" == "02:20:00"
    assert read.to_send() == SWEEP


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, "EventAgeExceeded"),
        ({"responsePayload": None}, "EventAgeExceeded"),
        ({"responsePayload": {"errorMessage": "no memory"}}, "Error: no memory"),
        ({"requestContext": "text"}, "no reason given"),
        ({"timestamp": "yesterday"}, "EventAgeExceeded"),
        ({"timestamp": 17}, "EventAgeExceeded"),
    ],
)
def test_incomplete_record_is_read(changes: dict[str, Any], error: str) -> None:
    read = message({**RECORD, **changes})

    assert (read.payload, read.error) == (SWEEP, error)
    assert read.at.day == 22


@pytest.mark.parametrize(
    "body", ["no JSON", "[]", "17", "null", "{}", '{"requestPayload": "text"}']
)
def test_other_text_is_no_event(body: str) -> None:
    read = message(body)

    assert (read.payload, read.event, read.is_wake_up) == (None, body, False)


@pytest.mark.parametrize(
    ("event", "is_wake_up"),
    [
        (SWEEP, True),
        ({"source": "aws.states", "detail-type": "Step Functions Execution Status Change"}, True),
        ({"scheduled_time": "2026-11-22T02:15:00Z"}, False),
        ({"sweep": False}, False),
    ],
)
def test_wake_ups_are_those_that_one_sweep_replaces(event: object, *, is_wake_up: bool) -> None:
    assert message(event).is_wake_up is is_wake_up
    assert message({**RECORD, "requestPayload": event}).is_wake_up is is_wake_up
