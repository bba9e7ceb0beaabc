"""Basic, inside TLS. RFC 7617."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from certwright.adcs.requester import AuthMethod
from certwright.auth.accounts import MAX_CHECKS, MAX_WAITING
from certwright.auth.basic import challenge, parse_credentials
from certwright.auth.http import Authenticated, Challenge
from certwright.auth.mechanism import Refused
from certwright.auth.policy import AuthenticationPolicy, ChannelBinding, Scheme
from tests.support.ntlm_client import basic, client, header, log_on
from tests.unit.auth.conftest import PASSWORD, Site


@pytest.mark.parametrize("user", ["CORP\\alice", "corp.example\\Alice", "alice", "alice@corp.example", "alice@corp"])
def test_every_spelling_of_an_account_logs_on(site: Site, user: str) -> None:
    """Under require too: there is nothing to relay where the password itself was sent to us."""
    answer = site.run(site.authenticator.authenticate(basic(user, PASSWORD), site.connect()))
    assert isinstance(answer, Authenticated)
    assert answer.requester.account == "CORP\\alice"
    assert answer.requester.method is AuthMethod.BASIC
    assert site.logs[-1]["binding"] == "not needed"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_names_and_passwords_are_utf_8_or_else_latin_1(site: Site, encoding: str) -> None:
    """RFC 7617 3; requests and old browsers send Latin-1."""
    site.directory.add(site.alice, "pässwörd: mit Doppelpunkt")
    for user, password in (("jürgen", PASSWORD), ("alice", "pässwörd: mit Doppelpunkt")):
        answer = site.run(site.authenticator.authenticate(basic(user, password, encoding), site.connect()))
        assert isinstance(answer, Authenticated)


@pytest.mark.parametrize(
    ("user", "password", "reason"),
    [
        ("CORP\\alice", "wrong", "wrong password"),
        ("CORP\\alice", "", "wrong password"),
        ("CORP\\nobody", PASSWORD, "unknown account"),
        ("OTHER\\alice", PASSWORD, "unknown account"),
        ("CORP\\Guest", PASSWORD, "Guest"),
        ("", PASSWORD, "not name, colon and password"),
        ("CORP\\", PASSWORD, "not name, colon and password"),
        ("CORP\\a\\b", PASSWORD, "cannot be an account's"),
        ("al\nice", PASSWORD, "cannot be an account's"),
        ("a" * 300, PASSWORD, "cannot be an account's"),
        ("alice", "p" * 3000, "too long"),
    ],
)
def test_who_proves_nothing_is_refused(site: Site, user: str, password: str, reason: str) -> None:
    connection = site.connect()
    site.assert_refused(site.run(site.authenticator.authenticate(basic(user, password), connection)), reason)
    assert connection.auth is None


def test_account_without_ntlm_logs_on(site: Site) -> None:
    answer = site.run(site.authenticator.authenticate(basic("carol", "carols password"), site.connect()))
    assert isinstance(answer, Authenticated)


def test_credentials_without_a_colon_are_refused() -> None:
    with pytest.raises(Refused):
        parse_credentials(b"alice")
    assert parse_credentials(b"CORP\\alice:a:b") == ("CORP", "alice", "a:b")
    assert parse_credentials(b"alice@corp.example:") == ("", "alice@corp.example", "")


def test_realm_is_quoted() -> None:
    """RFC 9110 5.6.4."""
    assert challenge('a"b\\c') == b'Basic realm="a\\"b\\\\c"'


def test_password_is_checked_once_per_connection_and_header(site: Site) -> None:
    async def many() -> None:
        connection = site.connect()
        for _ in range(10):
            assert isinstance(
                await site.authenticator.authenticate(basic("alice", PASSWORD), connection), Authenticated
            )
            assert isinstance(await site.authenticator.authenticate(None, connection), Authenticated)

    site.run(many())
    assert site.directory.password_checks == 1


def test_another_header_is_checked_anew(site: Site) -> None:
    """And until it is, the connection is nobody's."""

    async def change() -> None:
        connection = site.connect()
        await site.authenticator.authenticate(basic("alice", PASSWORD), connection)
        site.assert_refused(await site.authenticator.authenticate(basic("alice", "wrong"), connection), "wrong")
        assert isinstance(await site.authenticator.authenticate(None, connection), Challenge)
        bob = await site.authenticator.authenticate(basic("bob", "bobs password"), connection)
        assert isinstance(bob, Authenticated)
        assert bob.requester.account == "CORP\\bob"

    site.run(change())
    assert site.directory.password_checks == 3


def test_checked_header_is_not_known_on_another_connection(site: Site) -> None:
    async def two() -> None:
        for _ in range(2):
            await site.authenticator.authenticate(basic("alice", PASSWORD), site.connect())

    site.run(two())
    assert site.directory.password_checks == 2


def test_connection_keeps_neither_header_nor_password(site: Site) -> None:
    connection = site.connect()
    site.run(site.authenticator.authenticate(basic("alice", PASSWORD), connection))
    kept = repr(connection.auth)
    assert PASSWORD not in kept
    assert basic("alice", PASSWORD).decode() not in kept
    assert PASSWORD not in repr(site.logs)


def test_basic_that_is_switched_off_is_not_checked(site: Site) -> None:
    site.policy = AuthenticationPolicy(ChannelBinding.REQUIRE, frozenset({Scheme.NTLM, Scheme.NEGOTIATE}))
    answer = site.run(site.authenticator.authenticate(basic("alice", PASSWORD), site.connect()))
    assert isinstance(answer, Challenge)
    assert answer.status == 401
    assert not any(value.startswith(b"Basic") for _, value in answer.headers)
    assert site.directory.password_checks == 0


# -- bounded work


def test_flood_of_passwords_is_answered_busy(site: Site) -> None:
    """No more than `MAX_CHECKS` are computed at a time, no more than `MAX_WAITING` wait; NTLM goes on."""
    site.directory.checking = threading.Semaphore(0)

    async def flood() -> None:
        fits = MAX_CHECKS + MAX_WAITING
        attempts = [
            asyncio.create_task(
                site.authenticator.authenticate(basic("alice", PASSWORD), site.connect(f"203.0.113.{number}"))
            )
            for number in range(fits + 5)
        ]
        done, _ = await asyncio.wait(attempts, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)
        refused = [task.result() for task in attempts if task.done()]
        assert len(refused) == 5
        assert done
        for answer in refused:
            assert isinstance(answer, Challenge)
            assert (answer.status, answer.retry_after) == (503, 2)
        assert isinstance(await log_on(site.authenticator, site.connect(), client()), Authenticated)
        assert site.directory.password_checks <= MAX_CHECKS
        assert site.directory.checking is not None
        site.directory.checking.release(fits)
        answers = await asyncio.gather(*attempts)
        assert sum(isinstance(answer, Authenticated) for answer in answers) == fits

    site.run(flood())


def test_connection_that_closes_while_its_password_is_checked_is_nobodys(site: Site) -> None:
    site.directory.checking = threading.Semaphore(0)

    async def leave() -> Any:
        connection = site.connect()
        attempt = asyncio.create_task(site.authenticator.authenticate(basic("alice", PASSWORD), connection))
        await asyncio.sleep(0)
        connection.auth = None  # what the server does when the connection is lost
        assert site.directory.checking is not None
        site.directory.checking.release()
        answer = await attempt
        assert connection.auth is None
        return answer

    site.assert_refused(site.run(leave()), "closed or used otherwise")


def test_request_that_comes_between_does_not_inherit_the_logon(site: Site) -> None:
    site.directory.checking = threading.Semaphore(0)

    async def between() -> None:
        connection = site.connect()
        attempt = asyncio.create_task(site.authenticator.authenticate(basic("alice", PASSWORD), connection))
        await asyncio.sleep(0)
        assert isinstance(await site.authenticator.authenticate(None, connection), Challenge)
        assert site.directory.checking is not None
        site.directory.checking.release()
        assert isinstance(await attempt, Challenge)
        assert isinstance(await site.authenticator.authenticate(None, connection), Challenge)

    site.run(between())


def test_cancelled_attempt_keeps_its_slot_until_the_work_is_done(site: Site) -> None:
    """Clients that leave at once must not pile up work in the pool. Their failures count all the same."""
    site.directory.checking = threading.Semaphore(0)

    async def leave() -> None:
        connections = [site.connect() for _ in range(MAX_CHECKS + 1)]
        attempts = [
            asyncio.create_task(site.authenticator.authenticate(basic("alice", "wrong"), connection))
            for connection in connections
        ]
        for _ in range(5):
            await asyncio.sleep(0)
        for attempt in attempts[:MAX_CHECKS]:
            attempt.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert all(attempt.cancelled() for attempt in attempts[:MAX_CHECKS])
        assert connections[0].auth is None
        await asyncio.wait(attempts[MAX_CHECKS:], timeout=0.05)
        assert site.directory.password_checks == MAX_CHECKS
        assert site.directory.checking is not None
        site.directory.checking.release(MAX_CHECKS + 1)
        assert isinstance(await attempts[-1], Challenge)

    site.run(leave())
    assert site.directory.password_checks == MAX_CHECKS + 1
    assert site.throttle.size == 3  # the pair, the account and the address: three failures in each


def test_header_that_is_not_base64_is_refused(site: Site) -> None:
    for value in (b"Basic", b"Basic ", b"Basic !!!", b"Basic YWxpY2U6cHc", header("Basic", b"")):
        site.assert_refused(site.run(site.authenticator.authenticate(value, site.connect())), "header is")
