"""The measuring itself: ratios within a round, medians, noise, bounds."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator

import pytest
from bench import measure
from bench.measure import MAX_ROUNDS, Contender, MachineTooBusy, Ratio, Sample, Suite, WrongResult, in_process


@pytest.fixture(autouse=True)
def _no_steal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_ticks", lambda: (0, 0))


def steady(rate: float) -> Callable[[float], Sample]:
    return lambda seconds: Sample(int(rate * 1000), 1000, 1000)


def suite(ours: Callable[[float], Sample], at_least: float | None = 0.5) -> Suite:
    return Suite(
        "suite",
        [Contender("ours", ours), Contender("floor", steady(100))],
        [Ratio("ours of floor", "ours", "floor", at_least)],
    )


def test_a_ratio_is_the_rate_of_one_by_the_rate_of_the_other() -> None:
    (outcome,) = measure.measure(suite(steady(60))).outcomes
    assert (outcome.median, outcome.low, outcome.high, outcome.rounds) == (0.6, 0.6, 0.6, measure.ROUNDS)
    assert not outcome.noisy
    assert not outcome.failed


def test_a_missed_bound_fails_and_one_without_a_bound_does_not() -> None:
    report = measure.measure(suite(steady(40)))
    assert report.outcomes[0].failed
    assert report.failed
    assert not measure.measure(suite(steady(40), None)).failed


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that halves its speed for a while changes both; their ratio stays."""
    speed = iter([1.0, 0.5] * 1000)
    current = 1.0

    class Turn:
        def __init__(self) -> None:
            self.seen = 0

        def __call__(self, rate: float) -> Sample:
            nonlocal current
            if self.seen % 2 == 0:
                current = next(speed)
            self.seen += 1
            return Sample(int(rate * current * 1000), 1000, 1000)

    turn = Turn()
    both = Suite(
        "suite",
        [Contender("ours", lambda seconds: turn(60)), Contender("floor", lambda seconds: turn(100))],
        [Ratio("r", "ours", "floor")],
    )
    assert measure.measure(both).outcomes[0].median == pytest.approx(0.6)


def unsteady() -> Callable[[float], Sample]:
    rates: Iterator[float] = iter([30, 90] * 1000)
    return lambda seconds: Sample(int(next(rates) * 1000), 1000, 1000)


def test_noise_doubles_the_rounds_and_then_fails_nothing() -> None:
    rounds: list[tuple[int, int]] = []
    report = measure.measure(suite(unsteady(), 0.9), progress=lambda done, planned: rounds.append((done, planned)))
    (outcome,) = report.outcomes
    assert outcome.noisy
    assert outcome.rounds == MAX_ROUNDS
    assert outcome.median < 0.9
    assert not report.failed
    assert {planned for _, planned in rounds} == {9, 18, 36}


def test_the_order_inside_a_round_is_random() -> None:
    seen: list[str] = []

    def note(name: str) -> Callable[[float], Sample]:
        def run(seconds: float) -> Sample:
            seen.append(name)
            return Sample(1000, 1, 1)

        return run

    both = Suite("suite", [Contender("a", note("a")), Contender("b", note("b"))], [Ratio("r", "a", "b")])
    measure.measure(both, rounds=20, order=random.Random(1))
    firsts = seen[2::2]  # after the warm-up
    assert set(firsts) == {"a", "b"}
    assert seen.count("a") == seen.count("b")


def test_a_wrong_result_is_not_measured() -> None:
    def wrong() -> None:
        raise WrongResult("other extensions")

    broken = Suite("suite", [Contender("ours", steady(1), wrong)], [])
    with pytest.raises(WrongResult):
        measure.measure(broken)


def test_a_stolen_processor_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([(1000, 0), (2000, 150)])
    monkeypatch.setattr(measure, "_ticks", lambda: next(ticks))
    with pytest.raises(MachineTooBusy, match="15%"):
        measure.measure(suite(steady(60)))


def test_a_function_is_called_with_numbers_that_never_repeat() -> None:
    seen: list[int] = []
    contender = in_process("count", seen.append)
    first, second = contender.run(0.001), contender.run(0.001)
    assert seen == list(range(len(seen)))
    assert first.count + second.count == len(seen)
    assert first.cpu >= 0.001


def test_a_report_is_plain_data() -> None:
    data = json.loads(json.dumps(measure.measure(suite(steady(40))).to_dict()))
    assert data["outcomes"][0]["failed"] is True
    assert data["rates"] == {"ours": 40.0, "floor": 100.0}


@pytest.mark.parametrize(("part", "value"), [(0.0, 1.0), (0.5, 3.0), (1.0, 5.0), (0.1, 1.4)])
def test_quantiles_lie_between_neighbours(part: float, value: float) -> None:
    assert measure._quantile([1, 2, 3, 4, 5], part) == pytest.approx(value)
