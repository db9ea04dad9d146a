"""When programs share their work with other threads, by a clock that the tests move."""

from __future__ import annotations

from collections.abc import Callable

from codegen.cpu.pace import Pace

MS = 1_000_000


def simulate(time_of: Callable[[bool, int, int], int], seconds: float) -> list[tuple[int, bool, int]]:
    """Runs one after another: when each began, whether it shared, and its time, which `time_of(shares, now, number)`
    gives."""
    pace, now = Pace(), 0
    runs = []
    while now < seconds * 1000 * MS:
        shared = pace.shares(now)
        took = time_of(shared, now, len(runs))
        pace.note(shared, now, took)
        runs.append((now, shared, took))
        now += took
    return runs


def share_of_time(runs: list[tuple[int, bool, int]]) -> float:
    """The part of the time in runs that shared."""
    return sum(took for _, shared, took in runs if shared) / sum(took for _, _, took in runs)


def test_undisturbed_runs_always_share() -> None:
    runs = simulate(lambda shared, now, number: 160_000 + 1000 * (number % 7) if shared else 260_000, 1)
    assert all(shared for _, shared, _ in runs)


def test_slow_steps_vary_without_a_rest() -> None:
    runs = simulate(lambda shared, now, number: 500 * MS + (number % 5) * 60 * MS if shared else 900 * MS, 60)
    assert all(shared for _, shared, _ in runs)


def test_a_helper_that_is_stopped_again_and_again_gets_longer_and_longer_rests() -> None:
    """Sharing gains nothing, and one run in fifty waits for 4 ms."""
    runs = simulate(lambda shared, now, number: 4 * MS if shared and number % 50 == 0 else 250_000, 20)
    late = [run for run in runs if run[0] > 5000 * MS]
    assert share_of_time(late) < 0.05
    assert sum(took > MS for _, _, took in late) <= 16, "about one a second"


def test_sharing_that_pays_goes_on_after_exceptions() -> None:
    """Other programs stop a run now and then, whoever runs it."""
    runs = simulate(lambda shared, now, number: 5 * MS if number % 400 == 0 else 160_000 if shared else 260_000, 20)
    assert share_of_time(runs) > 0.9


def test_sharing_begins_again_when_the_other_program_has_ended() -> None:
    def time_of(shared: bool, now: int, number: int) -> int:
        if now < 5000 * MS:
            return 4 * MS if shared and number % 20 == 0 else 260_000
        return 160_000 if shared else 260_000

    runs = simulate(time_of, 10)
    assert all(shared for now, shared, _ in runs if now > 6100 * MS)
