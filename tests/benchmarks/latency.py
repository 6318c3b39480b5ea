"""The time from ready at Vonage to seen: a model with the real waits and the real workflow.

Vonage's generation times are drawn, evenly, from several worlds: 5 to 10 minutes for each million
rows, as Vonage documents today, 25 to 30 minutes, as it documented in 2018, and two others. No
report takes less than 10 seconds. Each drawn report is polled by three rules, so the figures are
paired: the rule before, the rule of now without a pace, and with the pace of the last reports.

A report's rows are as expected, but for the last line of each world: the first report of a
definition, of whose rows nothing is known.

A backfill is collected by the rules too, as `backfill_model` says. The ledger learns the rows of a
definition from its first window, and the pace from its first large reports.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from statistics import mean
from typing import Any

from tests.benchmarks import callback_model
from tests.benchmarks.backfill_model import Result, Shape, collect
from tests.chaos.workflow import Wait, Workflow
from tests.support.paths import ROOT
from tests.support.reports import make_report
from vonage_reports.check_report import check_report
from vonage_reports.domain import waits
from vonage_reports.domain.pace import learnt_pace, observed_pace, remembered, teaches_pace
from vonage_reports.domain.report import RequestStatus
from vonage_reports.domain.windows import format_instant
from vonage_reports.vonage.answers import ReportRequest

DRAWS = 2_000
ROWS = (1_000, 10_000, 100_000, 500_000, 1_000_000, 3_000_000, 7_000_000)
WORLDS = {"2 min": (1.5, 2.5), "8 min": (7, 9), "today": (5, 10), "2018": (25, 30)}
"""The minutes for each million rows, at least and at most."""

DOCUMENTED = ("today", "2018")

UNKNOWN_ROWS = 1_000_000
CALLED_ROWS, CALLED_DRAWS = (1_000, 100_000, 1_000_000, 7_000_000), 100
"""The sizes of the runs with a callback, and the draws for each."""

FLOOR, CALL = 10.0, 0.5
"""The shortest generation, and the time of one check, in seconds."""

GOALS = {100_000: 30, 500_000: 30, 1_000_000: 60, 7_000_000: 150}
"""The mean seconds from ready to seen, in the world of today."""

MOST_POLLS, MOST_EVENTS, MOST_OF_2018 = 8, 5_000, 1.5
"""The goals for polls today, events in 48 hours, and lateness in 2018 as a multiple of before."""

_START = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
_HISTORY = {"Choice": 2, "Wait": 2, "Task": 5, "Succeed": 2}
"""The history events of a state, by its type. Source: the GetExecutionHistory API reference."""

BACKFILLS = (Shape(3, 390, 10_000), Shape(3, 60, 100_000), Shape(1, 60, 3_000_000))
"""Vonage has no records of more than 13 months."""

MIN_GAIN = 0.1
"""Below this share of a backfill's length, slots that are free earlier are not worth their code."""

Rule = tuple[Callable[[int | None, int | None], float], Callable[[float, float], float]]
"""The first wait for expected rows and a pace, and the next wait after an age and the last wait."""


def before(rows: int | None, _pace: int | None) -> float:
    """Return the first wait of the former rule: 7 minutes for each million rows."""
    return min(max((rows or 0) * 420 / 1e6, 20), 1800)


def _now(age: float, _waited: float) -> float:
    """Return the wait that check_report gives."""
    answer = ReportRequest(
        request_id="r1",
        request_status=RequestStatus.PROCESSING,
        product=None,
        account_id=None,
        include_subaccounts=None,
        date_start=None,
        date_end=None,
        receive_time=_START,
        items_count=None,
        file_id=None,
        echo={},
    )
    now = _START + timedelta(seconds=age)
    return float(check_report(answer, started=_START, now=now)["wait_seconds"])


RULES: dict[str, Rule] = {
    "before": (before, lambda _age, waited: min(max(1.5 * waited, 20), 900)),
    "now": (lambda rows, _pace: waits.first_wait(rows), _now),
    "learnt": (waits.first_wait, _now),
}


@dataclass(frozen=True)
class Polled:
    """How late a report was seen ready, in seconds, and how often Vonage was asked."""

    late: float
    polls: int


def polled(rule: Rule, expected: int | None, ready: float, pace: int | None = None) -> Polled:
    """Poll one report that is ready after so many seconds."""
    first, following = rule
    wait = first(expected, pace)
    age, polls = wait + CALL, 1
    while age < ready:
        wait = following(age, wait)
        age, polls = age + wait + CALL, polls + 1
    return Polled(age - ready, polls)


def polled_in_turn(rule: Rule, expected: int | None, rows: int, times: list[float]) -> list[Polled]:
    """Poll the reports of one definition in turn. Each is ready after its time."""
    found: list[Polled] = []
    paces: tuple[int, ...] = ()
    for each in times:
        found.append(polled(rule, expected, each, learnt_pace(paces)))
        seen = _START + timedelta(seconds=each + found[-1].late)
        report = make_report(rows=rows, submitted_at=_START)
        pace = observed_pace(report, format_instant(seen)) if teaches_pace(report) else None
        paces = paces if pace is None else remembered(paces, pace)
    return found


def generations(world: str, rows: int) -> Iterator[float]:
    """Yield the seconds that Vonage needs for reports of so many rows."""
    random, (least, most) = Random(f"{world} {rows}"), WORLDS[world]
    for _ in range(DRAWS):
        yield max(FLOOR, random.uniform(least, most) * 60 * rows / 1e6)


def measure(world: str, rows: int, *, is_known: bool) -> dict[str, Any]:
    """Return the row of one world and size."""
    times = list(generations(world, rows))
    row: dict[str, Any] = {"world": world, "rows": rows, "known": is_known}
    for name, rule in RULES.items():
        found = polled_in_turn(rule, rows if is_known else None, rows, times)
        row[f"{name}_mean"] = mean(each.late for each in found)
        row[f"{name}_longest"] = max(each.late for each in found)
        row[f"{name}_polls"] = mean(each.polls for each in found)
    return row


def entered_states(polls: int) -> list[str]:
    """Return the types of the states that a run enters, from the workflow's own definition."""
    workflow = Workflow.of_file(ROOT / "functions" / "report_workflow.asl.yaml", {})
    value = {"entry": "check", "first_wait": 20, "announce": True}
    states: list[str] = []
    steps = workflow.steps(
        value, started="2026-11-22T02:15:00Z", random=Random(1), entered=states.append
    )
    mail = {"subject": "s", "message": "{}"}
    fields = ("event", "definition", "product", "account_id", "revision")
    waiting = {"ready": False, "wait_seconds": 20, "download": None}
    answers = [
        *[waiting] * (polls - 1),
        {"ready": True, "wait_seconds": 0, "download": {"file_id": "f"}},
        {"stored": True, "wait_seconds": 0, "rows": 1, "receipt": "r.json"},
        {"rows": 1, "mail": mail, "notification": dict.fromkeys(fields, "x")},
        {},
    ]
    answer: Any = None
    given = iter(answers)
    try:
        while True:
            step = steps.send(answer)
            answer = None if isinstance(step, Wait) else {"Payload": next(given)}
    except StopIteration:
        return states


def history_of(polls: int) -> tuple[int, int]:
    """Return the state transitions and the history events of a run with so many polls."""
    one, two = entered_states(1), entered_states(2)
    transitions = len(one) + (polls - 1) * (len(two) - len(one))
    events = [sum(_HISTORY[each] for each in states) for states in (one, two)]
    # Each run has two events besides: its start and its end.
    return transitions, 2 + events[0] + (polls - 1) * (events[1] - events[0])


def polls_until(deadline: timedelta) -> int:
    """Return how often a report is polled that is never ready, with no expected rows."""
    return polled(RULES["now"], None, deadline.total_seconds()).polls


def missed(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a sentence for each goal that was missed."""
    for row in rows:
        name = f"{row['rows']:,} rows, {row['world']}"
        if row["world"] not in DOCUMENTED:
            continue
        for rule in ("now", "learnt"):
            late, polls = row[f"{rule}_mean"], row[f"{rule}_polls"]
            if row["world"] == "2018":
                if late > MOST_OF_2018 * row["before_mean"]:
                    yield f"{name}, {rule}: {late / row['before_mean']:.1f} times as late as before"
                continue
            goal = GOALS.get(row["rows"])
            if row["known"] and goal is not None and late > goal:
                yield f"{name}, {rule}: seen after {late:.0f} s, goal {goal} s"
            if row["known"] and polls > MOST_POLLS:
                yield f"{name}, {rule}: {polls:.1f} polls, goal {MOST_POLLS}"
    events = history_of(polls_until(waits.DEADLINE))[1]
    if events > MOST_EVENTS:
        yield f"{events:,} history events in 48 hours, goal {MOST_EVENTS:,}"


def measure_backfill(world: str, shape: Shape) -> dict[str, Any]:
    """Return the row of one world and backfill."""

    def run(name: str) -> Result:
        drawn = generations(world, shape.rows)
        first, following = RULES[name]
        waited = (lambda waited: following(0, waited)) if name == "before" else None
        return collect(shape, lambda: next(drawn), first=first, waited=waited)

    results = {name: run(name) for name in RULES}
    now = results["learnt"]
    return {
        "world": world,
        "definitions": shape.definitions,
        "days": shape.days,
        "rows": shape.rows,
        **{f"{name}_hours": each.length / 3600 for name, each in results.items()},
        **{f"{name}_idle": each.idle for name, each in results.items()},
        "delivering": now.delivering,
        # A slot that is free as soon as the report is seen ready saves this time at most.
        "gain": now.delivering * now.reports / (now.busy + now.idle * now.reports),
    }


def print_backfills(rows: list[dict[str, Any]]) -> None:
    """Print the backfills' table, and the share that freeing slots at ready would save."""
    print(
        "\nbackfills: hours, and seconds for each report in which its slot waits; before -> now -> "
        "with learnt paces"
    )
    print(f"{'world':<7}{'windows':>9}{'rows':>11}{'hours':>22}{'idle':>20}{'freed at ready':>17}")
    for row in rows:
        hours = " -> ".join(f"{row[f'{each}_hours']:.1f}" for each in RULES)
        idle = " -> ".join(f"{row[f'{each}_idle']:.0f}" for each in RULES)
        windows = row["definitions"] * row["days"]
        print(
            f"{row['world']:<7}{windows:>9,}{row['rows']:>11,}{hours:>22}{idle:>20}"
            f"{-row['gain']:>16.1%}"
        )
        if row["gain"] >= MIN_GAIN:
            print(f"MISSED slots that are free at ready would save {row['gain']:.0%}")


def print_callbacks() -> list[dict[str, Any]]:
    """Print the table of runs with a callback, and return its rows."""

    def next_wait(age: float) -> float:
        return _now(age, 0)

    rows = [
        row
        for world in DOCUMENTED
        for size in CALLED_ROWS
        for row in callback_model.measure(
            world,
            size,
            list(generations(world, size))[:CALLED_DRAWS],
            first_wait=waits.first_wait(size),
            next_wait=next_wait,
            check=CALL,
        )
    ]
    endless = callback_model.seen(
        waits.first_wait(None),
        waits.DEADLINE.total_seconds(),
        delay=None,
        next_wait=next_wait,
        check=CALL,
    )
    callback_model.report(rows, endless=endless)
    return rows


def main() -> list[dict[str, Any]]:
    """Print the table, and a line for each goal that was missed. Return the rows."""
    rows = [
        measure(world, size, is_known=is_known)
        for world in WORLDS
        for size, is_known in [*((each, True) for each in ROWS), (UNKNOWN_ROWS, False)]
    ]
    print(
        "from ready at Vonage to seen, in seconds, and polls of a report; before -> now -> with "
        "learnt paces"
    )
    print(f"{'world':<7}{'rows':>12}{'mean':>20}{'longest':>22}{'polls':>22}")
    for row in rows:
        size = f"{row['rows']:,}" + ("" if row["known"] else " ?")
        cells = [
            " -> ".join(f"{row[f'{rule}_{each}']:.{digits}f}" for rule in RULES)
            for each, digits in (("mean", 0), ("longest", 0), ("polls", 1))
        ]
        print(f"{row['world']:<7}{size:>12}{cells[0]:>20}{cells[1]:>22}{cells[2]:>22}")
    transitions, events = history_of(1)
    per_poll = history_of(2)[0] - transitions
    longest = polls_until(waits.DEADLINE)
    print(
        f"a run with one poll: {transitions} state transitions, {events} history events; each "
        f"further poll: {per_poll} transitions\n"
        f"48 hours without an end: {longest} polls, {history_of(longest)[1]:,} history events"
    )
    for each in missed(rows):
        print(f"MISSED {each}")
    rows += print_callbacks()
    backfills = [measure_backfill(world, shape) for world in DOCUMENTED for shape in BACKFILLS]
    print_backfills(backfills)
    return [*rows, *backfills]
