"""Deliveries whose partition Glue refused, and the sweeps that register them; Glue is in moto."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import boto3
import pytest
from mypy_boto3_glue import GlueClient

from tests.integration.conftest import instead_of, refusal_of_aws
from tests.support.catalogue import DATABASE, make_catalogue
from tests.support.handlers import Handler
from tests.support.stack import LIFETIME, SCHEDULED, Stack
from vonage_reports.aws.glue import Catalogue, storage
from vonage_reports.domain.catalogue import Registration, table_name
from vonage_reports.domain.objects import manifest_key, partition
from vonage_reports.domain.report import State
from vonage_reports.submit_reports.context import Invocation
from vonage_reports.submit_reports.register import register_waiting


@dataclass
class Waiting:
    """Deliveries that wait, and the pass that registers them."""

    stack: Stack
    glue: GlueClient
    has_catalogue: bool = True
    refused: set[str] = field(default_factory=set)
    """The tables of which Glue refuses the partitions."""
    asked: list[str] = field(default_factory=list)
    """The table of each call."""

    def add(self, definition: str, *days: int, product: str = "SMS", hours: int = 1) -> None:
        """Let `hours` windows of each day wait."""
        table = boto3.resource("dynamodb").Table("ledger")
        for day in days:
            for hour in range(hours):
                name = f"{definition}-202611{day:02}T{hour:02}00Z-0123456789ab"
                values = {"definition": definition, "account": "abcd1234", "date": f"2026-11-{day}"}
                manifest = f"manifests/{name}.json"
                item: Any = {"product": product, "partition": values, "manifest": manifest}
                key = {"pk": "open", "sk": f"catalogue#{name}", "report_id": name}
                table.put_item(Item={**key, **item, "since": self.stack.now.isoformat()})
                columns = [{"name": "id", "type": "string"}]
                self.stack.services.bucket.write_json(manifest, {"columns": columns})

    def left(self) -> list[str]:
        return [each.definition for each in self.stack.services.ledger.open_work().registrations]

    def register(self, *, seconds_left: float = LIFETIME) -> None:
        catalogue = Catalogue(lambda: self.glue, DATABASE, warn=lambda _: None)
        services = replace(self.stack.services, catalogue=catalogue if self.has_catalogue else None)
        done = register_waiting(
            services.ledger.open_work(),
            services,
            Invocation("one", lambda: seconds_left),
            clock=lambda: self.stack.now,
        )
        assert done.errors == []

    def registered(self, product: str = "SMS") -> list[list[str]]:
        found = self.glue.get_partitions(DatabaseName=DATABASE, TableName=table_name(product))
        return [each["Values"] for each in found["Partitions"]]


@pytest.fixture
def waiting(stack: Stack) -> Iterator[Waiting]:
    made = Waiting(stack, make_catalogue("SMS", "AMD"))

    def answer(params: dict[str, Any], **_: object) -> object:
        table = json.loads(params["body"])["TableName"]
        made.asked.append(table)
        return refusal_of_aws(400, "AccessDeniedException") if table in made.refused else None

    instead_of(made.glue, "CreatePartition", answer)
    yield made
    made.glue.close()


def test_settle_keeps_what_the_catalogue_lacks(stack: Stack) -> None:
    stack.plan(2)
    stack.submit()
    one, other = stack.open()
    stack.runs.end(one, is_unregistered=True)
    stack.runs.end(other)
    stack.settle()
    assert {stack.known(each.report_id).state for each in (one, other)} == {State.DELIVERED}
    expected = Registration(
        one.report_id, "VERIFY-V2", partition(one), manifest_key(one), stack.now
    )
    assert stack.services.ledger.open_work().registrations == (expected,)


def test_partition_is_registered_as_its_manifest_describes_it(waiting: Waiting) -> None:
    waiting.add("sms", 21)
    waiting.register()
    assert waiting.left() == []
    values = ["sms", "abcd1234", "2026-11-21"]
    made = waiting.glue.get_partition(
        DatabaseName=DATABASE, TableName="sms", PartitionValues=values
    )["Partition"]
    location = "s3://reports/data/product=SMS/definition=sms/account=abcd1234/date=2026-11-21/"
    assert made["StorageDescriptor"] == storage(location, [("id", "string")])


def test_registered_partition_waits_no_more(waiting: Waiting) -> None:
    for _ in range(2):
        waiting.add("sms", 21)
        waiting.register()
        assert waiting.left() == []
    assert len(waiting.registered()) == 1


def test_first_refusal_ends_the_pass_and_another_definition_begins_the_next(
    waiting: Waiting,
) -> None:
    waiting.add("amd", 20, 21, product="AMD")
    waiting.add("sms", 20, 21)
    waiting.refused = {"amd", "sms"}
    for _ in range(2):
        waiting.register()
        waiting.stack.later(minutes=5)
    assert sorted(waiting.asked) == ["amd", "sms"]
    assert waiting.left() == ["amd", "amd", "sms", "sms"]

    # Glue refuses one table for good.
    waiting.refused = {"amd"}
    for _ in range(2):
        waiting.register()
        waiting.stack.later(minutes=5)
    assert waiting.left() == ["amd", "amd"]
    assert len(waiting.registered()) == 2


def test_pass_registers_twenty_partitions_with_all_their_windows(waiting: Waiting) -> None:
    waiting.add("sms", *range(1, 22), hours=2)
    waiting.register()
    assert len(waiting.registered()) == len(waiting.asked) == 20
    assert len(waiting.left()) == 2
    waiting.register()
    assert len(waiting.registered()) == 21
    assert waiting.left() == []


def test_pass_without_time_registers_nothing(waiting: Waiting) -> None:
    waiting.add("sms", 21)
    waiting.register(seconds_left=60)
    assert (waiting.asked, waiting.left()) == ([], ["sms"])


def test_delivery_without_a_manifest_waits_no_more(waiting: Waiting) -> None:
    waiting.add("sms", 21)
    bucket = waiting.stack.services.bucket
    (item,) = waiting.stack.services.ledger.open_work().registrations
    bucket.client.delete_object(Bucket="reports", Key=item.manifest)
    waiting.register()
    assert (waiting.asked, waiting.left()) == ([], [])


def test_stack_without_catalogue_forgets_what_waits(waiting: Waiting) -> None:
    waiting.add("sms", *range(1, 25))
    waiting.has_catalogue = False
    waiting.register()
    assert (waiting.asked, waiting.left()) == ([], [])


def test_only_sweeps_register(waiting: Waiting, handler: Handler) -> None:
    handler.define({"name": "sms", "product": "SMS", "filters": {"direction": "outbound"}})
    waiting.add("sms", 21)
    at = (SCHEDULED + timedelta(days=1)).isoformat()
    handler({"scheduled_time": at})
    assert waiting.registered() == []
    handler({"sweep": True})
    assert len(waiting.registered()) == 1
    assert waiting.left() == []
