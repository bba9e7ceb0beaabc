"""How long the command takes to say its help, for information: a Python that does nothing is the unit."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Sequence

from bench.measure import Contender, Ratio, Sample, Suite, WrongResult


def suite() -> Suite:
    help_, nothing = ("-m", "certwright", "--help"), ("-c", "pass")
    return Suite(
        "start of the command",
        [_contender("certwright --help", help_), _contender("python -c pass", nothing)],
        [Ratio("certwright --help: starts of Python", "python -c pass", "certwright --help")],
        remarks=lambda: [
            f"certwright --help: {_wall(help_):.2f} s of wall time, python alone {_wall(nothing):.2f} s"
        ],
    )


def _contender(name: str, arguments: Sequence[str]) -> Contender:
    def run(seconds: float) -> Sample:
        count, cpu, wall = 0, _children(), time.perf_counter()
        while not count or _children() - cpu < seconds:
            _start(arguments)
            count += 1
        return Sample(count, _children() - cpu, time.perf_counter() - wall)

    return Contender(name, run)


def _start(arguments: Sequence[str]) -> None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    if done.returncode:
        raise WrongResult(f"python {' '.join(arguments)} ended with {done.returncode}: {done.stderr.decode()[-500:]}")


def _wall(arguments: Sequence[str]) -> float:
    """The best of five, in seconds."""
    found = []
    for _ in range(5):
        begun = time.perf_counter()
        _start(arguments)
        found.append(time.perf_counter() - begun)
    return min(found)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
