"""An interpreter of the workflow's own file, for the states and fields that it uses.

It supports Choice, Wait, Task, Succeed and Fail, with JSONata, Assign, Arguments, Output, Retry,
Catch and task tokens as AWS documents them. It refuses any other state or field at once.
"""

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import jsonata
import yaml

_FIELDS = {
    "Choice": {"Choices", "Default"},
    "Wait": {"Seconds", "Next"},
    "Task": {
        *("Resource", "TimeoutSeconds", "Arguments", "Output", "Assign", "Retry", "Catch", "Next"),
    },
    "Succeed": {"Output"},
    "Fail": {"Error", "Cause"},
}
_RULE = {"Comment", "Condition", "Assign", "Next"}
_RETRIER = {
    *("Comment", "ErrorEquals", "IntervalSeconds", "BackoffRate", "MaxAttempts"),
    *("MaxDelaySeconds", "JitterStrategy"),
}
_CATCHER = {"Comment", "ErrorEquals", "Next"}


_LONGEST_WAIT = 99_999_999


@dataclass(frozen=True)
class Wait:
    """A wait of so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Call:
    """A call of a task. The caller sends its result, or throws its StateError.

    A task with a `token` ends when a call returns the token, or after `timeout` seconds.
    """

    resource: str
    arguments: Any
    token: str | None = None
    timeout: float = _LONGEST_WAIT


class StateError(Exception):
    """The failure of a task or of the execution."""

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(f"{name}: {cause}")
        self.name, self.cause = name, cause


Steps = Generator[Wait | Call, Any, Any]


class Workflow:
    """A state machine."""

    def __init__(self, definition: Mapping[str, Any]) -> None:
        assert definition["QueryLanguage"] == "JSONata"
        self.timeout_seconds: int = definition["TimeoutSeconds"]
        self._start: str = definition["StartAt"]
        self._states: Mapping[str, Mapping[str, Any]] = definition["States"]
        for name, state in self._states.items():
            _require(state.keys() <= _FIELDS[state["Type"]] | {"Type", "Comment"}, name)
            _require(all(rule.keys() <= _RULE for rule in state.get("Choices", ())), name)
            _require(all(retrier.keys() <= _RETRIER for retrier in state.get("Retry", ())), name)
            _require(all(catcher.keys() <= _CATCHER for catcher in state.get("Catch", ())), name)

    @classmethod
    def of_file(cls, path: Path, substitutions: Mapping[str, str]) -> "Workflow":
        """Read an ASL file as SAM deploys it, with each `${Name}` replaced."""
        text = path.read_text()
        for name, value in substitutions.items():
            text = text.replace(f"${{{name}}}", value)
        return cls(yaml.safe_load(text))

    def steps(
        self,
        value: Any,
        *,
        started: str,
        random: Random,
        entered: Callable[[str], object] = lambda _: None,
    ) -> Steps:
        """Yield the waits and calls of an execution; return its output. Raises StateError.

        Calls `entered` with the type of each state that the execution enters.
        """
        variables: dict[str, Any] = {}
        name = self._start
        while True:
            state = self._states[name]
            entered(state["Type"])
            context: dict[str, Any] = {"Execution": {"StartTime": started}}
            states = {"input": value, "context": context}
            match state["Type"]:
                case "Choice":
                    assigning: Mapping[str, Any] = {"Next": state["Default"]}
                    for rule in state["Choices"]:
                        if field_value("Condition", rule["Condition"], states, variables):
                            assigning = rule
                            break
                    output, name = value, assigning["Next"]
                case "Wait":
                    assigning = state
                    yield Wait(field_value("Seconds", state["Seconds"], states, variables))
                    output, name = value, state["Next"]
                case "Task":
                    if state["Resource"].endswith(".waitForTaskToken"):
                        context["Task"] = {"Token": f"token-{random.getrandbits(64):016x}"}
                    assigning, result = yield from _task(state, states, variables, random)
                    states = {**states, "result": result}
                    output = result
                    if assigning is state:
                        output = evaluated(state["Output"], states, variables)
                    name = assigning["Next"]
                case "Succeed":
                    return evaluated(state["Output"], states, variables)
                case _:
                    raise StateError(state["Error"], state["Cause"])
            variables |= evaluated(assigning.get("Assign", {}), states, variables)
            value = output


def _require(known: bool, name: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not known:
        raise NotImplementedError(f"the state {name!r} has a field that is not supported")


def _task(
    state: Mapping[str, Any],
    states: Mapping[str, Any],
    variables: Mapping[str, Any],
    random: Random,
) -> Steps:
    """Run a task. Return the state with its result, or the catcher with the error."""
    try:
        return state, (yield from _tries(state, states, variables, random))
    except StateError as error:
        for catcher in state.get("Catch", ()):
            if _names(catcher, error):
                return catcher, {"Error": error.name, "Cause": error.cause}
        raise


def _tries(
    state: Mapping[str, Any],
    states: Mapping[str, Any],
    variables: Mapping[str, Any],
    random: Random,
) -> Steps:
    retriers = state.get("Retry", ())
    used = [0] * len(retriers)
    call = Call(
        state["Resource"],
        evaluated(state["Arguments"], states, variables),
        states["context"].get("Task", {}).get("Token"),
        field_value(
            "TimeoutSeconds", state.get("TimeoutSeconds", _LONGEST_WAIT), states, variables
        ),
    )
    while True:
        try:
            return (yield call)
        except StateError as error:
            # The first retrier that names the error decides, even when it is used up.
            number = next((n for n, each in enumerate(retriers) if _names(each, error)), None)
            if number is None or used[number] >= retriers[number].get("MaxAttempts", 3):
                raise
            retrier = retriers[number]
            wait = retrier.get("IntervalSeconds", 1) * retrier.get("BackoffRate", 2) ** used[number]
            wait = min(wait, retrier.get("MaxDelaySeconds", wait))
            used[number] += 1
        yield Wait(random.uniform(0, wait) if retrier.get("JitterStrategy") == "FULL" else wait)


def _names(retrier: Mapping[str, Any], error: StateError) -> bool:
    names = retrier["ErrorEquals"]
    of_a_task = "States.TaskFailed" in names and error.name != "States.Timeout"
    return error.name in names or of_a_task or "States.ALL" in names


@cache
def _expression(text: str) -> jsonata.Jsonata:
    return jsonata.Jsonata(text)


def fits(field: str, value: Any) -> bool:
    """Whether the value has the type that Step Functions requires of the field."""
    if field == "Condition":
        return isinstance(value, bool)
    if field in ("Seconds", "TimeoutSeconds"):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        least = 0 if field == "Seconds" else 1
        return is_number and value == int(value) and least <= value <= _LONGEST_WAIT
    return True


def field_value(
    field: str, template: Any, states: Mapping[str, Any], variables: Mapping[str, Any]
) -> Any:
    """Return the value of a field. Raises StateError for a value of the wrong type, too."""
    value = evaluated(template, states, variables)
    if not fits(field, value):
        raise StateError("States.QueryEvaluationError", f"{field} cannot be {value}: {template}")
    return value


def evaluated(template: Any, states: Mapping[str, Any], variables: Mapping[str, Any]) -> Any:
    """Return the template with each expression replaced by its value. Raises StateError."""
    if isinstance(template, dict):
        return {name: evaluated(each, states, variables) for name, each in template.items()}
    if isinstance(template, list):
        return [evaluated(each, states, variables) for each in template]
    if not isinstance(template, str) or not template.startswith("{%"):
        return template
    text = template.removeprefix("{%").removesuffix("%}").strip()
    null = jsonata.utils.Utils.NULL_VALUE
    bound = {name: null if each is None else each for name, each in variables.items()}
    bound["states"] = states
    try:
        value = _expression(text).evaluate(None, bound)
    except jsonata.JException as error:
        raise StateError("States.QueryEvaluationError", str(error)) from error
    if value is None and not _expression(f"$exists({text})").evaluate(None, bound):
        raise StateError("States.QueryEvaluationError", f"{text} did not return a result")
    # jsonata returns lists of its own classes.
    return json.loads(json.dumps(value))
