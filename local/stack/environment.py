"""The environment of child processes: an explicit list, not the operator's shell.

No AWS_* or VONAGE_* variable is inherited from the shell, so no process of the local stack can
reach a real AWS account by accident.
"""

import os
from collections.abc import Mapping

REGION = "eu-west-1"

INHERITED = (
    *("PATH", "HOME", "LANG", "LC_ALL", "VIRTUAL_ENV"),
    # Behind a proxy, requests to Vonage need the proxy's address and certificate.
    *("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"),
    *("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    # Without these, an SDK also searches files and the instance metadata service.
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""The credentials of the emulator's root user, invalid anywhere else."""


def forget_real_accounts() -> None:
    """Remove the operator's AWS settings from this process. Call before creating any client."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(CREDENTIALS)


def child_environment(additions: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return INHERITED variables, dummy credentials and `additions` for a child process."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    # Requests to the emulator must bypass the proxy.
    no_proxy = ",".join(filter(None, ["127.0.0.1,localhost", os.environ.get("NO_PROXY")]))
    proxy = {"NO_PROXY": no_proxy, "no_proxy": no_proxy}
    return {**inherited, **proxy, **CREDENTIALS, **(additions or {})}
