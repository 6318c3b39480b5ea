"""Metrics, as lines of the function's log that CloudWatch reads (embedded metric format)."""

from collections.abc import Mapping

from aws_lambda_powertools.metrics import EphemeralMetrics

from vonage_reports.domain.metrics import NAMESPACE, UNITS


class Metrics:
    """Writes the metrics of one stack: each call one line, at once, without a call to AWS."""

    def __init__(self, stack: str) -> None:
        self._stack = stack

    def emit(
        self, values: Mapping[str, float], *, definition: str | None = None, **about: str | None
    ) -> None:
        """Write values by their names, for the stack and, where there is one, its definition.

        `about` stands in the line as well, and makes no metric: report_id, request_id, execution.
        """
        if not values:
            return
        # Powertools' usual class gathers what an invocation adds under one set of dimensions, and
        # loses it when the invocation dies: this is written at once.
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
