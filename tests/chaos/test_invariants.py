"""The checker can fail: each promise, broken by hand in an outcome that kept them all."""

import json
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from typing import Any

import pytest

from local.simulator import control
from tests.chaos.campaign import Outcome, campaign
from tests.chaos.fake_aws import FakeAws
from tests.chaos.invariants import broken
from tests.chaos.s3 import Objects, Version, read_json
from vonage_reports.domain.report import State


@pytest.fixture(scope="module")
def kept() -> Iterator[Outcome]:
    with campaign(5) as it:
        outcome = it.run()
        assert broken(outcome) == []
        yield outcome


def aws(outcome: Outcome, **changed: Any) -> Outcome:
    return replace(outcome, aws=replace(outcome.aws, **changed))


def with_body(outcome: Outcome, key: str, change: Callable[[bytes], bytes]) -> Outcome:
    """Let an object have other bytes than it should."""
    objects: Objects = copy(outcome.aws.objects)
    before = objects.versions[key][-1]
    version = Version(change(before.body), before.metadata, before.number)
    objects.versions = {**objects.versions, key: [version]}
    return aws(outcome, objects=objects)


def a_key(outcome: Outcome, start: str, end: str) -> str:
    keys = outcome.aws.objects.keys
    return next(key for key in keys if key.startswith(start) and key.endswith(end))


def a_manifest(outcome: Outcome) -> str:
    """The manifest of a report whose window has no later revision."""
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


def bought_twice(outcome: Outcome) -> Outcome:
    world = outcome.vonage.simulation.world
    made = next(iter(world.reports.values()))
    vonage = copy(outcome.vonage)
    vonage.simulation = copy(vonage.simulation)
    vonage.simulation.world = replace(world, reports={**world.reports, "again": made})
    return replace(outcome, vonage=vonage)


def six_at_work(outcome: Outcome) -> Outcome:
    vonage = copy(outcome.vonage)
    vonage.simulation = copy(vonage.simulation)
    vonage.simulation.world = replace(vonage.simulation.world, max_in_flight=6)
    return replace(outcome, vonage=vonage)


def silently(outcome: Outcome, state: State) -> Outcome:
    """Let a report have come to an end of which nothing is said."""
    first, *others = (each for each in outcome.reports if not each.is_half)
    changed = replace(first, state=state, error="ReportFailed", revisions=first.delay_index + 1)
    rest = [each for each in outcome.reports if each.report_id != first.report_id]
    assert others
    messages = [each for each in outcome.aws.messages if each.get("report_id") != first.report_id]
    return aws(replace(outcome, reports=[changed, *rest]), messages=messages)


def failing_after_another_failure(outcome: Outcome) -> Outcome:
    """Let a report have failed of which only an earlier trouble was told."""
    silent = silently(outcome, State.FAILED)
    failed = silent.reports[0]
    told = {"event": "report.failed", "report_id": failed.report_id, "attempt": failed.attempt}
    messages = [*silent.aws.messages, {**told, "error": "VonageRejected"}]
    return aws(silent, messages=messages)


def without_dataset(body: bytes) -> bytes:
    return json.dumps({**json.loads(body), "dataset": None}).encode()


def of_another_revision(outcome: Outcome) -> Outcome:
    objects: Objects = copy(outcome.aws.objects)
    key = a_key(outcome, "data/", ".parquet")
    newest = objects.versions[key][-1]
    version = replace(newest, metadata={**newest.metadata, "delay-days": "99"})
    objects.versions = {**objects.versions, key: [version]}
    return aws(outcome, objects=objects)


def lying_about(outcome: Outcome) -> Outcome:
    objects: Objects = copy(outcome.aws.objects)
    key = a_key(outcome, "data/", ".parquet")
    another = key.replace(".parquet", "-final.parquet")
    objects.versions = {**objects.versions, another: objects.versions[key]}
    return aws(outcome, objects=objects)


def telling_a_number(outcome: Outcome) -> Outcome:
    numbers = control._numbers(outcome.vonage.simulation, {})
    assert isinstance(numbers, list)
    return replace(outcome, logs=f"{outcome.logs} {numbers[0]['first']}")


def still_open(outcome: Outcome) -> Outcome:
    work = replace(outcome.open_work, reports=tuple(outcome.reports[:1]))
    return replace(outcome, open_work=work)


def saying(outcome: Outcome, run_again: object) -> Outcome:
    message = {"event": "report.failed", "run_again": run_again}
    return aws(outcome, messages=[*outcome.aws.messages, message])


def slot_taken(outcome: Outcome) -> Outcome:
    return replace(outcome, open_work=replace(outcome.open_work, slots={1: "sms"}))


def upload_open(outcome: Outcome) -> Outcome:
    objects = copy(outcome.aws.objects)
    objects.uploads = {"u1": None}  # type: ignore[dict-item]  # they are counted
    return aws(replace(outcome, unable_to_abort=0), objects=objects)


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (lambda o: replace(o, at_rest=False), "has not come to rest"),
        (still_open, "is still open"),
        (slot_taken, "slots are still taken"),
        (lambda o: replace(o, reports=[]), "never planned"),
        (lambda o: silently(o, State.DELIVERED), "nobody was told"),
        (lambda o: silently(o, State.FAILED), "nobody was told"),
        (failing_after_another_failure, "nobody was told"),
        (lambda o: silently(o, State.CANCELLED), "cancelled by nobody"),
        (lambda o: silently(o, State.SUPERSEDED), "superseded by nothing"),
        (lambda o: silently(o, State.HELD), "is HELD at the end"),
        (bought_twice, "was bought 2 times"),
        (six_at_work, "6 reports were in flight"),
        (lambda o: with_body(o, a_key(o, "archives/", ".zip"), corrupt), "zip is not what Vonage"),
        (lambda o: with_body(o, a_key(o, "archives/", ".zip"), corrupt), "is visible, and not"),
        (lambda o: with_body(o, a_key(o, "data/", ".parquet"), corrupt), "not what the manifest"),
        (lambda o: with_body(o, a_key(o, "manifests/", ".json"), one_row_more), "rows"),
        (of_another_revision, "is of another revision"),
        (lambda o: with_body(o, a_manifest(o), without_dataset), "has no dataset"),
        (lambda o: without(o, a_key(o, "manifests/", ".json")), "without a manifest"),
        (lambda o: without(o, a_key(o, "archives/", ".zip")), "is not there"),
        (lying_about, "what no manifest tells of"),
        (lambda o: aws(o, partitions=set()), "in no partition"),
        (upload_open, "uploads are open"),
        (lambda o: saying(o, {"recollect": {"report_id": "nobody"}}), "that nobody knows"),
        (lambda o: saying(o, {"recollect": {}}), "is no event"),
        (lambda o: replace(o, logs=o.logs + o.secrets[0]), "a secret is told"),
        (telling_a_number, "a phone number is told"),
        (lambda o: replace(o, surprises=["KeyError"]), "KeyError"),
    ],
)  # fmt: skip
def test_a_broken_promise_is_seen(
    kept: Outcome, breaks: Callable[[Outcome], Outcome], says: str
) -> None:
    assert any(says in sentence for sentence in broken(breaks(kept)))


def test_what_the_checker_reads_is_there(kept: Outcome) -> None:
    made: FakeAws = kept.aws
    assert "submit_reports is done" in kept.logs
    assert {each["event"] for each in made.messages} >= {"report.delivered"}
    assert read_json(made.objects, a_key(kept, "manifests/", ".json"))["rows"] > 0
