"""The runs that wait for Vonage's call, in a small table of their own."""

from typing import TYPE_CHECKING

from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_stepfunctions import SFNClient

TWO_TRIES = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 2})
"""The settings of both clients. Vonage might not wait longer for the answer. If the call is lost,
the run polls after its time-out."""


class WaitingRuns:
    """The task tokens of the waiting runs, by the SHA-256 of the path that Vonage calls.

    The workflow's state Wait For Callback puts an item at the start of each wait.
    """

    def __init__(
        self, dynamodb: "DynamoDBClient", table_name: str, step_functions: "SFNClient"
    ) -> None:
        self._dynamodb = dynamodb
        self._table_name = table_name
        self._step_functions = step_functions

    def wake(self, callback: str) -> bool:
        """End the wait of the run with this SHA-256; False if no run waits for it.

        An item stays after a time-out, until the run's next wait replaces it or it expires. Raises
        botocore's errors.
        """
        key = {"callback": {"S": callback}}
        item = self._dynamodb.get_item(
            TableName=self._table_name, Key=key, ConsistentRead=True
        ).get("Item")
        if item is None:
            return False
        exceptions = self._step_functions.exceptions
        try:
            self._step_functions.send_task_success(taskToken=item["task_token"]["S"], output="{}")
        except (exceptions.TaskTimedOut, exceptions.TaskDoesNotExist, exceptions.InvalidToken):
            return False
        # The run waits for this path only once. So the item cannot belong to a later wait.
        self._dynamodb.delete_item(TableName=self._table_name, Key=key)
        return True
