"""Where the report definitions come from: the object, or the parameter, and its history."""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from typing import Any

import boto3
import pytest
import time_machine
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError
from botocore.response import StreamingBody

from tests.integration.conftest import answer_of_aws, refusal_of_aws
from tests.support.handlers import Handler, load_handler, set_environment
from tests.support.stack import Stack, definition
from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.definitions_source import DefinitionsSource
from vonage_reports.aws.ssm import DefinitionsParameter
from vonage_reports.domain.errors import InvalidRequest, ResourceUnusable
from vonage_reports.domain.objects import DEFINITIONS_KEY
from vonage_reports.domain.report import definition_of
from vonage_reports.domain.windows import format_instant
from vonage_reports.submit_reports.read_definitions import LoadedDefinitions
from vonage_reports.submit_reports.take_over import taken_over_definitions

MINE = {"name": "mine", "product": "VERIFY-V2"}
ALSO_MINE = {"name": "also-mine", "product": "AMD"}
OF_TEMPLATE = {"name": "sms", "product": "SMS", "filters": {"direction": "inbound"}}
TEMPLATE = json.dumps([OF_TEMPLATE])


def write_parameter(text: str, name: str = "/definitions") -> None:
    boto3.client("ssm").put_parameter(Name=name, Value=text, Type="String", Overwrite=True)


def deploy(text: str = TEMPLATE) -> None:
    """Write the parameters, as CloudFormation does at an update of their resources."""
    write_parameter(text)
    write_parameter(text, "/definitions-of-template")


def the_object() -> list[dict[str, Any]] | None:
    s3 = boto3.client("s3")
    try:
        value: list[dict[str, Any]] = json.load(
            s3.get_object(Bucket="reports", Key=DEFINITIONS_KEY)["Body"]
        )
    except s3.exceptions.NoSuchKey:
        return None
    return value


def collected(stack: Stack, *entries: Mapping[str, Any]) -> None:
    """Plan the latest window of each definition, as an earlier version of the code did."""
    stack.plan_definitions([definition(**each) for each in entries], at=stack.now)


def run(stack: Stack, handler: Handler, **event: Any) -> dict[str, Any]:
    """Let the schedule plan the windows due a day later, or send an event."""
    stack.later(days=1)
    with time_machine.travel(stack.now, tick=False):
        return handler(event or {"scheduled_time": format_instant(stack.now)})


def planned(answer: Mapping[str, Any]) -> set[str]:
    return {definition_of(each) for each in answer["planned"]}


def announced(stack: Stack, event: str) -> list[dict[str, Any]]:
    return [body for body in stack.announced() if body["event"] == event]


def test_object_counts_and_no_parameter(stack: Stack, handler: Handler) -> None:
    deploy()
    assert planned(run(stack, handler)) == {"sms"}
    handler.define(OF_TEMPLATE, MINE, replaces=False)
    assert planned(run(stack, handler)) == {"sms", "mine"}
    for text in (TEMPLATE, "[]", "{", json.dumps([ALSO_MINE])):
        deploy(text)
        assert planned(run(stack, handler)) == {"sms", "mine"}
    boto3.client("ssm").delete_parameter(Name="/definitions")
    assert planned(run(stack, handler)) == {"sms", "mine"}


def test_deployment_changes_what_an_untouched_stack_collects(
    stack: Stack, handler: Handler
) -> None:
    deploy()
    run(stack, handler)
    deploy(json.dumps([OF_TEMPLATE, MINE]))
    assert planned(run(stack, handler)) == {"sms", "mine"}
    deploy(json.dumps([MINE]))
    assert planned(run(stack, handler)) == {"mine"}
    assert [each["definition"] for each in announced(stack, "definition.removed")] == ["sms"]
    assert the_object() is None


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "empty": ("[]", "empty list"),
    "no bytes": ("", "not valid JSON"),
    "cut": (json.dumps([MINE])[:-1], "not valid JSON"),
    "not UTF-8": (b'[{"name": "mine", "product": "\xff"}]', "not text in UTF-8"),
    "too large": (json.dumps([MINE]).ljust(1_000_001), "more than 1,000,000 bytes"),
    "too large, cut inside a character": (
        '[{"name": "' + "a" * 999_988 + "\u20ac",
        "more than 1,000,000 bytes",
    ),
    "too many": (json.dumps([MINE] * 2001), "2,001 report definitions"),
    "of another stack": (TEMPLATE, "none of the definitions collected so far"),
    "without names": ('[{"product": "AMD"}]', "none of the definitions collected so far"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_list_plans_and_removes_nothing(stack: Stack, handler: Handler, name: str) -> None:
    handler.define(MINE)
    run(stack, handler)
    stack.announced()
    text, reason = REFUSED[name]
    handler.define(text=text, replaces=False)
    for event in ({"sweep": True}, {}, {"sweep": True}, {}):
        assert run(stack, handler, **event)["planned"] == []
    wanted = {"definition": "sms", "start": "2026-11-01", "end": "2026-11-02"}
    with pytest.raises(InvalidRequest, match=reason):
        run(stack, handler, backfill=wanted)
    told = stack.announced()
    refused = [each for each in told if each["event"] == "definition.refused"]
    assert [each["definition"] for each in refused] == ["(all)"]
    assert reason in refused[0]["message"]
    assert [each for each in told if each["event"] == "definition.removed"] == []

    handler.define(MINE, replaces=False)
    assert planned(run(stack, handler)) == {"mine"}


def test_empty_object_is_refused_even_if_it_replaces_all(stack: Stack, handler: Handler) -> None:
    handler.define(MINE)
    run(stack, handler)
    stack.announced()
    handler.define(text="[]", replaces=True)
    assert run(stack, handler)["planned"] == []
    (told,) = announced(stack, "definition.refused")
    assert (told["definition"], "empty list" in told["message"]) == ("(all)", True)


def test_byte_order_mark_of_an_editor_is_read(stack: Stack, handler: Handler) -> None:
    handler.define(text="\ufeff" + json.dumps([MINE]), replaces=False)
    assert planned(run(stack, handler)) == {"mine"}


def test_list_that_replaces_all_is_collected(stack: Stack, handler: Handler) -> None:
    handler.define(MINE, ALSO_MINE)
    run(stack, handler)
    handler.define(OF_TEMPLATE)
    assert planned(run(stack, handler)) == {"sms"}
    removed = announced(stack, "definition.removed")
    assert {each["definition"] for each in removed} == {"mine", "also-mine"}
    # Removed names do not make a list the operator's.
    handler.define(MINE, replaces=False)
    assert run(stack, handler)["planned"] == []


# The update of a stack whose operator edited the parameter

SLOWER = {**MINE, "delay_days": [4]}
HISTORIES: dict[str, tuple[list[Any], list[Any], str | None]] = {
    "overwritten": ([MINE], [[MINE, ALSO_MINE]], TEMPLATE),
    "overwritten under the same names": ([MINE], [[SLOWER]], json.dumps([MINE])),
    "not overwritten": ([MINE], [[OF_TEMPLATE], [MINE, ALSO_MINE]], None),
    "mended in part": ([MINE, ALSO_MINE], [[MINE, ALSO_MINE], [MINE]], TEMPLATE),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_newest_fitting_version_of_the_parameter_becomes_the_object(
    stack: Stack, handler: Handler, name: str
) -> None:
    known, versions, overwritten = HISTORIES[name]
    collected(stack, *known)
    deploy(overwritten or TEMPLATE)
    for version in versions:
        write_parameter(json.dumps(version))
    if overwritten is not None:
        deploy(overwritten)
    fitting = versions[0] if name == "mended in part" else versions[-1]

    run(stack, handler, sweep=True)

    assert the_object() == fitting
    (told,) = announced(stack, "definitions.taken_over")
    assert told["object"] == f"s3://reports/{DEFINITIONS_KEY}"
    assert f"version {told['parameter_version']} of the parameter" in told["message"]
    write_parameter("[]")
    assert planned(run(stack, handler)) == {str(each["name"]) for each in fitting}
    assert announced(stack, "definitions.taken_over") == []


def test_edited_parameter_that_no_deployment_overwrote_is_the_operators_list(
    stack: Stack, handler: Handler
) -> None:
    collected(stack, MINE, ALSO_MINE)
    deploy()
    for version in ([MINE, ALSO_MINE], [ALSO_MINE, OF_TEMPLATE]):
        write_parameter(json.dumps(version))

    assert planned(run(stack, handler)) == {"also-mine", "sms"}
    assert the_object() == [ALSO_MINE, OF_TEMPLATE]
    assert [each["definition"] for each in announced(stack, "definition.removed")] == ["mine"]


def test_first_version_of_the_parameter_is_the_templates(stack: Stack, handler: Handler) -> None:
    collected(stack, OF_TEMPLATE)
    deploy()
    # The update of the stack also changes the template's definitions.
    deploy(json.dumps([OF_TEMPLATE, MINE]))
    assert planned(run(stack, handler)) == {"sms", "mine"}
    assert the_object() is None


def test_backfill_takes_the_definitions_over_too(stack: Stack, handler: Handler) -> None:
    collected(stack, MINE)
    deploy()
    write_parameter(json.dumps([MINE, ALSO_MINE]))
    deploy()
    day = {"start": str(stack.day(2)), "end": str(stack.day(1))}
    with pytest.raises(InvalidRequest, match="no report definition is named sms"):
        run(stack, handler, backfill={"definition": "sms", **day})
    assert run(stack, handler, backfill={"definition": "also-mine", **day})["planned"] != []
    assert len(announced(stack, "definitions.taken_over")) == 1


def test_object_that_the_operator_writes_meanwhile_stays(stack: Stack, handler: Handler) -> None:
    collected(stack, MINE)
    deploy()
    write_parameter(json.dumps([MINE]))
    handler.define(MINE, ALSO_MINE, replaces=False)
    stack.services.definitions.take_over("[]", 2)
    assert planned(run(stack, handler)) == {"mine", "also-mine"}
    assert announced(stack, "definitions.taken_over") == []


def test_untouched_parameter_is_not_copied(stack: Stack, handler: Handler) -> None:
    collected(stack, OF_TEMPLATE)
    deploy()
    deploy()
    assert planned(run(stack, handler)) == {"sms"}
    assert the_object() is None
    # The history counts in the first pass only.
    deploy(json.dumps([{**OF_TEMPLATE, "delay_days": [1]}]))
    run(stack, handler)
    assert the_object() is None


def test_removed_definition_need_not_be_in_the_version(stack: Stack, handler: Handler) -> None:
    collected(stack, OF_TEMPLATE, MINE)
    stack.services.ledger.mark_announced("removed#sms#abcd1234", stack.now)
    deploy()
    write_parameter(json.dumps([MINE]))
    deploy()
    assert planned(run(stack, handler)) == {"mine"}
    assert the_object() == [MINE]


@pytest.mark.parametrize("versions", [[], [[ALSO_MINE]], [[OF_TEMPLATE, ALSO_MINE]]])
def test_nothing_is_planned_if_no_version_fits(
    stack: Stack, handler: Handler, versions: list[list[dict[str, Any]]]
) -> None:
    collected(stack, MINE, OF_TEMPLATE)
    deploy()
    for version in versions:
        write_parameter(json.dumps(version))
    deploy()
    for event in ({"sweep": True}, {}, {"sweep": True}, {}):
        assert run(stack, handler, **event)["planned"] == []
    told = stack.announced()
    assert [each["definition"] for each in told if each["event"] == "definition.refused"] == [
        "(all)"
    ]
    assert [each for each in told if each["event"] == "definition.removed"] == []
    assert the_object() is None

    handler.define(MINE, OF_TEMPLATE, replaces=False)
    assert planned(run(stack, handler)) == {"mine", "sms"}


# Every answer of AWS

WHOLE = json.dumps([MINE, ALSO_MINE])


def cut_body(model: Any) -> Any:
    """Answer with a body that ends before its announced length, and that is a shorter list."""
    if model.name != "GetObject":
        return refusal_of_aws(500, "InternalError")
    text = json.dumps([MINE]).encode()
    body = StreamingBody(io.BytesIO(text), len(WHOLE))
    return answer_of_aws(
        200,
        {
            "Body": body,
            "ContentLength": len(WHOLE),
            "Metadata": {},
            "LastModified": datetime.now(UTC),
        },
    )


def no_answer(model: Any) -> Any:
    raise ReadTimeoutError(endpoint_url=f"https://{model.name}")


def refuses(status: int, code: str) -> Callable[[Any], Any]:
    return lambda _: refusal_of_aws(status, code)


ANSWERS = {
    "cut body": cut_body,
    "no answer": no_answer,
    "S3 forbids": refuses(403, "AccessDenied"),
    "SSM forbids": refuses(400, "AccessDeniedException"),
    "no bucket": refuses(404, "NoSuchBucket"),
    "404 without a code": refuses(404, "404"),
    "slow down": refuses(503, "SlowDown"),
    "internal error": refuses(500, "InternalError"),
    "throttled": refuses(400, "ThrottlingException"),
    "conflict": refuses(409, "ConditionalRequestConflict"),
    "gone": refuses(400, "ParameterNotFound"),
    "archived": refuses(403, "InvalidObjectState"),
    "unmodified": refuses(304, "304"),
}
CALLS = ("GetObject", "PutObject", "GetParameter", "GetParameterHistory")


@contextmanager
def connected(answers: Mapping[str, Callable[[Any], Any]]) -> Iterator[DefinitionsSource]:
    """Yield a source whose clients get these answers in place of AWS's, by operation."""

    def answer(model: Any, **_: object) -> Any:
        return answers[model.name](model) if model.name in answers else None

    session = boto3.DEFAULT_SESSION
    assert session is not None
    # A client copies its session's handlers when it is created.
    session.events.register("before-call", answer)
    try:
        yield DefinitionsSource(
            Bucket(boto3.client("s3"), "reports"),
            DefinitionsParameter(boto3.client("ssm"), "/definitions"),
        )
    finally:
        session.events.unregister("before-call", answer)


@pytest.mark.parametrize("is_object", [True, False])
def test_no_answer_of_aws_gives_a_part_of_the_list(
    stack: Stack,
    handler: Handler,
    subtests: pytest.Subtests,
    *,
    is_object: bool,
) -> None:
    collected(stack, MINE, ALSO_MINE)
    deploy()
    if is_object:
        handler.define(text=WHOLE, replaces=False)
    else:
        write_parameter(WHOLE)
        deploy()
    work, calendar = stack.services.ledger.open_work(), stack.services.ledger.calendar()
    answers: dict[str, Callable[[Any], Any]] = {}
    with connected(answers) as source:
        services = replace(stack.services, definitions=source)
        for operation, (name, answer) in product(CALLS, ANSWERS.items()):
            with subtests.test(f"{operation}: {name}"):
                answers[operation] = answer
                try:
                    loaded = taken_over_definitions(services, work, calendar)
                except (ClientError, BotoCoreError):
                    pass
                else:
                    assert names(loaded) == ["mine", "also-mine"]
                answers.clear()
        assert names(taken_over_definitions(services, work, calendar)) == ["mine", "also-mine"]


def names(loaded: LoadedDefinitions) -> list[str]:
    return [each.name for each in loaded.definitions]


@pytest.mark.parametrize("operation", ["GetObject", "GetParameter"])
def test_unanswered_read_plans_nothing_and_fails_the_pass(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    answers: dict[str, Callable[[Any], Any]] = {operation: refuses(503, "SlowDown")}
    with connected(answers):
        set_environment(stack, monkeypatch)
        handler = Handler(load_handler("submit_reports"))
        deploy()
        with pytest.raises(ResourceUnusable, match=f"AWS refused {operation} with SlowDown"):
            run(stack, handler)
        assert stack.open() == []
        answers.clear()
        assert planned(run(stack, handler)) == {"sms"}
