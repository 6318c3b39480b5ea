"""Builds a function's Vonage client: credentials, pacing and metrics from the environment."""

from collections.abc import Mapping

import boto3

from vonage_reports.aws.cloudwatch import Metrics
from vonage_reports.aws.secrets import cached_credentials
from vonage_reports.domain.metrics import of_refusal
from vonage_reports.domain.settings import Settings
from vonage_reports.vonage.client import VonageClient
from vonage_reports.vonage.pacing import Pacer


def vonage_client(environment: Mapping[str, str]) -> VonageClient:
    """Return the Vonage client for a function's environment; a warm function caches it.

    Raises:
        KeyError: a required variable is not set.
        InvalidRequest: a setting or the base URL is invalid.
    """
    metrics = Metrics(environment["STACK_NAME"])
    return VonageClient(
        environment["VONAGE_BASE_URL"],
        cached_credentials(boto3.client("secretsmanager"), environment["VONAGE_SECRET_ARN"]),
        pacer=Pacer.from_settings(Settings.from_environment(environment)),
        on_refusal=lambda status: metrics.emit(of_refusal(status)),
    )
