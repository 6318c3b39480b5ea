"""The credentials against Secrets Manager as moto has it."""

import json
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
    """A secret, the clock of whoever reads it, and how often it was read."""

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


def test_the_credentials_are_those_of_the_secret_and_say_so(secret: Secret) -> None:
    credentials = cached_credentials(secret.client, secret.arn)(False)  # noqa: FBT003 - the contract
    assert (credentials.api_key, credentials.api_secret) == (API_KEY, API_SECRET)
    assert secret.arn in credentials.source
    assert API_SECRET not in repr(credentials)


def test_nothing_is_read_before_it_is_needed(secret: Secret) -> None:
    cached_credentials(secret.client, secret.arn)
    assert secret.reads == []


def test_they_are_read_once_for_many_requests(secret: Secret) -> None:
    credentials = cached_credentials(secret.client, secret.arn, clock=secret.clock)
    for seconds in (0, 1, 100, MAX_AGE - 101):
        secret.clock.now += seconds
        credentials(False)  # noqa: FBT003 - the contract
    assert len(secret.reads) == 1


def test_they_are_read_again_when_they_are_old(secret: Secret) -> None:
    credentials = cached_credentials(secret.client, secret.arn, clock=secret.clock)
    credentials(False)  # noqa: FBT003 - the contract
    secret.put(PAIR.replace(API_SECRET, "rotated"))
    secret.clock.now += MAX_AGE
    assert credentials(False).api_secret == API_SECRET  # noqa: FBT003 - the contract
    secret.clock.now += 1
    assert credentials(False).api_secret == "rotated"  # noqa: FBT003 - the contract
    assert len(secret.reads) == 2


def test_they_are_read_again_when_fresh_ones_are_asked_for(secret: Secret) -> None:
    credentials = cached_credentials(secret.client, secret.arn, clock=secret.clock)
    credentials(False)  # noqa: FBT003 - the contract
    secret.put(PAIR.replace(API_SECRET, "rotated"))
    assert credentials(True).api_secret == "rotated"  # noqa: FBT003 - the contract
    assert credentials(False).api_secret == "rotated"  # noqa: FBT003 - the contract
    assert len(secret.reads) == 2


def test_fresh_ones_are_kept_for_as_long_as_others(secret: Secret) -> None:
    credentials = cached_credentials(secret.client, secret.arn, clock=secret.clock)
    credentials(False)  # noqa: FBT003 - the contract
    secret.clock.now += MAX_AGE - 1
    credentials(True)  # noqa: FBT003 - the contract
    secret.clock.now += MAX_AGE
    credentials(False)  # noqa: FBT003 - the contract
    assert len(secret.reads) == 2


def test_what_could_not_be_read_is_read_the_next_time(secret: Secret) -> None:
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
    ],
)
def test_a_secret_that_is_none_is_named_and_never_shown(value: str, secret: Secret) -> None:
    secret.put(value)
    error = refused(secret.client, secret.arn)
    assert secret.arn in str(error)
    assert "api_key" in str(error)
    trace = "".join(traceback.format_exception(error))
    assert API_SECRET not in trace
    assert API_KEY not in trace


def test_a_secret_of_bytes_is_named(secrets: SecretsManagerClient) -> None:
    arn = secrets.create_secret(Name="bytes", SecretBinary=PAIR.encode())["ARN"]
    assert arn in str(refused(secrets, arn))


def test_a_secret_without_a_value_asks_for_one(secrets: SecretsManagerClient) -> None:
    arn = secrets.create_secret(Name="empty")["ARN"]
    error = refused(secrets, arn)
    assert arn in str(error)
    assert "put one" in str(error)


def test_a_secret_that_is_not_there_is_named(secret: Secret) -> None:
    arn = secret.arn.replace("vonage", "another")
    assert arn in str(refused(secret.client, arn))


def test_what_aws_refuses_is_not_the_secrets_fault(secret: Secret) -> None:
    secret.client.delete_secret(SecretId=secret.arn)
    with pytest.raises(ClientError):
        cached_credentials(secret.client, secret.arn)(False)  # noqa: FBT003 - the contract
