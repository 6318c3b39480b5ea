"""Asks PyPI for known vulnerabilities of the locked dependencies: `make audit`.

pip-audit takes a package without advisories for a safe one, even where a mirror of PyPI has no
advisories at all. Therefore a probe comes first: a release with a known vulnerability.
"""

import subprocess
import sys
from collections.abc import Sequence

import requests

SOURCE = "https://pypi.org"
PROBE = "requests/2.19.0"  # CVE-2018-18074
SECONDS = 15
PIP_AUDIT = (sys.executable, "-m", "pip_audit", "--strict", "--disable-pip", "--require-hashes")


def main(
    files: Sequence[str], *, source: str = SOURCE, pip_audit: Sequence[str] = PIP_AUDIT
) -> int:
    """Audit the requirements files and return the exit code.

    0 follows either a complete audit without a finding, or the word "unchecked" with its reason.
    pip-audit's exit code passes through.
    """
    reason = no_advisories(source)
    if reason:
        print(f"unchecked: {reason}. Run make audit where the advisories of PyPI can be read.")
        return 0
    command = [*pip_audit, *(part for file in files for part in ("-r", file))]
    # The caller gets the exit code, so `check` is off.
    ended = subprocess.run(command, check=False)  # noqa: S603 - no shell; the words are make's
    return ended.returncode


def no_advisories(source: str) -> str | None:
    """Return the reason why a source of advisories is of no use, or None if it is of use."""
    url = f"{source}/pypi/{PROBE}/json"
    try:
        answer = requests.get(url, timeout=SECONDS)
    except requests.RequestException as error:
        return f"{source} cannot be reached ({type(error).__name__})"
    if answer.status_code != requests.codes.ok:
        return f"{url} answers {answer.status_code}"
    try:
        found = answer.json()["vulnerabilities"]
    except (ValueError, LookupError, TypeError):
        found = None
    return None if found else f"{url} names no vulnerability, although there are some"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
