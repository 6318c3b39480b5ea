"""The program's reads of a stack's bucket, in moto's S3."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from tests.support.delivered import Delivered
from vonage_reports.aws.bucket import Bucket
from vonage_reports_cli.errors import CommandError
from vonage_reports_cli.objects import NotReadable, StackObjects, manifests_in
from vonage_reports_cli.period import month_of

NOVEMBER = month_of("2026-11")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        s3 = boto3.client("s3", region_name="eu-west-1")
        s3.create_bucket(
            Bucket="reports", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        yield Bucket(s3, "reports")


def data_key(day: str, *, product: str = "SMS", definition: str = "sms") -> str:
    return f"data/product={product}/definition={definition}/account=abcd1234/date={day}/x.parquet"


def manifest_key(day: str) -> str:
    return f"manifests/sms/abcd1234/{day.replace('-', '/')}/report.json"


def put(bucket: Bucket, key: str, body: bytes = b"{}") -> None:
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=body)


DAYS = ("2025-11-15", "2026-08-31", "2026-09-29", "2026-09-30", "2026-11-01", "2026-12-01",
        "2027-01-02", "2027-01-03")  # fmt: skip
OF_NOVEMBER = ("2026-09-30", "2026-11-01", "2026-12-01", "2027-01-02")


@pytest.mark.parametrize(("prefix", "key"), [("data/", data_key), ("manifests/", manifest_key)])
def test_only_the_months_of_a_period_are_listed(bucket: Bucket, prefix: str, key: Any) -> None:
    for day in DAYS:
        put(bucket, key(day))
    asked: list[str] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        asked.append(params["Prefix"])

    bucket.client.meta.events.register("provide-client-params.s3.ListObjectsV2", note)

    found = StackObjects(bucket).keys(prefix, NOVEMBER)

    assert found == sorted(map(key, OF_NOVEMBER))
    months = {each.rpartition("abcd1234/")[2] for each in asked if "abcd1234/" in each}
    assert {each.removeprefix("date=").strip("/").replace("/", "-") for each in months} == {
        "2026-09", "2026-10", "2026-11", "2026-12", "2027-01",
    }  # fmt: skip


def test_every_product_and_definition_is_listed(bucket: Bucket) -> None:
    keys = sorted([
        data_key("2026-11-02"), data_key("2026-11-02", definition="other"),
        data_key("2026-11-02", product="MESSAGES", definition="messages"),
    ])  # fmt: skip
    for key in keys:
        put(bucket, key)

    assert StackObjects(bucket).keys("data/", NOVEMBER) == keys
    assert StackObjects(bucket).keys("data/") == keys


def test_empty_bucket_has_no_keys(bucket: Bucket) -> None:
    assert StackObjects(bucket).keys("data/", NOVEMBER) == []
    assert manifests_in(StackObjects(bucket), NOVEMBER) == []


def test_manifests_of_the_period_are_read(bucket: Bucket, tmp_path: Path) -> None:
    delivered = Delivered(tmp_path)
    delivered.deliver("SMS", [{"id": "1"}], definition="sms")
    (file,) = (tmp_path / "manifests").rglob("*.json")
    manifest = json.loads(file.read_text())
    for day in DAYS:
        put(bucket, manifest_key(day), json.dumps({**manifest, "day": day}).encode())

    found = manifests_in(StackObjects(bucket), NOVEMBER)

    assert [each["day"] for each in found] == list(OF_NOVEMBER)


def test_object_is_a_file_while_it_is_needed(bucket: Bucket) -> None:
    put(bucket, "archives/x.zip", b"content" * 500_000)

    with StackObjects(bucket).file("archives/x.zip") as path:
        assert path.read_bytes() == b"content" * 500_000
    assert not path.exists()


def test_absent_object_is_told_from_a_cold_one(bucket: Bucket) -> None:
    bucket.client.put_object(
        Bucket=bucket.name, Key="archives/cold.zip", Body=b"x", StorageClass="GLACIER"
    )
    objects = StackObjects(bucket)

    with pytest.raises(FileNotFoundError), objects.file("archives/absent.zip"):
        pass
    with pytest.raises(NotReadable, match=r"archives/cold\.zip is cold; restore it in S3 first"):
        objects.file("archives/cold.zip").__enter__()
    assert objects.read_json("archives/absent.json") is None


def test_garbled_json_names_its_object(bucket: Bucket) -> None:
    put(bucket, manifest_key("2026-11-01"), b"[1]")
    put(bucket, manifest_key("2026-11-02"), b"{")
    objects = StackObjects(bucket)

    with pytest.raises(CommandError, match=r"01/report\.json is no JSON object; restore its last"):
        objects.read_json(manifest_key("2026-11-01"))
    with pytest.raises(CommandError, match=r"02/report\.json is no JSON: "):
        objects.read_json(manifest_key("2026-11-02"))


def test_absent_bucket_is_no_empty_one(bucket: Bucket) -> None:
    bucket.client.delete_bucket(Bucket=bucket.name)

    with pytest.raises(ClientError, match="NoSuchBucket"):
        StackObjects(bucket).keys("data/", NOVEMBER)
