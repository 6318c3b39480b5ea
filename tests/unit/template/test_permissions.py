from typing import Any

import pytest

from tests.end_to_end.permissions import Permission, beyond, idle, needed

SCOPE = "eu-west-1:000000000000"
TABLE = f"arn:aws:dynamodb:{SCOPE}:table/ledger"


def permissions_for(call: str, *items: tuple[str, str], **named: str) -> set[tuple[str, str]]:
    line: dict[str, Any] = {
        "call": call,
        "named": named,
        "items": [{"kind": kind, "TableName": table} for kind, table in items],
    }
    return {(each.action, each.resource) for each in needed(line, function="F", scope=SCOPE)}


def test_transaction_needs_the_actions_of_its_parts() -> None:
    assert permissions_for(
        "dynamodb:TransactWriteItems", ("Put", "ledger"), ("ConditionCheck", "ledger")
    ) == {("dynamodb:PutItem", TABLE), ("dynamodb:ConditionCheckItem", TABLE)}


def test_batch_needs_its_own_action_for_each_table() -> None:
    assert permissions_for("dynamodb:BatchGetItem", ("BatchGetItem", "ledger")) == {
        ("dynamodb:BatchGetItem", TABLE)
    }


def test_head_of_an_object_needs_list_bucket_too() -> None:
    assert permissions_for("s3:HeadObject", Bucket="b", Key="archives/a.zip") == {
        ("s3:GetObject", "arn:aws:s3:::b/archives/a.zip"),
        ("s3:ListBucket", "arn:aws:s3:::b"),
    }


@pytest.mark.parametrize("call", ["s3:DeleteObject", "dynamodb:Scan", "kms:Decrypt"])
def test_unknown_call_is_rejected_or_exceeds_the_policies(
    call: str,
) -> None:
    try:
        found = permissions_for(call, Bucket="b", Key="k", TableName="ledger")
    except KeyError:
        return
    policies = {Permission("F", "dynamodb:Query", TABLE)}
    assert beyond([Permission("F", *each) for each in found], policies)


def test_permissions_match_function_action_and_resource() -> None:
    put = Permission("F", "s3:PutObject", "arn:aws:s3:::b/archives/*")
    done = Permission("F", "s3:PutObject", "arn:aws:s3:::b/archives/2026/a.zip")

    assert (beyond({done}, {put}), idle({done}, {put})) == ([], [])
    for other in (
        Permission("G", done.action, done.resource),
        Permission("F", "s3:DeleteObject", done.resource),
        Permission("F", done.action, "arn:aws:s3:::b/data/a.parquet"),
    ):
        assert (beyond({other}, {put}), idle({other}, {put})) == ([other], [put])
