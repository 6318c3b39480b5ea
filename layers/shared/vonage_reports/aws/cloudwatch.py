"""CloudWatch metrics, written as lines of the function's log (embedded metric format)."""

from collections.abc import Mapping

from aws_lambda_powertools.metrics import EphemeralMetrics

from vonage_reports.domain.metrics import NAMESPACE, UNITS


class Metrics:
    """Writes the metrics of one stack. Each call writes one line, without an AWS call."""

    def __init__(self, stack: str) -> None:
        self._stack = stack

    def emit(
        self, values: Mapping[str, float], *, definition: str | None = None, **about: str | None
    ) -> None:
        """Write values by metric name. The dimensions are the stack and the definition, if given.

        `about` adds fields that are no dimensions, such as report_id, request_id and execution.
        """
        if not values:
            return
        # Powertools' usual class buffers an invocation's metrics under one set of dimensions, and
        # loses them if the invocation dies. This class writes immediately.
        line = EphemeralMetrics(namespace=NAMESPACE)
        line.add_dimension("stack", self._stack)
        if definition is not None:
            line.add_dimensions(stack=self._stack, definition=definition)
        for name, value in values.items():
            line.add_metric(name, UNITS[name], value)
        for key, fact in about.items():
            if fact is not None:
                line.add_metadata(key, fact)
        line.flush_metrics()
