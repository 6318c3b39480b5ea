"""Record each call of a function to AWS, for the tests of least privilege.

Python imports a module of this name before any other. botocore reads the handlers of every session
from a list, so this module changes neither the function nor botocore.
"""

import json
import os
from typing import Any

from botocore import handlers

_NAMES = frozenset({
    "Bucket", "Key", "TableName", "SecretId", "Name", "TopicArn", "stateMachineArn", "executionArn",
    "DatabaseName",
})  # fmt: skip
"""The parameters that name a resource."""


def _note(params: dict[str, Any], model: Any, **_: object) -> None:
    named = {
        name: value
        for name, value in params.items()
        if name in _NAMES and isinstance(value, str)  # DynamoDB's Key is none
    }
    items = [
        *(
            {"kind": kind, "TableName": item["TableName"]}
            for each in params.get("TransactItems", ())
            for kind, item in each.items()
        ),
        *({"kind": model.name, "TableName": table} for table in params.get("RequestItems", ())),
    ]
    line = {
        "function": os.environ["AWS_LAMBDA_FUNCTION_NAME"],
        "call": f"{model.service_model.service_name}:{model.name}",
        "named": named,
        "items": items,
    }
    with open(os.environ["CALLS_FILE"], "a") as file:  # noqa: PTH123 - as few imports as can be
        file.write(json.dumps(line) + "\n")


handlers.BUILTIN_HANDLERS.append(("before-parameter-build", _note))
