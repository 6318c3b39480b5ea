"""The services of AWS that the functions call, and the SDK in the shared layer."""

import re

from tests.support.paths import ROOT

RULES = (ROOT / "layers" / "shared" / "build" / "rules.mk").read_text()
SDK = ("boto3", "botocore", "s3transfer")


def called_services() -> set[str]:
    """Return the services for which functions and layers make a client."""
    sources = [
        path.read_text()
        for folder in ("functions", "layers")
        for path in (ROOT / folder).rglob("*.py")
    ]
    made = [
        each for text in sources for each in re.findall(r"boto3\.(?:client|resource)\(.*", text)
    ]
    named = [re.match(r'boto3\.\w+\("([\w-]+)"', each) for each in made]
    assert all(named), "name each service where the client is made"
    return {match[1] for match in named if match}


def locked_sdk() -> dict[str, str]:
    """Return the locked version of each package of the SDK."""
    text = (ROOT / "layers" / "shared" / "requirements.txt").read_text()
    return {
        name: version for name, version in re.findall(r"(?m)^(\w+)==(\S+)", text) if name in SDK
    }
