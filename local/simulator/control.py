"""The control endpoint, with which tests and the runner inspect and steer the simulator.

Vonage has no such endpoint. Control requests need no credentials. The rate limit and the counters
ignore them.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from http import HTTPStatus

from .answers import Answer, Problem, json_answer
from .countries import COUNTRIES, OWN_NUMBERS, NumberRange
from .faults import Fault
from .simulation import Simulation
from .validation import parse_json_object

PREFIX = "/control/"

Operation = Callable[[Simulation, Mapping[str, object]], object]


def handle(simulation: Simulation, method: str, path: str, body: bytes) -> Answer:
    """Serve a request under /control/. The caller holds the simulation's lock."""
    operation = _OPERATIONS.get((method, path.removeprefix(PREFIX)))
    if operation is None:
        return json_answer({"error": f"there is no {method} {path}"}, HTTPStatus.NOT_FOUND)
    try:
        return json_answer(operation(simulation, parse_json_object(body or b"{}")))
    except Problem as problem:
        return problem.answer()
    except ValueError as error:
        return json_answer({"error": str(error)}, HTTPStatus.BAD_REQUEST)


def _state(simulation: Simulation, _: Mapping[str, object]) -> object:
    return simulation.state()


def _numbers(_: Simulation, __: Mapping[str, object]) -> object:
    def entry(code: str, numbers: NumberRange) -> dict[str, str]:
        return {"country": code, "first": str(numbers.first), "last": str(numbers.last)}

    return [
        *(entry(country.code, country.numbers) for country in COUNTRIES),
        entry("GB", OWN_NUMBERS),
    ]


def _add_fault(simulation: Simulation, document: Mapping[str, object]) -> object:
    fault = Fault.from_json(document)
    simulation.world.faults.pending.append(fault)
    return fault.to_json()


def _clear_faults(simulation: Simulation, _: Mapping[str, object]) -> object:
    simulation.world.faults.pending.clear()
    return {}


def _add_jobs(simulation: Simulation, document: Mapping[str, object]) -> object:
    request = document.get("request", {})
    if not isinstance(request, dict):
        raise ValueError("request must be a JSON object")  # noqa: TRY004 - `handle` answers it
    count = int(_number(document, "count", 1))
    seconds = _number(document, "seconds", 60)
    return {"request_ids": simulation.add_foreign_jobs(count, seconds, request)}


def _advance_clock(simulation: Simulation, document: Mapping[str, object]) -> object:
    simulation.world.clock.advance(_number(document, "advance_seconds", 0))
    return {"now": simulation.world.clock.now().isoformat()}


def _change_settings(simulation: Simulation, document: Mapping[str, object]) -> object:
    simulation.world.settings = simulation.world.settings.changed(document)
    return asdict(simulation.world.settings)


def _reset(simulation: Simulation, _: Mapping[str, object]) -> object:
    simulation.reset()
    return {}


def _number(document: Mapping[str, object], name: str, default: float) -> float:
    value = document.get(name, default)
    if isinstance(value, int | float):
        return value
    raise ValueError(f"{name} must be a number")


_OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("GET", "state"): _state,
    ("GET", "numbers"): _numbers,
    ("POST", "faults"): _add_fault,
    ("DELETE", "faults"): _clear_faults,
    ("POST", "jobs"): _add_jobs,
    ("POST", "clock"): _advance_clock,
    ("POST", "settings"): _change_settings,
    ("POST", "reset"): _reset,
}
