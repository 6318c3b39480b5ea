"""The environment of the processes that are started here: chosen, not inherited.

Nothing named AWS_* or VONAGE_* comes from the user's shell. Whatever profile is active there, no
process of the local stack can reach a real AWS account by accident.
"""

import os
from collections.abc import Mapping

REGION = "eu-west-1"

INHERITED = (
    *("PATH", "HOME", "LANG", "LC_ALL", "VIRTUAL_ENV"),
    # A machine behind a proxy reaches Vonage through it, and trusts its certificate.
    *("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"),
    *("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    # Without these an SDK would go on looking in files and at the address of an instance's role.
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""The emulator's root user. Nobody else knows them."""


def forget_real_accounts() -> None:
    """Take the user's AWS settings out of this process, before the first client is made."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(CREDENTIALS)


def child_environment(additions: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a child process: the machine's, dummy credentials, `additions`."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    # The emulator is never behind the proxy.
    no_proxy = ",".join(filter(None, ["127.0.0.1,localhost", os.environ.get("NO_PROXY")]))
    proxy = {"NO_PROXY": no_proxy, "no_proxy": no_proxy}
    return {**inherited, **proxy, **CREDENTIALS, **(additions or {})}
