"""A second opinion on the workflow: its expressions in the reference implementation of JSONata.

Each expression is evaluated with typical values, and with each value that it reads replaced by
hostile ones. The emulator and the fault campaign share a port of JSONata to Python, so they can be
wrong together.
"""

import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from tests.support import npm
from tests.support.expressions import (
    TOKEN,
    Expression,
    Outcome,
    Scope,
    campaign,
    emulator,
    expressions,
    reference,
)
from tests.support.paths import ROOT

pytestmark = pytest.mark.skipif(
    not npm.IS_THERE, reason="npm is not on PATH: the expressions have no second opinion"
)

WORKFLOW = yaml.safe_load((ROOT / "functions" / "report_workflow.asl.yaml").read_text())
EXPRESSIONS = expressions(WORKFLOW)


def event(name: str) -> Any:
    return json.loads((ROOT / "events" / f"{name}.json").read_text())


REPORT = event("report_workflow")
PART = {**REPORT, "announce": False}
DOWNLOAD = event("store_report")["download"]
RECEIPT = event("convert_report")["receipts"][0]
READY = {"ready": True, "wait_seconds": 0, "download": DOWNLOAD}
NOT_READY = {"ready": False, "wait_seconds": 45, "download": None}
STORED = {"stored": True, "wait_seconds": 0, "rows": 14952, "receipt": RECEIPT}
THROTTLED = {"stored": False, "wait_seconds": 90, "rows": None, "receipt": None}
NOTIFICATION = {
    "event": "report.delivered",
    "definition": "sms-outbound",
    "product": "SMS",
    "account_id": "abcd1234",
    "revision": "final",
}
CONVERTED = {
    "rows": 14952,
    "mail": {"subject": "Delivered: sms-outbound", "message": '{"default": "{}"}'},
    "notification": NOTIFICATION,
}


def answered(payload: Any) -> dict[str, Any]:
    """Return what Step Functions makes of a function's answer."""
    return {"StatusCode": 200, "ExecutedVersion": "$LATEST", "Payload": payload}


CALLBACK = "52e6fd44ae32" * 5 + "abcd"
AT_CHECK = {"report": REPORT, "wait_seconds": 20, "callback": CALLBACK}
AT_STORE = {**AT_CHECK, "download": DOWNLOAD}
AT_CONVERT = {**AT_STORE, "receipts": [RECEIPT]}
TYPICAL: dict[str, list[Scope]] = {
    "Where To Begin?": [
        Scope({name: each for name, each in REPORT.items() if name != "first_wait"}, {}),
        Scope(REPORT, {}),
        Scope({**REPORT, "callback": CALLBACK}, {}),
        Scope({**REPORT, "entry": "convert", "receipts": [RECEIPT]}, {}),
        Scope({**REPORT, "entry": "announce", "receipts": [RECEIPT, RECEIPT]}, {}),
    ],
    "Callback Expected?": [
        Scope(REPORT, AT_CHECK),
        Scope({**NOT_READY, "throttled": True}, AT_CHECK),
    ],
    "Wait For Callback": [Scope(REPORT, AT_CHECK, {}), Scope(NOT_READY, AT_CHECK, {})],
    "Wait For Report": [Scope(REPORT, AT_CHECK)],
    "Check Report": [
        Scope(REPORT, AT_CHECK, answered(READY)),
        Scope(NOT_READY, AT_CHECK, answered(NOT_READY)),
    ],
    "Report Ready?": [
        Scope(READY, AT_STORE),
        Scope(NOT_READY, AT_CHECK),
        Scope(NOT_READY, {**AT_CHECK, "callback": None}),
    ],
    "Store Report": [
        Scope(READY, AT_STORE, answered(STORED)),
        Scope(THROTTLED, AT_STORE, answered(THROTTLED)),
    ],
    "Report Stored?": [
        Scope(STORED, AT_CONVERT),
        Scope(STORED, {**AT_CONVERT, "report": PART}),
        Scope(THROTTLED, {**AT_STORE, "receipts": [None]}),
    ],
    "Wait To Store": [Scope(THROTTLED, {**AT_STORE, "wait_seconds": 90})],
    "Convert Report": [Scope(STORED, AT_CONVERT, answered(CONVERTED))],
    "Announce Report": [Scope(CONVERTED, AT_CONVERT, {"MessageId": "94f28ab5"})],
    "Report Done": [Scope(CONVERTED, AT_CONVERT)],
}

Path = tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """An expression and its values, of which one may be hostile."""

    expression: Expression
    scope: Scope = field(compare=False)
    path: Path = ()
    hostile: str = ""


MISSING = object()
HOSTILE: dict[str, Callable[[Any], Any]] = {
    "missing": lambda _: MISSING,
    "null": lambda _: None,
    "list of it": lambda value: [value],
    "list of it twice": lambda value: [value, value],
    "list of a list of it": lambda value: [[value]],
    "empty list": lambda _: [],
    "list of null": lambda _: [None],
    "empty object": lambda _: {},
    "object with odd names": lambda _: {"__proto__": {"ready": True}, "": 1, "a.b": [2]},
    "empty text": lambda _: "",
    "text": lambda _: "check\n\u2028 \U0001f600 \x00 \"'",
    "digits": lambda _: "20",
    "expression": lambda _: "{% $uuid() %}",
    "true": lambda _: True,
    "false": lambda _: False,
    "zero": lambda _: 0,
    "negative": lambda _: -1,
    "fraction": lambda _: 20.5,
    "large": lambda _: 7_000_000_000,
    "beyond a double's integers": lambda _: 2**53 + 1,
    "beyond a double": lambda _: 1e308,
}


def reads(text: str) -> set[Path]:
    """Return the paths that an expression reads, and the paths above them."""
    found = set()
    for name, rest in re.findall(r"\$(\w+)((?:\.\w+)*)(?!\w|\s*\()", text):
        path = (name, *rest.split(".")[1:])
        shortest = 2 if name == "states" else 1
        found |= {path[:length] for length in range(shortest, len(path) + 1)}
    # Step Functions itself makes the context.
    return {path for path in found if path[1:2] != ("context",)}


def replaced(scope: Scope, path: Path, change: Callable[[Any], Any]) -> Scope | None:
    """Return the scope with another value at `path`, or None if there is nothing at the path."""
    whole = {
        "states": {"input": scope.input, "result": scope.result},
        **scope.variables,
    }
    whole = copy.deepcopy(whole)
    holder: Any = whole
    for name in path[:-1]:
        holder = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(holder, dict) or path[-1] not in holder:
        return None
    value = change(holder[path[-1]])
    if value is MISSING:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    states = whole.pop("states")
    return Scope(states.get("input"), whole, states.get("result"))


def cases() -> Iterator[Case]:
    for each in EXPRESSIONS:
        for scope in TYPICAL.get(each.state, []):
            yield Case(each, scope)
            for path in sorted(reads(each.text)):
                for name, change in HOSTILE.items():
                    other = replaced(scope, path, change)
                    if other is not None:
                        yield Case(each, other, path, name)


CASES = list(cases())
PAIRS = [(case.expression, case.scope) for case in CASES]


@pytest.fixture(scope="module")
def by_reference() -> list[Outcome]:
    return reference(PAIRS)


def test_every_expression_has_typical_values(by_reference: list[Outcome]) -> None:
    assert {each.state for each in EXPRESSIONS} == set(TYPICAL)
    outcomes = list(zip(CASES, by_reference, strict=True))
    chosen = {
        (id(case.scope), case.expression.path.removesuffix("Condition"))
        for case, outcome in outcomes
        if case.expression.field == "Condition" and outcome.json == "true"
    }

    def is_evaluated(case: Case) -> bool:
        """Whether the case's rule is chosen, if its expression is that of a rule."""
        rule, is_of_rule, _ = case.expression.path.partition("Assign")
        return not (is_of_rule and rule) or (id(case.scope), rule) in chosen

    evaluated = [each for each in outcomes if not each[0].hostile and is_evaluated(each[0])]
    assert [case for case, outcome in evaluated if outcome.error] == []
    assert {case.expression for case, _ in evaluated} == set(EXPRESSIONS)

    changed: dict[Expression, set[Path]] = {each: set() for each in EXPRESSIONS}
    for case, _ in outcomes:
        if case.hostile:
            changed[case.expression].add(case.path)
    assert changed == {each: reads(each.text) for each in EXPRESSIONS}


def test_choice_of_a_typical_value_is_a_boolean(by_reference: list[Outcome]) -> None:
    found: dict[str, set[str]] = {}
    for case, outcome in zip(CASES, by_reference, strict=True):
        if case.expression.field == "Condition" and not case.hostile:
            found.setdefault(case.expression.text, set()).add(outcome.json)

    assert found
    assert all(values == {"true", "false"} for values in found.values()), found


def is_beyond_a_double(_case: Case, reference: Outcome, other: Outcome) -> bool:
    exact = str(2**53 + 1)
    return exact in other.json and other.json.replace(exact, str(2**53)) == reference.json


def is_truth_of_any_value(case: Case, reference: Outcome, other: Outcome) -> bool:
    is_choice = case.expression.field == "Condition"
    return is_choice and bool(reference.error) and other.json in ("true", "false")


def is_a_time_out(case: Case, _reference: Outcome, _other: Outcome) -> bool:
    return case.expression.field == "TimeoutSeconds"


def is_too_long_a_wait(case: Case, reference: Outcome, other: Outcome) -> bool:
    return case.expression.field == "Seconds" and bool(reference.error) and bool(other.json)


DIFFERENCES: dict[str, Callable[[Case, Outcome, Outcome], bool]] = {
    # Harmless: filters with such a number are refused, and counts of records are smaller.
    "whole numbers above 2**53 stay exact": is_beyond_a_double,
    # Harmless: both functions return a boolean, which their own tests assert.
    "a choice takes any value for true or false": is_truth_of_any_value,
    # Harmless: the longest wait is half an hour.
    "a wait may be longer than 99,999,999 seconds": is_too_long_a_wait,
    # Harmless: the emulator's copy of the workflow has a number (test_package.py).
    "a time-out may have any value": is_a_time_out,
}
"""How the other evaluators differ from Step Functions, and why the tests can rely on them."""


@pytest.mark.parametrize(
    ("evaluate", "expected"),
    [
        (emulator, set(DIFFERENCES)),
        (campaign, {"whole numbers above 2**53 stay exact"}),
    ],
)
def test_evaluators_differ_only_as_named(
    evaluate: Callable[[list[tuple[Expression, Scope]]], list[Outcome]],
    expected: set[str],
    by_reference: list[Outcome],
) -> None:
    unexpected, found = [], set()
    for case, right, other in zip(CASES, by_reference, evaluate(PAIRS), strict=True):
        if right != other:
            reasons = [name for name, fits in DIFFERENCES.items() if fits(case, right, other)]
            found |= set(reasons)
            if not reasons:
                unexpected.append((case, right, other))

    assert unexpected == []
    assert found == expected


def expression_at(state: str, path: str) -> Expression:
    [found] = [each for each in EXPRESSIONS if (each.state, each.path) == (state, path)]
    return found


FIRST_WAIT = expression_at("Where To Begin?", "Choices.1.Assign.wait_seconds")
HAS_CALLBACK = expression_at("Where To Begin?", "Choices.0.Condition")
IS_UNUSED = expression_at("Report Ready?", "Choices.1.Condition")
IS_EXPECTED = expression_at("Callback Expected?", "Choices.0.Condition")
TIME_OUT = expression_at("Wait For Callback", "TimeoutSeconds")
PUT_TOKEN = expression_at("Wait For Callback", "Arguments.Item.task_token.S")
EXPIRES = expression_at("Wait For Callback", "Arguments.Item.expires.N")
IS_CHECK = expression_at("Where To Begin?", "Choices.1.Condition")
IS_STORED = expression_at("Where To Begin?", "Choices.2.Condition")
RECEIPTS = expression_at("Where To Begin?", "Choices.2.Assign.receipts")
IS_READY = expression_at("Report Ready?", "Choices.0.Condition")
IS_ANNOUNCED = expression_at("Report Stored?", "Choices.0.Condition")
DOWNLOADED = expression_at("Check Report", "Assign.download")
RECEIPT_LIST = expression_at("Store Report", "Assign.receipts")
SUBJECT = expression_at("Announce Report", "Arguments.Subject")
ERROR = object()


def of_input(value: Any) -> Scope:
    return Scope(value, {})


FIRST_WAITS: list[tuple[Any, Any]] = [
    *((None, 20), (0, 20), (-5, 20), (47_620, 20), (1_000_000, 420)),
    *((4_285_715, 1800), (7_000_000_000, 1800), ("1000000", ERROR), ({}, 20)),
]
ANNOUNCED: list[tuple[Any, Any, bool]] = [
    *((True, REPORT, True), (True, PART, False), (False, REPORT, False)),
    *((True, {}, False), (None, REPORT, False)),
]
NO_CALLBACK: tuple[dict[str, Any], ...] = ({}, {"callback": None})
EXPECTED_CALLBACKS: list[tuple[Any, bool]] = [
    *((REPORT, True), (NOT_READY, True), ({**NOT_READY, "throttled": False}, True)),
    ({**NOT_READY, "throttled": True}, False),
]
ENTRIES = ("check", "convert", "announce", "Check", "", None, 1, ["check"], ["convert"])

EXPECTED: list[tuple[Expression, Scope, Any]] = [
    *((FIRST_WAIT, of_input({"expected_rows": rows}), wait) for rows, wait in FIRST_WAITS),
    (FIRST_WAIT, of_input({}), 20),
    (FIRST_WAIT, of_input({"first_wait": 90, "expected_rows": 7_000_000}), 90),
    *(
        (HAS_CALLBACK, of_input({"entry": each, "callback": CALLBACK}), each == "check")
        for each in ENTRIES
    ),
    *((HAS_CALLBACK, of_input({"entry": "check", **each}), False) for each in NO_CALLBACK),
    *((IS_UNUSED, Scope({}, {"callback": each}), each is not None) for each in (CALLBACK, None)),
    *((IS_EXPECTED, of_input(value), is_expected) for value, is_expected in EXPECTED_CALLBACKS),
    *((TIME_OUT, Scope({}, {"wait_seconds": wait}), wait) for wait in (1, 20, 1800)),
    *((TIME_OUT, Scope({}, {"wait_seconds": wait}), ERROR) for wait in (0, -1, 20.5, "20", None)),
    (PUT_TOKEN, Scope({}, {}), TOKEN),
    # 72 hours after the run's start, 2026-11-22T02:15:01Z.
    (EXPIRES, Scope({}, {}), "1795572901"),
    *((IS_CHECK, of_input({"entry": each}), each == "check") for each in ENTRIES),
    *((IS_STORED, of_input({"entry": each}), each in ("convert", "announce")) for each in ENTRIES),
    (IS_CHECK, of_input({}), False),
    (IS_STORED, of_input({}), False),
    *((RECEIPTS, of_input({"receipts": keys}), keys) for keys in ([], ["a"], ["a", "b"])),
    (IS_READY, of_input({"ready": True}), True),
    *((IS_READY, of_input({"ready": each}), ERROR) for each in ("true", None, 1, [True])),
    (IS_READY, of_input({}), ERROR),
    *(
        (IS_ANNOUNCED, Scope({"stored": stored}, {"report": report}), is_announced)
        for stored, report, is_announced in ANNOUNCED
    ),
    (DOWNLOADED, Scope({}, {}, answered({"download": None})), None),
    (DOWNLOADED, Scope({}, {}, answered({})), ERROR),
    (RECEIPT_LIST, Scope({}, {}, answered({"receipt": "a"})), ["a"]),
    (RECEIPT_LIST, Scope({}, {}, answered({"receipt": ["a"]})), ["a"]),
    # Data is never evaluated.
    (SUBJECT, of_input({"mail": {"subject": "{% $uuid() %}"}}), "{% $uuid() %}"),
]


def test_reference_gives_the_expected_values() -> None:
    outcomes = reference([(expression, scope) for expression, scope, _ in EXPECTED])

    for (expression, scope, expected), outcome in zip(EXPECTED, outcomes, strict=True):
        told = f"{expression.text} of {scope}"
        if expected is ERROR:
            assert outcome.error == "States.QueryEvaluationError", told
        else:
            assert outcome == Outcome(json=json.dumps(expected, sort_keys=True)), told


RULES: dict[str, Any] = {
    "$partition([1,2,3,4,5], 2)": [[1, 2], [3, 4], [5]],
    "$range(0, 9, 3)": [0, 3, 6, 9],
    "$hash('a', 'MD5')": "0cc175b9c0f1b6a831c399e269772661",
    "$hash('a', 'MD4')": ERROR,
    "$length($uuid())": 36,
    "$random() >= 0 and $random() < 1": True,
    """$parse('{"a": [1]}').a""": [1],
    "$parse('{')": ERROR,
    "$eval('1')": ERROR,
    "$nothing": ERROR,
    "$states.input.nothing": ERROR,
    "$states.result": ERROR,
    "nothing": ERROR,
    "$sum": ERROR,
    "1 / 0": ERROR,
    "null": None,
    "[1][0]": 1,
}
"""Rules of Step Functions, each as an expression and its value."""


def test_evaluators_follow_the_rules_of_step_functions() -> None:
    pairs = [(Expression("", "", "Output", text), of_input({})) for text in RULES]
    right = [
        Outcome(error="States.QueryEvaluationError")
        if value is ERROR
        else Outcome(json=json.dumps(value))
        for value in RULES.values()
    ]
    assert dict(zip(RULES, reference(pairs), strict=True)) == dict(zip(RULES, right, strict=True))

    emulated = dict(zip(RULES, emulator(pairs), strict=True))
    differing = {text for text, each in zip(RULES, right, strict=True) if emulated[text] != each}
    # The emulator lacks three rules. It has $eval, it returns functions, and a missing result is
    # null. The reference refuses all three, and accepts all of the workflow's typical values.
    assert differing == {"$eval('1')", "$sum", "$states.result"}
    # The interpreter of the fault campaign has none of the functions that Step Functions adds.
    added = re.compile(r"\$(partition|range|hash|uuid|random|parse)\b")
    assert not any(added.search(each.text) for each in EXPRESSIONS)
