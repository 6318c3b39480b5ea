"""The examples in docs/examples/ run, or are read by a grammar of their dialect."""

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import duckdb
import pytest
import sqlglot
import yaml
from moto import mock_aws
from mypy_boto3_s3 import S3Client
from mypy_boto3_sqs import SQSClient

from local.stack.template import read_template
from tests.support.delivered import Delivered
from tests.support.paths import ROOT
from vonage_reports.aws.sns import Topic
from vonage_reports.domain import notifications
from vonage_reports_cli.sql.dataset import Folder, open_dataset

EXAMPLES = ROOT / "docs" / "examples"
CONSUMER = EXAMPLES / "consumer_lambda"
REPORTS, COPIES = "reports", "copies"
TEMPLATE = read_template(CONSUMER / "template.yaml")


def sms(number: int, price: str = "0.05", country: str = "GB") -> dict[str, str]:
    return {
        "id": str(number),
        "account_id": "abcd1234",
        "country": country,
        "currency": "EUR",
        "total_price": price,
        "date_received": "2026-11-19T12:00:00+00:00",
    }


def delivered(folder: Path) -> Path:
    """Deliver one window of SMS twice, one of VERIFY-V2, and one that is preliminary still."""
    deliveries = Delivered(folder)
    earlier = datetime(2026, 11, 20, 2, 15, tzinfo=UTC)
    deliveries.deliver(
        "SMS", [sms(1)], definition="sms", revision="preliminary", collected_at=earlier
    )
    deliveries.deliver("SMS", [sms(1), sms(2, "0.07", "FR")], definition="sms")
    deliveries.deliver("SMS", [sms(3)], definition="sms", day="2026-11-20", revision="preliminary")
    deliveries.deliver("VERIFY-V2", [sms(4)], definition="verify")
    return folder


# The Lambda function.


@dataclass
class Consumer:
    """The consumer behind the queue of its template, and the stack's bucket and topic."""

    app: ModuleType
    folder: Path
    topic: Topic
    queue_url: str
    seconds: "count[int]" = field(default_factory=count)
    s3: S3Client = field(default_factory=lambda: boto3.client("s3"))
    sqs: SQSClient = field(default_factory=lambda: boto3.client("sqs"))

    def deliver(self, *rows: dict[str, str]) -> dict[str, Any]:
        """Write dataset and manifest as the stack does; return the notification, unsent."""
        Delivered(self.folder).deliver("SMS", rows, definition="sms")
        (path,) = (self.folder / "manifests").rglob("*.json")
        manifest = json.loads(path.read_text())
        key = manifest["dataset"]["key"]
        put = self.s3.put_object(Bucket=REPORTS, Key=key, Body=(self.folder / key).read_bytes())
        manifest["dataset"]["version_id"] = put["VersionId"]
        manifest["times"]["delivered"] = f"2026-11-23T02:20:{next(self.seconds):02}Z"
        place = str(path.relative_to(self.folder))
        self.s3.put_object(Bucket=REPORTS, Key=place, Body=json.dumps(manifest))
        return notifications.delivered(manifest, manifest_key=place)

    def messages(self, *bodies: dict[str, Any]) -> list[dict[str, Any]]:
        """Publish notifications; return what the queue gets, as Lambda hands it over."""
        for body in bodies:
            self.topic.announce(body)
        found = self.sqs.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10)
        return [
            {"messageId": each["MessageId"], "body": each["Body"], "eventSource": "aws:sqs"}
            for each in found.get("Messages", [])
        ]

    def handle(self, records: list[dict[str, Any]]) -> list[str]:
        """Call the handler; return the messages that SQS delivers again."""
        answer = self.app.lambda_handler({"Records": records}, None)
        return [each["itemIdentifier"] for each in answer["batchItemFailures"]]

    def copies(self) -> list[bytes]:
        objects = self.s3.list_objects_v2(Bucket=COPIES).get("Contents", [])
        return [
            self.s3.get_object(Bucket=COPIES, Key=each["Key"])["Body"].read() for each in objects
        ]

    def windows(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = boto3.resource("dynamodb").Table("windows").scan()["Items"]
        return items


@pytest.fixture
def consumer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Consumer]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    resources = TEMPLATE["Resources"]
    of_function = resources["Consumer"]["Properties"]["Environment"]["Variables"]
    values = {"ReportsBucket": REPORTS, "Copies": COPIES, "Windows": "windows"}
    for name, reference in of_function.items():
        monkeypatch.setenv(name, values[reference["Ref"]])
    with mock_aws():
        s3, sns, sqs = boto3.client("s3"), boto3.client("sns"), boto3.client("sqs")
        for bucket in (REPORTS, COPIES):
            s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket=REPORTS, VersioningConfiguration={"Status": "Enabled"})
        boto3.client("dynamodb").create_table(
            TableName="windows", **resources["Windows"]["Properties"]
        )
        topic = sns.create_topic(Name="reports")["TopicArn"]
        queue = sqs.create_queue(QueueName="deliveries")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        subscription = resources["Subscription"]["Properties"]
        sns.subscribe(
            TopicArn=topic,
            Protocol=subscription["Protocol"],
            Endpoint=arn["Attributes"]["QueueArn"],
            Attributes={
                "RawMessageDelivery": json.dumps(subscription["RawMessageDelivery"]),
                "FilterPolicy": json.dumps(subscription["FilterPolicy"]),
            },
        )
        topic_of_stack = Topic(sns, topic, stack="prod")
        yield Consumer(load(CONSUMER / "app.py"), tmp_path, topic_of_stack, queue)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_consumer_copies_the_dataset_and_notes_the_window(consumer: Consumer) -> None:
    body = consumer.deliver(sms(1), sms(2))

    assert consumer.handle(consumer.messages(body)) == []
    (copy,) = consumer.copies()
    assert copy == (consumer.folder / body["dataset"]).read_bytes()
    (item,) = consumer.windows()
    assert item["window"] == body["dataset"]
    assert (item["rows"], item["revision"]) == (2, "final")
    assert json.loads(item["totals"]) == body["totals"]


def test_consumer_gets_only_what_its_filter_policy_names(consumer: Consumer) -> None:
    body = consumer.deliver(sms(1))
    others = [{**body, "revision": "preliminary"}, {**body, "event": "report.overdue"}]
    others[1]["message"] = "sms, 2026-11-19: due"

    assert len(consumer.messages(body, *others)) == 1


def test_duplicate_message_changes_nothing(consumer: Consumer) -> None:
    messages = consumer.messages(consumer.deliver(sms(1)))
    consumer.handle(messages)
    before = consumer.windows(), consumer.copies()

    assert consumer.handle(messages + messages) == []
    assert (consumer.windows(), consumer.copies()) == before


@pytest.mark.parametrize("order", [lambda each: each, reversed])
def test_newest_delivery_counts_in_any_order(
    consumer: Consumer, order: Callable[[list[Any]], Any]
) -> None:
    first = consumer.messages(consumer.deliver(sms(1)))
    consumer.handle(first)
    second = consumer.messages(consumer.deliver(sms(1), sms(2)))

    assert consumer.handle(list(order(first + second))) == []
    (item,) = consumer.windows()
    assert item["rows"] == 2
    assert len(consumer.copies()) == 2


def test_manifest_without_a_dataset_is_left_to_the_later_revision(consumer: Consumer) -> None:
    body = consumer.deliver(sms(1))
    manifest = json.loads(
        consumer.s3.get_object(Bucket=REPORTS, Key=body["manifest"])["Body"].read()
    )
    consumer.s3.put_object(
        Bucket=REPORTS, Key=body["manifest"], Body=json.dumps({**manifest, "dataset": None})
    )

    assert consumer.handle(consumer.messages(body)) == []
    assert (consumer.copies(), consumer.windows()) == ([], [])


def test_only_the_failed_message_is_tried_again(consumer: Consumer) -> None:
    good, bad = consumer.messages(consumer.deliver(sms(1)), consumer.deliver(sms(1), sms(2)))
    bad["body"] = json.dumps({**json.loads(bad["body"]), "manifest": "manifests/not-there.json"})

    assert consumer.handle([bad, good]) == [bad["messageId"]]


def test_template_of_the_consumer_is_valid() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), CONSUMER / "template.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "")


# DuckDB, Snowflake, Databricks and dbt.


def test_notebook_reads_by_manifest(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "notebook.py", delivered(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    # The preliminary delivery of the first window is replaced.
    assert "SMS: 3 of 3 records" in done.stdout
    assert "VERIFY-V2: 1 of 1 records" in done.stdout


def manifests_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in (folder / "manifests").rglob("*.json")]


def statements(text: str) -> list[str]:
    """Return the statements of SQL without semicolons inside."""
    plain = re.sub(r"--.*", "", text)
    return [each.strip() for each in plain.split(";") if each.strip()]


def parts_of(name: str) -> tuple[list[str], list[str]]:
    """Return the portable texts of an example in SQL, and the others."""
    _, *parts = (EXAMPLES / name).read_text().split("-- >>> ")
    portable = [part.partition("\n")[2] for part in parts if part.startswith("portable")]
    others = [part.partition("\n")[2] for part in parts if not part.startswith("portable")]
    assert portable
    assert others
    return portable, others


def test_snowflake_loads_what_is_pending(tmp_path: Path) -> None:
    (once, question), _ = parts_of("snowflake.sql")
    db = duckdb.connect()
    for statement in statements(once):
        db.execute(statement)
    delivered(tmp_path)
    # The folder's manifests, as COPY would load them.
    names = ("report_id", "definition", "product", "account_id", "revision", "rows")
    found = [
        [
            *(each[name] for name in names),
            each["dataset"]["key"],
            each["dataset"]["version_id"],
            each["times"]["delivered"],
        ]
        for each in manifests_in(tmp_path)
    ]
    db.executemany("INSERT INTO manifests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", found)

    pending = db.execute("SELECT dataset_key, version_id, records FROM pending ORDER BY 1")
    windows = pending.fetchall()
    assert [(rows, "date=2026-11-19" in key) for key, _, rows in windows] == [(2, True), (1, False)]

    (key, version, rows), _ = windows
    db.execute("INSERT INTO loaded VALUES (?, ?, ?)", [key, version, rows])
    assert len(db.execute("SELECT * FROM pending").fetchall()) == 1
    db.execute("UPDATE loaded SET version_id = 'the version before'")
    assert len(db.execute("SELECT * FROM pending").fetchall()) == 2

    columns = [name for name, *_ in db.execute("DESCRIBE sms").fetchall() if name != "_file"]
    files = [str(tmp_path / key) for key, _, _ in windows]
    db.execute(
        f"INSERT INTO sms SELECT {', '.join(columns)}, filename FROM read_parquet(?)", [files]
    )
    (question_only,) = statements(question)
    totals = db.execute(question_only).fetchall()
    assert [(country, records, str(cost)) for country, _, records, cost in totals] == [
        ("FR", 1, "0.07000000"),
        ("GB", 2, "0.10000000"),
    ]


def test_snowflake_is_read_by_its_grammar() -> None:
    _, others = parts_of("snowflake.sql")
    before, _, block = "\n".join(others).partition("EXECUTE IMMEDIATE $$")

    parsed = sqlglot.parse(re.sub(r"--.*", "", before), read="snowflake")
    kinds = [type(each).__name__ for each in parsed if each is not None]
    assert kinds == ["Create", "Create", "Copy"]
    (copied,) = re.findall(r"EXECUTE IMMEDIATE '(COPY.*?);", block, re.DOTALL)
    written = re.sub(r"'\s*\|\|\s*'|' \|\| :name \|\| '", "", copied).replace("''", "'")
    assert type(sqlglot.parse_one(written.rstrip("'"), read="snowflake")).__name__ == "Copy"


def constants_of(name: str) -> dict[str, str]:
    """Return the texts that a script defines, without running it."""
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse((EXAMPLES / name).read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def test_databricks_finds_what_is_pending(tmp_path: Path) -> None:
    names = constants_of("databricks.py")
    db = duckdb.connect()
    delivered(tmp_path)
    schema = names["MANIFEST_SCHEMA"].replace("STRUCT<", "STRUCT(").replace(">", ")")
    db.execute(f"CREATE TABLE manifests ({schema.replace(':', '')})")
    db.execute(f"COPY manifests FROM '{tmp_path}/manifests/**/*.json' (FORMAT json)")
    db.execute("CREATE TABLE loaded (dataset_key VARCHAR, version_id VARCHAR)")

    pending = db.execute(names["PENDING"]).fetchall()
    assert sorted(rows for _, _, rows in pending) == [1, 2]
    db.executemany("INSERT INTO loaded VALUES (?, ?)", [each[:2] for each in pending])
    assert db.execute(names["PENDING"]).fetchall() == []


def model(name: str) -> str:
    """Return the SQL of a model of dbt, with the names of the tables."""
    text = (EXAMPLES / "dbt" / "models" / f"{name}.sql").read_text()
    return re.sub(
        r"\{\{ source\('vonage_usage_reports', '(\w+)'\) \}\}",
        r"\1",
        re.sub(r"\{\{ config\(.*?\) \}\}", "", text),
    )


def test_models_of_dbt_run_on_the_tables(tmp_path: Path) -> None:
    with open_dataset(Folder(delivered(tmp_path))) as db:
        days = db.execute(model("usage_by_day") + " ORDER BY 1, 3").fetchall()
        incomplete = db.execute(model("incomplete_deliveries")).fetchall()

    assert [(str(day), product, records) for day, _, product, _, records, *_ in days] == [
        ("2026-11-19", "SMS", 3),
        ("2026-11-19", "VERIFY-V2", 1),
    ]
    assert incomplete == [("sms", "abcd1234", "2026-11-20T00:00:00Z", 1)]


@pytest.mark.parametrize("dialect", ["athena", "trino", "databricks", "snowflake"])
def test_models_of_dbt_are_read_by_grammars(dialect: str) -> None:
    for name in ("usage_by_day", "incomplete_deliveries"):
        assert type(sqlglot.parse_one(model(name), read=dialect)).__name__ == "Select"


def test_databricks_query_is_read_by_its_grammar() -> None:
    names = constants_of("databricks.py")

    assert type(sqlglot.parse_one(names["PENDING"], read="databricks")).__name__ == "Select"


def test_sources_of_dbt_are_tables_of_the_stack() -> None:
    (source,) = yaml.safe_load((EXAMPLES / "dbt/models/sources.yml").read_text())["sources"]
    stack = read_template(ROOT / "template.yaml")["Resources"]
    tables = {
        each["Properties"]["TableInput"]["Name"]
        for each in stack.values()
        if each["Type"] == "AWS::Glue::Table"
    }

    assert {each["name"] for each in source["tables"]} <= tables


def test_each_example_says_what_was_not_executed() -> None:
    files = [
        path for path in EXAMPLES.rglob("*") if path.suffix in (".py", ".sql", ".yaml", ".yml")
    ]
    heads = {path: "\n".join(path.read_text().splitlines()[:12]) for path in files}
    told = {path for path, head in heads.items() if re.search(r"[Nn]ot executed|never ran", head)}

    # The models of dbt are explained in sources.yml.
    assert {path.name for path in files if path not in told} == {
        "dbt_project.yml", "usage_by_day.sql", "incomplete_deliveries.sql",
    }  # fmt: skip
