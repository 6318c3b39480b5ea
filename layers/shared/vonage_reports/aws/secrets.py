"""The Vonage credentials, from Secrets Manager."""

import json
import logging
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from vonage_reports.domain.commands import PROGRAM
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
        raise InvalidRequest(f"the secret {secret_arn} has no value. {_PUT}") from error
    try:
        return credentials_of(secret, f"the secret {secret_arn}")
    except ValueError as error:
        # Without the cause: a traceback would show the secret.
        raise InvalidRequest(f"the secret {secret_arn} {error}. {_PUT}") from None


def credentials_of(text: str, source: str) -> Credentials:
    """Parse the JSON object of a secret. `source` tells the operator where it is.

    Raises ValueError, with the end of a sentence that quotes nothing, if it is unusable.
    """
    try:
        value = json.loads(text)
        # A line feed at the end often comes with a pasted key.
        key, api_secret = (str.strip(value[name]) for name in ("api_key", "api_secret"))
    except (ValueError, TypeError, KeyError, RecursionError):
        key, api_secret = "", ""
    if not (key and api_secret):
        raise ValueError("does not hold api_key and api_secret, both as non-empty strings")
    if not _API_KEY.fullmatch(key):
        raise ValueError("has an api_key that is not 1 to 40 letters and digits")
    return Credentials(key, api_secret, source)


_PUT = f"Write it with `{PROGRAM} secret put`"
"""No command with the secret in it, because the shell's history would keep it."""
