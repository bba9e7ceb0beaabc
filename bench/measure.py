"""How speed is measured here: rounds, contenders in random order, CPU time, ratios, medians.

Every round runs each contender for a slice and takes the ratios; what is reported is the median of the rounds'
ratios with the interval that holds 80 % of them. A wide interval doubles the rounds; one that stays wide is reported
as noisy and fails nothing, for it says more about the machine than about the code.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

ROUNDS: Final = 9
MAX_ROUNDS: Final = 36
SLICE_SECONDS: Final = 0.2
WIDE: Final = 0.25
"""Width of the interval, as a part of the median, from which on a measurement is noisy."""
MAX_STEAL: Final = 0.10
"""Part of the CPU that a hypervisor may take before nothing measured means anything."""


class MachineTooBusy(Exception):
    """The host gives this machine too little CPU; measure later."""


class WrongResult(Exception):
    """A contender does not do what it is measured for."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One slice of one contender."""

    count: int
    cpu: float  # seconds
    wall: float

    @property
    def rate(self) -> float:
        """Operations per CPU second."""
        return self.count / self.cpu


@dataclass(frozen=True, slots=True)
class Contender:
    """Something to measure. `check` looks at its first result and raises `WrongResult`.

    `run` is called with the seconds to run for; `in_process` makes one of a function.
    """

    name: str
    run: Callable[[float], Sample]
    check: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Ratio:
    """The rate of one contender by that of another, and what it has to be at least."""

    name: str
    of: str
    to: str
    at_least: float | None = None


@dataclass(frozen=True, slots=True)
class Suite:
    name: str
    contenders: Sequence[Contender]
    ratios: Sequence[Ratio]
    notes: Sequence[str] = ()
    slice_seconds: float | None = None  # where the usual slice is too short: servers
    remarks: Callable[[], Sequence[str]] = lambda: ()  # asked after the last round
    close: Callable[[], object] = lambda: None  # ends what the suite started
    most_rounds: int = MAX_ROUNDS  # where each of them takes long


@dataclass(frozen=True, slots=True)
class Outcome:
    """A ratio over all rounds."""

    name: str
    median: float
    low: float  # 10 % of the rounds were lower
    high: float
    rounds: int
    at_least: float | None
    noisy: bool

    @property
    def failed(self) -> bool:
        return self.at_least is not None and not self.noisy and self.median < self.at_least


@dataclass(frozen=True, slots=True)
class Report:
    suite: str
    outcomes: tuple[Outcome, ...]
    rates: dict[str, float]  # operations per CPU second, median
    before: Machine
    after: Machine
    notes: tuple[str, ...] = field(default=())

    @property
    def failed(self) -> bool:
        return any(outcome.failed for outcome in self.outcomes)

    def to_dict(self) -> dict[str, object]:
        found = asdict(self)
        for outcome, written in zip(self.outcomes, found["outcomes"], strict=True):
            written["failed"] = outcome.failed
        return found


def in_process(
    name: str, operation: Callable[[int], object], check: Callable[[], None] = lambda: None, *, makes: int = 1
) -> Contender:
    """A function as a contender; it is told the number of the call, so that no two need be the same.

    Args:
        makes: how many results one call makes.
    """
    numbers = iter(range(1 << 62))

    def run(seconds: float) -> Sample:
        count, batch = 0, 1
        wall, begun = time.perf_counter(), time.process_time()
        while (spent := time.process_time() - begun) < seconds:
            for _ in range(batch):
                operation(next(numbers))
            count += batch
            if spent < seconds / 20:
                batch *= 2
        return Sample(count * makes, time.process_time() - begun, time.perf_counter() - wall)

    return Contender(name, run, check)


def measure(
    suite: Suite,
    *,
    rounds: int = ROUNDS,
    seconds: float = SLICE_SECONDS,
    order: random.Random | None = None,
    progress: Callable[[int, int], None] = lambda done, planned: None,
) -> Report:
    """Measure a suite.

    Raises:
        WrongResult: a contender gives a wrong result.
        MachineTooBusy: the host took more than a tenth of the CPU away.
    """
    order = order or random.Random()
    for contender in suite.contenders:
        contender.check()
        contender.run(seconds / 4)  # caches, lazy imports, the clock of the processor
    before, ticks = Machine.now(), _ticks()
    samples: list[dict[str, Sample]] = []
    planned = min(rounds, suite.most_rounds)
    while len(samples) < planned:
        turn = list(suite.contenders)
        order.shuffle(turn)
        samples.append({contender.name: contender.run(seconds) for contender in turn})
        progress(len(samples), planned)
        if len(samples) == planned < suite.most_rounds and any(
            o.noisy and o.at_least for o in _outcomes(suite, samples)
        ):
            planned = min(2 * planned, suite.most_rounds)
    after = Machine.now(_steal_between(ticks, _ticks()))
    if after.steal > MAX_STEAL:
        raise MachineTooBusy(f"the host took {after.steal:.0%} of the CPU away while {suite.name} was measured")
    rates = {c.name: statistics.median(sample[c.name].rate for sample in samples) for c in suite.contenders}
    notes = (*suite.notes, *suite.remarks())
    return Report(suite.name, tuple(_outcomes(suite, samples)), rates, before, after, notes)


def _outcomes(suite: Suite, samples: Sequence[dict[str, Sample]]) -> Iterable[Outcome]:
    for ratio in suite.ratios:
        values = sorted(sample[ratio.of].rate / sample[ratio.to].rate for sample in samples)
        median = statistics.median(values)
        low, high = _quantile(values, 0.1), _quantile(values, 0.9)
        noisy = len(values) > 1 and (high - low) > WIDE * median
        yield Outcome(ratio.name, median, low, high, len(values), ratio.at_least, noisy)


def _quantile(values: Sequence[float], part: float) -> float:
    """Of sorted values, between neighbours linearly."""
    position = part * (len(values) - 1)
    below = int(position)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (position - below)


# -- the machine -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Machine:
    """How busy the machine is: load average, and the part of the CPU that the hypervisor takes."""

    load: float
    steal: float

    @classmethod
    def now(cls, steal: float = 0.0) -> Machine:
        return cls(os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0, steal)

    def __str__(self) -> str:
        return f"load {self.load:.2f}, steal {self.steal:.1%}"


def _ticks() -> tuple[int, int]:
    """(all ticks, stolen ticks) since boot; zeros where the system does not say."""
    try:
        fields = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    except (OSError, ValueError, IndexError):
        return 0, 0
    return sum(fields), fields[7] if len(fields) > 7 else 0


def _steal_between(before: tuple[int, int], after: tuple[int, int]) -> float:
    passed = after[0] - before[0]
    return (after[1] - before[1]) / passed if passed > 0 else 0.0
