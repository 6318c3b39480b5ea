"""The checker detects each promise, broken by hand in an outcome that kept them all."""

import json
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from local.simulator import control
from tests.chaos.campaign import Outcome, campaign
from tests.chaos.fake_aws import FakeAws
from tests.chaos.invariants import broken
from tests.chaos.s3 import Objects, Version, read_json
from vonage_reports.domain.catalogue import Registration
from vonage_reports.domain.report import Revision, State

TWICE = {"recollect": {"token": "failure-1"}}
MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)
HELD = {"resolve": {"request_id": None, "hold": 1}}


@pytest.fixture(scope="module")
def outcome() -> Iterator[Outcome]:
    with campaign(24) as running:
        kept = running.run()
        assert broken(kept) == []
        yield kept


def aws(outcome: Outcome, **changed: Any) -> Outcome:
    return replace(outcome, aws=replace(outcome.aws, **changed))


def with_body(outcome: Outcome, key: str, change: Callable[[bytes], bytes]) -> Outcome:
    """Return the outcome with changed bytes of an object."""
    objects: Objects = copy(outcome.aws.objects)
    before = objects.versions[key][-1]
    version = Version(change(before.body), before.metadata, before.number)
    objects.versions = {**objects.versions, key: [version]}
    return aws(outcome, objects=objects)


def a_key(outcome: Outcome, start: str, end: str) -> str:
    keys = outcome.aws.objects.keys
    return next(key for key in keys if key.startswith(start) and key.endswith(end))


def a_manifest(outcome: Outcome) -> str:
    """Return the key of a manifest whose window has no later revision."""
    last = {each.report_id for each in outcome.reports if not each.later_revisions}
    keys = (key for key in outcome.aws.objects.keys if key.startswith("manifests/"))
    return next(key for key in keys if read_json(outcome.aws.objects, key)["report_id"] in last)


def without(outcome: Outcome, key: str) -> Outcome:
    objects: Objects = copy(outcome.aws.objects)
    objects.versions = {name: each for name, each in objects.versions.items() if name != key}
    return aws(outcome, objects=objects)


def corrupt(body: bytes) -> bytes:
    return bytes([body[0] ^ 1]) + body[1:]


def one_row_more(body: bytes) -> bytes:
    manifest = json.loads(body)
    return json.dumps({**manifest, "rows": manifest["rows"] + 1}).encode()


def requested_twice(outcome: Outcome) -> Outcome:
    world = outcome.vonage.simulation.world
    made = next(iter(world.reports.values()))
    vonage = copy(outcome.vonage)
    vonage.simulation = copy(vonage.simulation)
    vonage.simulation.world = replace(world, reports={**world.reports, "again": made})
    return replace(outcome, vonage=vonage)


def six_in_flight(outcome: Outcome) -> Outcome:
    vonage = copy(outcome.vonage)
    vonage.simulation = copy(vonage.simulation)
    vonage.simulation.world = replace(vonage.simulation.world, max_in_flight=6)
    return replace(outcome, vonage=vonage)


def silently(outcome: Outcome, state: State) -> Outcome:
    """Return the outcome with a report that ended without a notification."""
    first, *others = (each for each in outcome.reports if not each.is_half)
    changed = replace(first, state=state, error="ReportFailed", revisions=first.delay_index + 1)
    rest = [each for each in outcome.reports if each.report_id != first.report_id]
    assert others
    messages = [each for each in outcome.aws.messages if each.get("report_id") != first.report_id]
    return aws(replace(outcome, reports=[changed, *rest]), messages=messages)


def failing_after_another_failure(outcome: Outcome) -> Outcome:
    """Return the outcome with a failed report of which only an earlier error is announced."""
    silent = silently(outcome, State.FAILED)
    failed = silent.reports[0]
    message = {"event": "report.failed", "report_id": failed.report_id, "attempt": failed.attempt}
    messages = [*silent.aws.messages, {**message, "error": "VonageRejected"}]
    return aws(silent, messages=messages)


def without_dataset(body: bytes) -> bytes:
    return json.dumps({**json.loads(body), "dataset": None}).encode()


def of_no_revision(body: bytes) -> bytes:
    return json.dumps({**json.loads(body), "revision": "none"}).encode()


def of_another_revision(outcome: Outcome) -> Outcome:
    objects: Objects = copy(outcome.aws.objects)
    key = a_key(outcome, "data/", ".parquet")
    newest = objects.versions[key][-1]
    version = replace(newest, metadata={**newest.metadata, "delay-days": "99"})
    objects.versions = {**objects.versions, key: [version]}
    return aws(outcome, objects=objects)


def without_manifest_of_data(outcome: Outcome) -> Outcome:
    objects: Objects = copy(outcome.aws.objects)
    key = a_key(outcome, "data/", ".parquet")
    another = key.replace(".parquet", "-final.parquet")
    objects.versions = {**objects.versions, another: objects.versions[key]}
    return aws(outcome, objects=objects)


def with_a_phone_number(outcome: Outcome) -> Outcome:
    numbers = control._numbers(outcome.vonage.simulation, {})
    assert isinstance(numbers, list)
    return replace(outcome, logs=f"{outcome.logs} {numbers[0]['first']}")


def still_open(outcome: Outcome) -> Outcome:
    work = replace(outcome.open_work, reports=tuple(outcome.reports[:1]))
    return replace(outcome, open_work=work)


def announcing(outcome: Outcome, run_again: object) -> Outcome:
    message = {"event": "report.failed", "run_again": run_again}
    return aws(outcome, messages=[*outcome.aws.messages, message])


def withdrawn_silently(outcome: Outcome) -> Outcome:
    silent = silently(outcome, State.CANCELLED)
    first, *others = silent.reports
    withdrawn = replace(first, withdrawn_at=first.planned_at)
    return replace(silent, reports=[withdrawn, *others], operator_events=[])


def requested_more_often(outcome: Outcome, events: list[dict[str, Any]], more: int) -> Outcome:
    """Return the outcome with events, and with further requests of the first delivered report."""
    windows = [(each.definition, each.account_id, each.window) for each in outcome.reports]
    report = next(
        each
        for each in outcome.reports
        if (each.state, each.attempt) == (State.DELIVERED, 1)
        and windows.count((each.definition, each.account_id, each.window)) == 1
    )
    made = outcome.vonage.reports[str(report.request_id)]
    asked = [
        {key: {"report_id": report.report_id, **each} for key, each in event.items()}
        for event in events
    ]
    world = outcome.vonage.simulation.world
    vonage = copy(outcome.vonage)
    vonage.simulation = copy(vonage.simulation)
    again = {f"again-{number}": made for number in range(more)}
    vonage.simulation.world = replace(world, reports={**world.reports, **again})
    return replace(outcome, vonage=vonage, operator_events=[*outcome.operator_events, *asked])


def of_another_product(outcome: Outcome) -> Outcome:
    return with_body(outcome, a_key(outcome, "manifests/", ".json"), of_product("ASR"))


def of_product(product: str) -> Callable[[bytes], bytes]:
    return lambda body: json.dumps({**json.loads(body), "product": product}).encode()


def with_a_shared_archive(outcome: Outcome) -> Outcome:
    """Return the outcome with one window's archives in another window's manifest."""
    keys = [key for key in outcome.aws.objects.keys if key.startswith("manifests/")]
    archives = [read_json(outcome.aws.objects, key)["archives"] for key in keys]
    first = next(number for number, each in enumerate(archives) if each)

    def share(body: bytes) -> bytes:
        return json.dumps({**json.loads(body), "archives": archives[first]}).encode()

    return with_body(outcome, keys[-1 if first != len(keys) - 1 else 0], share)


def left_preliminary(outcome: Outcome) -> Outcome:
    """Return the outcome with preliminary revisions alone."""
    changed = [replace(each, revision=Revision.PRELIMINARY) for each in outcome.reports]
    return replace(outcome, reports=changed)


def slot_taken(outcome: Outcome) -> Outcome:
    return replace(outcome, open_work=replace(outcome.open_work, slots={1: "sms"}))


def unregistered(outcome: Outcome) -> Outcome:
    waiting = Registration("sms-1", "SMS", {"definition": "sms"}, "manifests/sms-1.json", MIDNIGHT)
    work = replace(outcome.open_work, registrations=(waiting,))
    return replace(outcome, open_work=work)


def failed_by_the_catalogue(outcome: Outcome) -> Outcome:
    name, execution = next(iter(outcome.aws.executions.items()))
    failed = replace(execution, cause="AWS refused CreatePartition with AccessDeniedException")
    return aws(outcome, executions={**outcome.aws.executions, name: failed})


def without_period_announcements(outcome: Outcome) -> Outcome:
    messages = [each for each in outcome.aws.messages if each["event"] != "period.complete"]
    return aws(outcome, messages=messages)


def without_periods(outcome: Outcome) -> Outcome:
    objects: Objects = copy(outcome.aws.objects)
    objects.versions = {
        key: each for key, each in objects.versions.items() if not key.startswith("periods/")
    }
    return aws(outcome, objects=objects)


def a_period(outcome: Outcome) -> str:
    """Return the key of the last object of a day whose definitions have totals."""
    objects = outcome.aws.objects
    keys = [key for key in objects.keys if key.startswith("periods/")]
    return next(
        key
        for key in reversed(keys)
        if any(each["totals"] for each in read_json(objects, key)["definitions"])
    )


def one_cent_more(body: bytes) -> bytes:
    value = json.loads(body)
    total = next(total for each in value["definitions"] for total in each["totals"])
    total["total_price"] = str(Decimal(total["total_price"]) + Decimal("0.01"))
    return json.dumps(value).encode()


def of_an_earlier_version(body: bytes) -> bytes:
    value = json.loads(body)
    value["manifests"][0]["version_id"] = "v0"
    return json.dumps(value).encode()


def upload_open(outcome: Outcome) -> Outcome:
    objects = copy(outcome.aws.objects)
    objects.uploads = {"u1": None}  # type: ignore[dict-item]  # only counted
    return aws(replace(outcome, unable_to_abort=0), objects=objects)


@pytest.mark.parametrize(
    ("breaks", "sentence"),
    [
        (lambda o: replace(o, at_rest=False), "reports are unfinished"),
        (still_open, "is still open"),
        (slot_taken, "slots are still taken"),
        (lambda o: replace(o, reports=[]), "never planned"),
        (lambda o: silently(o, State.DELIVERED), "but not announced"),
        (lambda o: silently(o, State.FAILED), "failure is not announced"),
        (failing_after_another_failure, "failure is not announced"),
        (lambda o: silently(o, State.CANCELLED), "cancelled without an event"),
        (withdrawn_silently, "cancelled without an event"),
        (lambda o: silently(o, State.SUPERSEDED), "superseded without a later delivery"),
        (lambda o: silently(o, State.HELD), "is HELD at the end"),
        (requested_twice, "was requested 2 times"),
        (lambda o: requested_more_often(o, [TWICE, TWICE], 2), "was requested 3 times"),
        (lambda o: requested_more_often(o, [HELD, HELD], 2), "was requested 3 times"),
        (of_another_product, "zip is of "),
        (with_a_shared_archive, "share the archive"),
        (lambda o: with_body(o, a_manifest(o), of_no_revision), "rows of another revision"),
        (left_preliminary, "no final revision"),
        (lambda o: replace(o, broken_on_the_way=["no end"]), "no end"),
        (six_in_flight, "6 reports were in flight"),
        (lambda o: with_body(o, a_key(o, "archives/", ".zip"), corrupt), "zip differs from Vonage"),
        (lambda o: with_body(o, a_key(o, "archives/", ".zip"), corrupt), "is visible, but differs"),
        (lambda o: with_body(o, a_key(o, "data/", ".parquet"), corrupt), "from the manifest of"),
        (lambda o: with_body(o, a_key(o, "manifests/", ".json"), one_row_more), "rows"),
        (of_another_revision, "is of another revision"),
        (lambda o: with_body(o, a_manifest(o), without_dataset), "has no dataset"),
        (lambda o: without(o, a_key(o, "manifests/", ".json")), "without a manifest"),
        (lambda o: without(o, a_key(o, "archives/", ".zip")), "is missing"),
        (without_manifest_of_data, "is in no manifest"),
        (lambda o: aws(o, partitions=set()), "in no partition"),
        (unregistered, "still wait for the catalogue"),
        (failed_by_the_catalogue, "failed because of the catalogue"),
        (without_period_announcements, "is written, but not announced"),
        (without_periods, "is complete, but not announced"),
        (lambda o: with_body(o, a_period(o), one_cent_more), "'total_price'"),
        (lambda o: with_body(o, a_period(o), of_an_earlier_version), "has the version"),
        (upload_open, "uploads are open"),
        (lambda o: announcing(o, {"recollect": {"report_id": "absent"}}), "an unknown report"),
        (lambda o: announcing(o, {"recollect": {}}), "is refused"),
        (lambda o: replace(o, logs=o.logs + o.secrets[0]), "a secret leaked"),
        (lambda o: replace(o, logs=o.logs + o.paths[0]), "path of a callback leaked"),
        (lambda o: replace(o, woken=dict.fromkeys(o.woken, 2)), "ended 2 waits"),
        (with_a_phone_number, "a phone number leaked"),
        (lambda o: replace(o, unexpected_errors=["KeyError"]), "KeyError"),
    ],
)  # fmt: skip
def test_broken_promise_is_detected(
    outcome: Outcome, breaks: Callable[[Outcome], Outcome], sentence: str
) -> None:
    assert any(sentence in each for each in broken(breaks(outcome)))


def test_events_with_tokens_of_their_own_buy_each(outcome: Outcome) -> None:
    other = {"recollect": {"token": "failure-2"}}
    assert broken(requested_more_often(outcome, [TWICE, other], 2)) == []


def test_checked_texts_are_not_empty(outcome: Outcome) -> None:
    made: FakeAws = outcome.aws
    assert "submit_reports is done" in outcome.logs
    assert {each["event"] for each in made.messages} >= {"report.delivered"}
    assert outcome.woken
    assert outcome.paths
    assert read_json(made.objects, a_key(outcome, "manifests/", ".json"))["rows"] > 0
