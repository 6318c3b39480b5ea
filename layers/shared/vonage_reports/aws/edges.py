"""What submit_reports works with, beyond the domain."""

from dataclasses import dataclass

from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.executions import Executions
from vonage_reports.aws.ledger import Ledger
from vonage_reports.aws.metrics import Metrics
from vonage_reports.aws.topic import Topic
from vonage_reports.client import VonageClient


@dataclass(frozen=True)
class Edges:
    """The table, Vonage, the workflow's runs, the topic, the bucket and the metrics."""

    ledger: Ledger
    vonage: VonageClient
    executions: Executions
    topic: Topic
    bucket: Bucket
    metrics: Metrics
    wait_scale: float = 1
    """Factor on every cool-down and look-up; below 1 in tests only."""
