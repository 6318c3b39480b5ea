"""Print the status of a ledger: `python -m local.status`, the command behind `make status`.

`STACK` names a stack deployed to AWS; without it the last run on this machine is shown. With
`JSON`, standard output is one JSON document and nothing else.
"""

import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)

from local.runner.folders import STATE
from local.runner.options import BadInput
from local.status.sources import LastRun, content_of, deployed
from local.status.summary import Status, status_of
from local.status.text import show_status
from vonage_reports.domain.printable import printable, printable_lines

SHOWN, BAD_INPUT, INTERRUPTED = 0, 2, 130


def main() -> int:
    """Print the status, and return the exit code."""
    try:
        code = show(os.environ)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # A reader such as `head` has closed the pipe; at exit Python would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SHOWN
    return code


def show(environment: Mapping[str, str]) -> int:
    """Print the status that the environment names, and return the exit code."""
    stack_name = environment.get("STACK")
    try:
        status, source = _deployed_status(stack_name) if stack_name else _local_status()
    except BadInput as error:
        return _complain(str(error))
    except (NoCredentialsError, PartialCredentialsError, NoRegionError) as error:
        return _complain(
            f"STACK={stack_name}: {str(error).rstrip('.')}; set the AWS account and region, for "
            "example with AWS_PROFILE and AWS_DEFAULT_REGION"
        )
    except (BotoCoreError, ClientError) as error:
        return _complain(f"STACK={stack_name}: {error}")
    if environment.get("JSON"):
        document = json.dumps({"source": source, **status.to_dict()}, indent=1)
        print(printable_lines(document))
    else:
        show_status(status, source)
    return SHOWN


def _local_status() -> tuple[Status, str]:
    saved = LastRun(STATE).read()
    content = content_of(saved, saved.definitions, as_of=saved.as_of)
    return status_of(content), saved.source


def _deployed_status(stack_name: str) -> tuple[Status, str]:
    ledger, definitions = deployed(stack_name)
    content = content_of(ledger, definitions, as_of=datetime.now(UTC))
    return status_of(content), f"stack {stack_name}"


def _complain(sentence: str) -> int:
    print(f"make status: {printable(sentence)}", file=sys.stderr)
    return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
