"""How failures slow down whoever makes them."""

from __future__ import annotations

import asyncio

import pytest

from certwright.auth import throttle as module
from certwright.auth.accounts import MAX_CHECKS
from certwright.auth.http import Authenticated, Challenge
from certwright.auth.throttle import ACCOUNT, ACCOUNT_AND_ADDRESS, ADDRESS, FAMILIAR_FOR, WINDOW, Limit, Throttle
from tests.support.ntlm_client import basic, client, log_on
from tests.unit.auth.conftest import PASSWORD, Clock, Site

HERE, THERE = "198.51.100.1", "198.51.100.2"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    return Throttle(clock=clock)


def fail(throttle: Throttle, times: int, account: str = "alice", peer: str = HERE) -> None:
    for _ in range(times):
        throttle.failed(account, peer)


# -- the counters


def test_waits_double_up_to_the_longest() -> None:
    limit = Limit(5, 5.0, 900.0)
    assert [limit.wait_after(failures) for failures in (0, 4, 5, 6, 7, 12, 13, 10**9)] == [
        0.0, 0.0, 5.0, 10.0, 20.0, 640.0, 900.0, 900.0,
    ]  # fmt: skip


def test_a_few_failures_are_free(throttle: Throttle) -> None:
    fail(throttle, ACCOUNT_AND_ADDRESS.failures - 1)
    assert throttle.wait("alice", HERE) == 0
    fail(throttle, 1)
    assert throttle.wait("alice", HERE) == 5


def test_wait_passes_with_time(throttle: Throttle, clock: Clock) -> None:
    fail(throttle, 6)
    clock.now += 9
    assert throttle.wait("alice", HERE) == 1
    clock.now += 1
    assert throttle.wait("alice", HERE) == 0
    fail(throttle, 1)
    assert throttle.wait("alice", HERE) == 20


def test_failures_hurt_only_this_account_at_this_address(throttle: Throttle) -> None:
    fail(throttle, 10)
    assert throttle.wait("alice", THERE) == 0
    assert throttle.wait("bob", HERE) == 0


def test_failures_are_forgotten_after_a_quiet_window(throttle: Throttle, clock: Clock) -> None:
    fail(throttle, 7)
    clock.now += 20 + WINDOW + 1
    fail(throttle, 1)
    assert throttle.wait("alice", HERE) == 0


def test_success_clears_the_account_at_this_address(throttle: Throttle) -> None:
    fail(throttle, 7)
    throttle.succeeded("alice", HERE)
    assert throttle.wait("alice", HERE) == 0
    fail(throttle, 4)
    assert throttle.wait("alice", HERE) == 0


def test_many_accounts_from_one_address_are_stopped(throttle: Throttle) -> None:
    """Password spraying: one guess each at many accounts."""
    for number in range(ADDRESS.failures):
        throttle.failed(f"account {number}", HERE)
    assert throttle.wait("one more", HERE) > 0
    assert throttle.wait("one more", THERE) == 0


def test_right_password_for_one_account_is_no_licence_for_the_address(throttle: Throttle) -> None:
    for number in range(ADDRESS.failures):
        throttle.failed(f"account {number}", HERE)
        throttle.succeeded("mallory", HERE)
    assert throttle.wait("one more", HERE) > 0


def test_many_addresses_at_one_account_are_slowed_but_do_not_lock_it(throttle: Throttle) -> None:
    """Its owner, known where they work, is not affected; elsewhere they wait a minute at most."""
    throttle.succeeded("alice", HERE)
    for number in range(200):
        throttle.failed("alice", f"203.0.113.{number}")
    assert throttle.wait("alice", HERE) == 0
    assert 0 < throttle.wait("alice", THERE) <= ACCOUNT.longest_wait


def test_familiar_place_is_forgotten_after_a_day(throttle: Throttle, clock: Clock) -> None:
    throttle.succeeded("alice", HERE)
    clock.now += FAMILIAR_FOR + 1
    for number in range(ADDRESS.failures):
        throttle.failed(f"account {number}", HERE)
    assert throttle.wait("alice", HERE) > 0


def test_familiar_account_has_its_own_limit_still(throttle: Throttle) -> None:
    throttle.succeeded("alice", HERE)
    fail(throttle, 5)
    assert throttle.wait("alice", HERE) == 5


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8:0:0:ffff::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:198.51.100.1", "198.51.100.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "", True),
        ("unix", "198.51.100.1", False),
    ],
)
def test_addresses_of_one_subscriber_count_as_one(throttle: Throttle, one: str, other: str, same: bool) -> None:
    """An IPv6 subscriber has a /64 to come from."""
    fail(throttle, 5, peer=one)
    assert (throttle.wait("alice", other) > 0) is same


def test_memory_is_bounded(throttle: Throttle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CAPACITY", 100)
    for number in range(1000):
        throttle.failed(f"account {number}", f"203.0.{number // 250}.{number % 250}")
        throttle.succeeded(f"other {number}", HERE)
    assert throttle.size <= 400


# -- what clients see


def test_throttled_account_is_not_checked_at_all(site: Site) -> None:
    """Not even with the right password: neither an oracle nor work for the processor."""

    async def guess() -> None:
        for number in range(5):
            answer = await site.authenticator.authenticate(basic("alice", f"guess {number}"), site.connect())
            assert isinstance(answer, Challenge)
            assert answer.status == 401
        checks = site.directory.password_checks
        for header in (basic("alice", PASSWORD), basic("CORP\\ALICE", "guess"), basic("alice@corp.example", "x")):
            connection = site.connect()
            answer = await site.authenticator.authenticate(header, connection)
            assert isinstance(answer, Challenge)
            assert (answer.status, answer.retry_after) == (429, 5)
            assert answer.headers == ((b"retry-after", b"5"),)
            assert connection.auth is None
        assert site.directory.password_checks == checks
        refused = await log_on(site.authenticator, site.connect(), client())
        assert isinstance(refused, Challenge)
        assert refused.status == 429

    site.run(guess())
    assert "not checked" in site.reasons[-1]


def test_throttled_account_may_log_on_after_its_wait_and_elsewhere_at_once(site: Site) -> None:
    async def wait() -> None:
        for _ in range(5):
            await log_on(site.authenticator, site.connect(), client(password="wrong"))
        assert not isinstance(await log_on(site.authenticator, site.connect(), client()), Authenticated)
        assert isinstance(await log_on(site.authenticator, site.connect(THERE), client()), Authenticated)
        site.clock.now += 5
        assert isinstance(await log_on(site.authenticator, site.connect(), client()), Authenticated)

    site.run(wait())


def test_unknown_account_is_throttled_like_a_known_one(site: Site) -> None:
    async def guess() -> list[int]:
        statuses = []
        for _ in range(6):
            answer = await site.authenticator.authenticate(basic("nobody", "guess"), site.connect())
            assert isinstance(answer, Challenge)
            statuses.append(answer.status)
        return statuses

    assert site.run(guess()) == [401] * 5 + [429]


def test_connections_that_are_logged_on_stay_when_their_account_is_throttled(site: Site) -> None:
    async def stay() -> None:
        connection = site.connect()
        await log_on(site.authenticator, connection, client())
        for _ in range(6):
            await log_on(site.authenticator, site.connect(), client(password="wrong"))
        assert isinstance(await site.authenticator.authenticate(None, connection), Authenticated)

    site.run(stay())


def test_malformed_messages_are_no_guesses(site: Site) -> None:
    for _ in range(20):
        site.run(site.authenticator.authenticate(b"NTLM AAAA", site.connect()))
    assert site.throttle.size == 0


def test_success_with_ntlm_forgets_failures(site: Site) -> None:
    async def alternate() -> None:
        for _ in range(3):
            for _ in range(4):
                await log_on(site.authenticator, site.connect(), client(password="wrong"))
            assert isinstance(await log_on(site.authenticator, site.connect(), client()), Authenticated)

    site.run(alternate())


def test_guesses_at_once_are_counted_like_guesses_in_turn(site: Site) -> None:
    """What waits for its turn is asked again before it is checked."""

    async def burst() -> list[int]:
        attempts = (
            site.authenticator.authenticate(basic("alice", f"guess {number}"), site.connect()) for number in range(40)
        )
        answers = await asyncio.gather(*attempts)
        return [answer.status for answer in answers if isinstance(answer, Challenge)]

    statuses = site.run(burst())
    assert statuses.count(429) >= 40 - 5 - MAX_CHECKS
    assert site.directory.password_checks < 5 + MAX_CHECKS
