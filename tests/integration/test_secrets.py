"""The credentials, from moto's Secrets Manager."""

import json
import logging
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field

import boto3
import pytest
from botocore.exceptions import ClientError
from mypy_boto3_secretsmanager import SecretsManagerClient

from tests.integration.conftest import API_KEY, API_SECRET
from vonage_reports.aws.secrets import MAX_AGE, cached_credentials
from vonage_reports.domain.errors import InvalidRequest

PAIR = json.dumps({"api_key": API_KEY, "api_secret": API_SECRET})


@pytest.fixture
def secrets(aws: None, aws_session: boto3.Session) -> Iterator[SecretsManagerClient]:  # noqa: ARG001 - aws: first
    client = aws_session.client("secretsmanager")
    yield client
    client.close()


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Secret:
    """A secret, the clock of its reader, and one entry per read."""

    client: SecretsManagerClient
    clock: Clock = field(default_factory=Clock)
    reads: list[object] = field(default_factory=list)
    arn: str = ""

    def put(self, value: str) -> None:
        self.client.put_secret_value(SecretId=self.arn, SecretString=value)


@pytest.fixture
def secret(secrets: SecretsManagerClient) -> Secret:
    secret = Secret(secrets)
    secret.arn = secrets.create_secret(Name="vonage", SecretString=PAIR)["ARN"]
    secrets.meta.events.register(
        "before-call.secrets-manager.GetSecretValue", lambda **_: secret.reads.append(1)
    )
    return secret


def refused(client: SecretsManagerClient, arn: str) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as raised:
        cached_credentials(client, arn)(False)  # noqa: FBT003 - the contract
    return raised.value


def test_credentials_come_from_the_secret_and_name_it(secret: Secret) -> None:
    credentials = cached_credentials(secret.client, secret.arn)(False)  # noqa: FBT003 - the contract
    assert (credentials.api_key, credentials.api_secret) == (API_KEY, API_SECRET)
    assert secret.arn in credentials.source
    assert API_SECRET not in repr(credentials)


def test_secret_is_not_read_before_it_is_needed(secret: Secret) -> None:
    cached_credentials(secret.client, secret.arn)
    assert secret.reads == []


def test_secret_is_read_once_for_many_requests(secret: Secret) -> None:
    credentials = cached_credentials(secret.client, secret.arn, clock=secret.clock)
    for seconds in (0, 1, 100, MAX_AGE - 101):
        secret.clock.now += seconds
        credentials(False)  # noqa: FBT003 - the contract
    assert len(secret.reads) == 1


def test_old_credentials_are_read_again(secret: Secret) -> None:
    credentials = cached_credentials(secret.client, secret.arn, clock=secret.clock)
    credentials(False)  # noqa: FBT003 - the contract
    secret.put(PAIR.replace(API_SECRET, "rotated"))
    secret.clock.now += MAX_AGE
    assert credentials(False).api_secret == API_SECRET  # noqa: FBT003 - the contract
    secret.clock.now += 1
    assert credentials(False).api_secret == "rotated"  # noqa: FBT003 - the contract
    assert len(secret.reads) == 2


def test_fresh_credentials_are_read_on_request(secret: Secret) -> None:
    credentials = cached_credentials(secret.client, secret.arn, clock=secret.clock)
    credentials(False)  # noqa: FBT003 - the contract
    secret.put(PAIR.replace(API_SECRET, "rotated"))
    assert credentials(True).api_secret == "rotated"  # noqa: FBT003 - the contract
    assert credentials(False).api_secret == "rotated"  # noqa: FBT003 - the contract
    assert len(secret.reads) == 2


def test_fresh_credentials_are_cached_as_long_as_others(secret: Secret) -> None:
    credentials = cached_credentials(secret.client, secret.arn, clock=secret.clock)
    credentials(False)  # noqa: FBT003 - the contract
    secret.clock.now += MAX_AGE - 1
    credentials(True)  # noqa: FBT003 - the contract
    secret.clock.now += MAX_AGE
    credentials(False)  # noqa: FBT003 - the contract
    assert len(secret.reads) == 2


def test_failed_read_is_not_cached(secret: Secret) -> None:
    credentials = cached_credentials(secret.client, secret.arn, clock=secret.clock)
    secret.put("{}")
    with pytest.raises(InvalidRequest):
        credentials(False)  # noqa: FBT003 - the contract
    secret.put(PAIR)
    assert credentials(False).api_secret == API_SECRET  # noqa: FBT003 - the contract


@pytest.mark.parametrize(
    "value",
    [
        API_SECRET,
        f'"{API_SECRET}"',
        f'["{API_KEY}", "{API_SECRET}"]',
        f'{{"api_key": "{API_KEY}", "api_secret": "{API_SECRET}"',
        f'{{"api_secret": "{API_SECRET}"}}',
        f'{{"api_key": "{API_KEY}"}}',
        f'{{"api_key": "", "api_secret": "{API_SECRET}"}}',
        f'{{"api_key": "{API_KEY}", "api_secret": ""}}',
        f'{{"api_key": null, "api_secret": "{API_SECRET}"}}',
        f'{{"key": "{API_KEY}", "secret": "{API_SECRET}"}}',
        f'{{"API_KEY": "{API_KEY}", "API_SECRET": "{API_SECRET}"}}',
        "{}",
        "null",
        "5",
        " ",
        "REPLACE ME",
        f'{{"api_key": 12345678, "api_secret": "{API_SECRET}"}}',
        f'{{"api_key": "{API_KEY}", "api_secret": ["{API_SECRET}"]}}',
        f'{{"api_key": " ", "api_secret": "{API_SECRET}"}}',
        f'{{"api_key": "{API_KEY}", "api_secret": "\\n"}}',
        f'{{"api_key": "{API_KEY}#x", "api_secret": "{API_SECRET}"}}',
        f'{{"api_key": "{API_KEY} x", "api_secret": "{API_SECRET}"}}',
        f'{{"api_key": "{API_KEY}ü", "api_secret": "{API_SECRET}"}}',
        f'{{"api_key": "{API_KEY * 6}", "api_secret": "{API_SECRET}"}}',
        "[" * 100_000,
    ],
)
def test_invalid_secret_is_named_and_never_shown(value: str, secret: Secret) -> None:
    secret.put(value)
    error = refused(secret.client, secret.arn)
    assert secret.arn in str(error)
    assert "vonage-reports secret put" in str(error)
    assert "api_key" in str(error)
    trace = "".join(traceback.format_exception(error))
    assert API_SECRET not in trace
    assert API_KEY not in trace


@pytest.mark.parametrize("space", [" ", "\n", "\r\n", "\t", "\u00a0"])
def test_space_around_the_credentials_is_removed(space: str, secret: Secret) -> None:
    pair = {"api_key": f"{space}{API_KEY}{space}", "api_secret": f"{space}{API_SECRET}{space}"}
    secret.put(json.dumps(pair))
    credentials = cached_credentials(secret.client, secret.arn)(False)  # noqa: FBT003 - the contract
    assert (credentials.api_key, credentials.api_secret) == (API_KEY, API_SECRET)


def test_debug_log_of_botocore_omits_the_secret(
    secret: Secret, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "botocore.parsers")
    cached_credentials(secret.client, secret.arn)(False)  # noqa: FBT003 - the contract
    assert "GetSecretValue" in caplog.text
    assert API_SECRET not in caplog.text


def test_binary_secret_is_named(secrets: SecretsManagerClient) -> None:
    arn = secrets.create_secret(Name="bytes", SecretBinary=PAIR.encode())["ARN"]
    assert arn in str(refused(secrets, arn))


def test_secret_without_a_value_asks_for_one(secrets: SecretsManagerClient) -> None:
    arn = secrets.create_secret(Name="empty")["ARN"]
    error = refused(secrets, arn)
    assert arn in str(error)
    assert "vonage-reports secret put" in str(error)


def test_missing_secret_is_named(secret: Secret) -> None:
    arn = secret.arn.replace("vonage", "another")
    assert arn in str(refused(secret.client, arn))


def test_refusal_of_aws_is_not_an_invalid_secret(secret: Secret) -> None:
    secret.client.delete_secret(SecretId=secret.arn)
    with pytest.raises(ClientError):
        cached_credentials(secret.client, secret.arn)(False)  # noqa: FBT003 - the contract
