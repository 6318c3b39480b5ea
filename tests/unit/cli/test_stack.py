"""A deployed stack tells whether its records are Vonage's."""

from collections.abc import Sequence

import pytest

from vonage_reports_cli.stack import DeployedStack


def stack(url: str | None) -> DeployedStack:
    """Return a stack as CloudFormation describes it, with the parameter VonageBaseUrl."""
    found = DeployedStack("prod", region="eu-west-1")
    parameters: Sequence[dict[str, str]] = (
        [] if url is None else [{"ParameterKey": "VonageBaseUrl", "ParameterValue": url}]
    )
    found.__dict__["description"] = {
        "StackId": "arn:aws:cloudformation:eu-west-1:123456789012:stack/prod/1",
        "Parameters": parameters,
    }
    return found


@pytest.mark.parametrize(
    "url",
    [
        None, "https://api.nexmo.com", "https://api-eu.vonage.com:443", "https://vonage.com",
        "https://API.Nexmo.com.",
    ],
)  # fmt: skip
def test_stack_at_vonage_is_real(url: str | None) -> None:
    found = stack(url)

    assert not found.is_simulated
    assert found.source.startswith("stack prod, account 123456789012, eu-west-1, as of ")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080", "http://localhost", "http://[::1]:80", "https://example.com",
        "https://nexmo.com.example.com", "https://notnexmo.com", "https://api.nexmo.com@evil.test",
        "", "http://[api.nexmo.com",
    ],
)  # fmt: skip
def test_stack_elsewhere_is_simulated_and_says_so(url: str) -> None:
    found = stack(url)

    assert found.is_simulated
    assert found.label == "SIMULATED: stack prod, account 123456789012, eu-west-1"
    assert found.source.startswith(f"{found.label}, as of ")


def test_event_is_sent_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK would repeat a call that timed out, though Lambda may have carried it out."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    found = stack(None)

    once = found.client("lambda", read_seconds=310).meta.config.retries
    usual = found.client("s3").meta.config.retries

    assert (once["total_max_attempts"], usual["total_max_attempts"]) == (1, 5)
