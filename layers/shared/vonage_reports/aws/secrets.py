"""The Vonage credentials, from Secrets Manager."""

import json
import logging
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.vonage.client import Credentials

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

MAX_AGE = 300.0
"""Seconds for which the credentials are cached. A rotated secret takes effect that much later."""


_API_KEY = re.compile("[A-Za-z0-9]{1,40}")


def cached_credentials(
    client: "SecretsManagerClient", secret_arn: str, *, clock: Callable[[], float] = time.monotonic
) -> Callable[[bool], Credentials]:
    """Return a function that returns the cached credentials or, given True, fresh ones.

    That function raises InvalidRequest, which names the secret, if the secret has no usable value.
    """
    kept: tuple[float, Credentials] | None = None

    def credentials(fresh: bool) -> Credentials:  # noqa: FBT001 - the client calls it by place
        nonlocal kept
        if kept is None or fresh or clock() - kept[0] > MAX_AGE:
            kept = clock(), _read(client, secret_arn)
        return kept[1]

    return credentials


def _read(client: "SecretsManagerClient", secret_arn: str) -> Credentials:
    # At level DEBUG, this logger writes each answer, and so the secret.
    logging.getLogger("botocore.parsers").setLevel(logging.INFO)
    try:
        secret = client.get_secret_value(SecretId=secret_arn).get("SecretString", "")
    except client.exceptions.ResourceNotFoundException as error:
        # The template creates the secret without a value.
        raise InvalidRequest(f"the secret {secret_arn} has no value. {_put(secret_arn)}") from error
    try:
        value = json.loads(secret)
        # A line feed at the end often comes with a pasted key.
        key, api_secret = (str.strip(value[name]) for name in ("api_key", "api_secret"))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        key, api_secret = "", ""
        cause: Exception | None = error
    else:
        cause = None
    if not (key and api_secret):
        raise InvalidRequest(
            f"the secret {secret_arn} does not hold api_key and api_secret, both as non-empty "
            f"strings. {_put(secret_arn)}"
        ) from cause
    if not _API_KEY.fullmatch(key):
        raise InvalidRequest(
            f"the secret {secret_arn} has an api_key that is not 1 to 40 letters and digits. "
            f"{_put(secret_arn)}"
        )
    return Credentials(key, api_secret, f"the secret {secret_arn}")


def _put(secret_arn: str) -> str:
    return (
        f"Write it with aws secretsmanager put-secret-value --secret-id {secret_arn} "
        """--secret-string '{"api_key": "...", "api_secret": "..."}'"""
    )
