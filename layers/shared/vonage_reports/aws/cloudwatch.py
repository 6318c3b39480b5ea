"""CloudWatch metrics, written as lines of the function's log (embedded metric format)."""

from collections.abc import Mapping

from aws_lambda_powertools.metrics import EphemeralMetrics

from vonage_reports.domain.metrics import NAMESPACE, UNITS, worth_sending


class Metrics:
    """Writes the metrics of one stack. Each call writes one line, without an AWS call.

    Each metric has the dimension `stack`, which the alarms read. With `is_detailed`, the metrics of
    a definition also exist by `stack` and `definition`.
    """

    def __init__(self, stack: str, *, is_detailed: bool = True) -> None:
        self._stack = stack
        self._is_detailed = is_detailed

    def emit(
        self, values: Mapping[str, float], *, definition: str | None = None, **about: str | None
    ) -> None:
        """Write values by metric name, but for those that CloudWatch does not need.

        `about` adds fields that are no dimensions, such as report_id, request_id and execution.
        """
        sent = worth_sending(values, is_detailed=self._is_detailed)
        if not sent:
            return
        # Powertools' usual class buffers an invocation's metrics under one set of dimensions, and
        # loses them if the invocation dies. This class writes immediately.
        line = EphemeralMetrics(namespace=NAMESPACE)
        line.add_dimension("stack", self._stack)
        if definition is not None and self._is_detailed:
            line.add_dimensions(stack=self._stack, definition=definition)
        elif definition is not None:
            about["definition"] = definition
        for name, value in sent.items():
            line.add_metric(name, UNITS[name], value)
        for key, fact in about.items():
            if fact is not None:
                line.add_metadata(key, fact)
        line.flush_metrics()
