"""User name and password of a message: once for a connection, throttled like every other door."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from certwright.adcs.errors import CaUnreachable
from certwright.adcs.requester import AuthMethod, Requester
from certwright.auth.connection import Connection
from certwright.auth.http import Challenge
from certwright.auth.lookups import Lookups
from certwright.auth.mechanism import Refused
from certwright.auth.user_name import UserNameAuthenticator
from tests.unit.auth.conftest import PASSWORD, Site


def authenticator(site: Site) -> UserNameAuthenticator:
    return UserNameAuthenticator(site.directory, site.throttle, site.executor)


def run(work: Coroutine[Any, Any, Requester]) -> Requester:
    return asyncio.run(work)


@pytest.mark.parametrize("name", [r"CORP\alice", r"corp.example\ALICE", "alice@corp.example", "alice"])
def test_names_in_every_form(site: Site, name: str) -> None:
    found = run(authenticator(site).authenticate(name, PASSWORD, site.connect()))

    assert (found.account, found.sid, found.groups) == (r"CORP\alice", site.alice.sid, site.alice.groups)
    assert (found.method, found.origin) == (AuthMethod.USER_NAME, "198.51.100.1")


def test_a_password_is_checked_once_for_a_connection(site: Site) -> None:
    async def messages() -> None:
        users, connection = authenticator(site), site.connect()
        for _ in range(5):
            await users.authenticate("alice", PASSWORD, connection)
        assert site.directory.password_checks == 1
        await users.authenticate("alice", PASSWORD, site.connect())
        assert site.directory.password_checks == 2

    asyncio.run(messages())


def test_other_credentials_are_checked_anew_and_a_wrong_one_ends_what_was_proved(site: Site) -> None:
    async def messages() -> None:
        users, connection = authenticator(site), site.connect()
        await users.authenticate("alice", PASSWORD, connection)
        for user, password in (("alice", "wrong"), (f"alice{chr(0)}x", PASSWORD), ("alic", f"e{PASSWORD}")):
            with pytest.raises(Refused):
                await users.authenticate(user, password, connection)
            assert connection.auth is None
        await users.authenticate("alice", PASSWORD, connection)

    asyncio.run(messages())
    assert site.directory.password_checks >= 3


def test_what_was_proved_here_is_nothing_to_the_other_doors(site: Site) -> None:
    """And the other way round: a connection logged on by Basic is nobody's to a message without the password."""

    async def messages() -> None:
        users, connection = authenticator(site), site.connect()
        await users.authenticate("alice", PASSWORD, connection)
        assert isinstance(await site.authenticator.authenticate(None, connection), Challenge)
        with pytest.raises(Refused):
            await users.authenticate("alice", "wrong", connection)

    asyncio.run(messages())


def test_an_account_that_was_disabled_is_refused_at_the_next_message(site: Site) -> None:
    async def messages() -> None:
        users, connection = authenticator(site), site.connect()
        await users.authenticate("alice", PASSWORD, connection)
        site.directory.disable(site.alice.sid)
        with pytest.raises(Refused, match="disabled"):
            await users.authenticate("alice", PASSWORD, connection)

    asyncio.run(messages())


def test_guesses_are_slowed_down_and_not_checked_any_more(site: Site) -> None:
    async def guess() -> float | None:
        with pytest.raises(Refused) as refused:
            await authenticator(site).authenticate("alice", "wrong", site.connect())
        return refused.value.retry_after

    waits = [asyncio.run(guess()) for _ in range(7)]

    assert waits[0] is None
    assert waits[-1] is not None
    assert site.directory.password_checks < 7
    assert [entry["event"] for entry in site.logs] == ["logon_refused"] * 7


def test_a_directory_that_does_not_answer_ends_nobodys_connection(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def messages() -> Requester:
        lookups = Lookups()
        users = UserNameAuthenticator(site.directory, site.throttle, site.executor, lookups)
        connection = site.connect()
        await users.authenticate("alice", PASSWORD, connection)
        monkeypatch.setattr("certwright.auth.user_name.REVIEW_SECONDS", 0.0)
        monkeypatch.setattr(site.directory, "principal", down)
        try:
            return await users.authenticate("alice", PASSWORD, connection)
        finally:
            lookups.close()

    def down(_: str) -> None:
        raise CaUnreachable("no domain controller answers")

    assert asyncio.run(messages()).account == r"CORP\alice"


def test_connections_of_different_clients_know_nothing_of_each_other(site: Site) -> None:
    async def messages() -> None:
        users = authenticator(site)
        await users.authenticate("alice", PASSWORD, site.connect())
        with pytest.raises(Refused):
            await users.authenticate("alice", "wrong", Connection(99, "198.51.100.1", tls=True))

    asyncio.run(messages())
