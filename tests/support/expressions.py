"""The expressions of a state machine, and the three evaluators that the tests have for them.

`reference` is the implementation of the language's authors (npm), by the rules of Step Functions.
`emulator` is MiniStack's evaluator, which the end-to-end tests use. `campaign` is the evaluator of
`tests/chaos/`. The last two share a port of JSONata to Python.
"""

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ministack.services import stepfunctions

from tests.chaos.workflow import StateError, field_value, fits
from tests.support import npm
from tests.support.paths import ROOT

Field = Literal["Condition", "Seconds", "TimeoutSeconds", "Arguments", "Output", "Assign"]
_FIELDS: tuple[Field, ...] = get_args(Field)
_ERROR = "States.QueryEvaluationError"
TOKEN = "AQCEAAAAKgAAAAMAAAAAAAAAAQ"


@dataclass(frozen=True)
class Expression:
    """An expression of a state, without its delimiters."""

    state: str
    path: str
    field: Field
    text: str


@dataclass(frozen=True)
class Scope:
    """The values that an expression sees. `result` is None where a state has no result."""

    input: Any
    variables: Mapping[str, Any]
    result: Any = None
    started: str = "2026-11-22T02:15:01.123Z"

    def bindings(self, field: Field) -> dict[str, Any]:
        """Return the variables of an expression in this field, with `$states`."""
        context = {"Execution": {"StartTime": self.started}, "Task": {"Token": TOKEN}}
        states = {"input": self.input, "context": context}
        # Step Functions evaluates the other fields before there is a result.
        if self.result is not None and field in ("Output", "Assign"):
            states["result"] = self.result
        return {**self.variables, "states": states}


@dataclass(frozen=True)
class Outcome:
    """The JSON of a result, or the name of an error."""

    json: str = ""
    error: str = ""


def expressions(definition: Mapping[str, Any]) -> list[Expression]:
    """Return every expression of a definition. Raises ValueError for one in an unknown field."""
    found = []
    for state, content in definition["States"].items():
        for path, text in _texts(content, ()):
            if not text.startswith("{%"):
                continue
            field = next((each for each in _FIELDS if each in path), None)
            if field is None:
                raise ValueError(f"{state}: no evaluator knows the field {'.'.join(path)}")
            inner = text.removeprefix("{%").removesuffix("%}").strip()
            found.append(Expression(state, ".".join(path), field, inner))
    return found


def _texts(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _texts(each, (*path, name))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _texts(each, (*path, str(number)))


def reference(pairs: Sequence[tuple[Expression, Scope]]) -> list[Outcome]:
    """Return what Step Functions would answer, from one process of node."""
    npm.installed()
    asked = [
        {"expression": each.text, "bindings": scope.bindings(each.field)} for each, scope in pairs
    ]
    done = subprocess.run(
        ["node", ROOT / "tests" / "support" / "jsonata.mjs"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return [
        _outcome(answer["value"])
        if "value" in answer and fits(each.field, answer["value"])
        else Outcome(error=_ERROR)
        for (each, _), answer in zip(pairs, answers, strict=True)
    ]


def emulator(pairs: Iterable[tuple[Expression, Scope]]) -> list[Outcome]:
    """Return what MiniStack answers."""
    return [_emulated(each, scope) for each, scope in pairs]


def _emulated(expression: Expression, scope: Scope) -> Outcome:
    bindings = scope.bindings(expression.field)
    states = bindings.pop("states")
    context = {**states["context"], "variables": bindings}
    text = f"{{% {expression.text} %}}"
    # MiniStack has no public function below a whole execution.
    try:
        match expression.field:
            case "Condition":
                value = stepfunctions._evaluate_jsonata_choice_rule(
                    {"Condition": text}, states["input"], context
                )
            case "Seconds":
                value = stepfunctions._jsonata_wait_seconds(
                    {"Seconds": text}, states["input"], context
                )
            case _:
                value = stepfunctions._apply_jsonata_template(
                    text, states["input"], context, result=states.get("result")
                )
    except stepfunctions._ExecutionError as error:
        return Outcome(error=error.error)
    return _outcome(value)


def campaign(pairs: Iterable[tuple[Expression, Scope]]) -> list[Outcome]:
    """Return what the interpreter of the fault campaign answers."""
    outcomes = []
    for expression, scope in pairs:
        bindings = scope.bindings(expression.field)
        states = bindings.pop("states")
        try:
            template = f"{{% {expression.text} %}}"
            value = field_value(expression.field, template, states, bindings)
        except StateError as error:
            outcomes.append(Outcome(error=error.name))
        else:
            outcomes.append(_outcome(value))
    return outcomes


def _outcome(value: Any) -> Outcome:
    # The port to Python may return a function, which JSON cannot represent.
    return Outcome(json=json.dumps(_plain(value), sort_keys=True, default=str))


def _plain(value: Any) -> Any:
    """Write 20.0 as 20, as JSON's numbers have one type."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value
