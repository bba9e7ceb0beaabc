"""NTLM of a domain through ntlm_auth, a stand-in for which runs as a process of its own. [MS-NLMP] 3.2.5.1.2."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from certwright.adcs.requester import AuthMethod
from certwright.auth import winbind
from certwright.auth.domain import DomainLogons
from certwright.auth.http import Authenticated, Challenge, HttpAuthenticator
from certwright.auth.policy import AuthenticationPolicy, ChannelBinding
from certwright.auth.throttle import ACCOUNT_AND_ADDRESS
from certwright.auth.winbind import NtlmAuthPool, find_ntlm_auth, read_names
from certwright.wire.ntlm import AvId, ChallengeMessage, NegotiateMessage
from tests.support.fake_directory import make_user
from tests.support.ntlm_client import (
    OTHER_BINDING,
    UNICODE_CLIENT,
    BentClient,
    basic,
    client,
    header,
    log_on,
    token_of,
)
from tests.unit.auth.conftest import NAMES, PASSWORD, Site

PROGRAM = Path(__file__).parents[2] / "support" / "ntlm_auth_stand_in.py"
Run = Callable[[Callable[["Joined"], Awaitable[Any]]], Any]


@dataclass
class Joined:
    """The site with a domain behind it, inside a running event loop."""

    site: Site
    authenticator: HttpAuthenticator
    pool: NtlmAuthPool
    file: Path

    @property
    def starts(self) -> list[str]:
        """Protocols of the helpers that were started."""
        starts = self.file.parent / f"{self.file.name}.starts"
        return [line.rpartition("=")[2] for line in starts.read_text().splitlines()] if starts.exists() else []

    def tell(self, **known: Any) -> None:
        """What helpers that start from now on know."""
        told = {"accounts": {"alice": "domain password", "bob": "bobs own"}, "domain": "CORP", "disabled": ["dave"]}
        self.file.write_text(json.dumps(told | known))

    async def log_on(
        self, user: str = "CORP\\alice", password: str = "domain password", *, peer: str = "198.51.100.1", **kind: Any
    ) -> Authenticated | Challenge:
        scheme = "Negotiate" if kind.get("protocol") == "negotiate" else "NTLM"
        return await log_on(self.authenticator, self.site.connect(peer), client(user, password, **kind), scheme)


@pytest.fixture
def run(site: Site, tmp_path: Path) -> Run:
    """Runs a test's coroutine with a domain whose helpers are there."""
    site.directory.add(make_user("dave", 1130), "unused")

    @asynccontextmanager
    async def joined() -> AsyncIterator[Joined]:
        file = tmp_path / "known.json"
        pool = NtlmAuthPool([sys.executable, str(PROGRAM), str(file)], lambda: "CORP", size=2)
        domain = DomainLogons(winbind=pool)
        authenticator = HttpAuthenticator(
            site.directory,
            lambda: site.policy,
            site.throttle,
            site.executor,
            lambda: NAMES,
            domain=domain,
        )
        made = Joined(site, authenticator, pool, file)
        made.tell()
        try:
            yield made
        finally:
            await domain.close()

    def runner(work: Callable[[Joined], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            async with joined() as made:
                return await work(made)

        return asyncio.run(main())

    return runner


async def ready(joined: Joined) -> Joined:
    assert await joined.pool.probe()
    return joined


# -- who gets in


@pytest.mark.parametrize("user", ["CORP\\alice", "corp.example\\Alice", "alice", "alice@corp.example"])
@pytest.mark.parametrize("protocol", ["ntlm", "negotiate"])
def test_an_account_of_the_domain_logs_on_by_winbind(run: Run, site: Site, user: str, protocol: str) -> None:
    """The password is the domain's, not the directory's; account, SID and groups are the directory's."""

    async def work(joined: Joined) -> Authenticated | Challenge:
        return await (await ready(joined)).log_on(user, protocol=protocol)

    answer = run(work)
    assert isinstance(answer, Authenticated)
    assert (answer.requester.account, answer.requester.sid) == ("CORP\\alice", site.alice.sid)
    assert answer.requester.method is AuthMethod.NTLM
    assert site.logs[-1]["binding"] == "matched"


@pytest.mark.parametrize(
    ("user", "password", "reason"),
    [
        ("CORP\\alice", PASSWORD, "Logon failure"),
        ("CORP\\nobody", "x", "Logon failure"),
        ("CORP\\dave", "unused", "Account disabled"),
    ],
)
def test_what_winbind_refuses_is_refused_and_its_words_stand_in_the_log(
    run: Run, site: Site, user: str, password: str, reason: str
) -> None:
    async def work(joined: Joined) -> Authenticated | Challenge:
        return await (await ready(joined)).log_on(user, password)

    site.assert_refused(run(work), reason)


def test_an_account_that_the_directory_does_not_know_is_nobody(run: Run, site: Site) -> None:
    """Winbind may know more domains than we have the certificates' facts of."""

    async def work(joined: Joined) -> Authenticated | Challenge:
        joined.tell(accounts={"stranger": "right"})
        return await (await ready(joined)).log_on("CORP\\stranger", "right")

    site.assert_refused(run(work), "unknown account")


def test_an_account_disabled_in_the_directory_is_refused_whatever_winbind_says(run: Run, site: Site) -> None:
    site.directory.disable(site.alice.sid)

    async def work(joined: Joined) -> Authenticated | Challenge:
        return await (await ready(joined)).log_on()

    site.assert_refused(run(work), "disabled")


def test_an_account_of_our_own_still_logs_on_with_its_own_password(
    run: Run, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`.` as the domain means us."""
    find = site.directory.principal
    monkeypatch.setattr(site.directory, "principal", lambda name: find(name.removeprefix(".\\")))
    nt_hash = site.directory.nt_hash
    monkeypatch.setattr(site.directory, "nt_hash", lambda name: nt_hash(name.removeprefix(".\\")))

    async def work(joined: Joined) -> Authenticated | Challenge:
        return await (await ready(joined)).log_on(".\\alice", PASSWORD)

    assert isinstance(run(work), Authenticated)


# -- channel binding, MIC, version 1: ours, whatever winbind says


@pytest.mark.parametrize(
    ("kind", "wanted", "reason"),
    [
        ({"binding": OTHER_BINDING}, ChannelBinding.REQUIRE, "another TLS connection"),
        ({"binding": OTHER_BINDING}, ChannelBinding.ALLOW, "another TLS connection"),
        ({"binding": None}, ChannelBinding.REQUIRE, "no channel binding"),
        ({"hostname": "dc1.corp.example"}, ChannelBinding.REQUIRE, "not a name of this server"),
    ],
)
def test_a_right_password_with_a_wrong_binding_is_refused(
    run: Run, site: Site, kind: dict[str, Any], wanted: ChannelBinding, reason: str
) -> None:
    site.policy = AuthenticationPolicy(wanted)

    async def work(joined: Joined) -> Authenticated | Challenge:
        return await (await ready(joined)).log_on(**kind)

    site.assert_refused(run(work), reason)


def test_a_missing_binding_passes_where_it_is_allowed(run: Run, site: Site) -> None:
    site.allow()

    async def work(joined: Joined) -> Authenticated | Challenge:
        return await (await ready(joined)).log_on(binding=None)

    assert isinstance(run(work), Authenticated)
    assert site.logs[-1]["binding"] == "absent"


def test_a_mic_is_checked_with_the_session_key_winbind_gives(run: Run, site: Site) -> None:
    async def work(joined: Joined) -> Authenticated | Challenge:
        await ready(joined)
        bent = BentClient(password="domain password", bend=lambda message: replace(message, mic=b"m" * 16))
        return await bent.log_on(joined.authenticator, site.connect())

    site.assert_refused(run(work), "MIC is wrong")


def test_version_1_is_refused_before_winbind_is_asked(run: Run, site: Site) -> None:
    async def work(joined: Joined) -> tuple[Authenticated | Challenge, list[str]]:
        await ready(joined)
        bent = BentClient(mic=False, bend=lambda message: replace(message, nt_response=b"r" * 24))
        return await bent.log_on(joined.authenticator, site.connect()), joined.starts

    answer, starts = run(work)
    site.assert_refused(answer, "NTLMv1")
    assert starts == ["squid-2.5-ntlmssp"]


def test_challenge_names_the_host_that_winbind_is(run: Run, site: Site) -> None:
    """Domain controllers compare the name in the proof with the machine account that passes it on."""

    async def work(joined: Joined) -> ChallengeMessage:
        await ready(joined)
        first = header("NTLM", NegotiateMessage(UNICODE_CLIENT).encode())
        answer = await joined.authenticator.authenticate(first, site.connect())
        return ChallengeMessage.parse(token_of(answer, "NTLM") or b"")

    info = run(work).target_info
    assert (info.get(AvId.NETBIOS_COMPUTER_NAME) or b"").decode("utf-16-le") == "WBHOST"
    assert any(info.get(AvId.TIMESTAMP) or b""), "the time is ours, not the probe's"


# -- connections


def test_handshakes_on_many_connections_from_one_address_do_not_meet(run: Run, site: Site) -> None:
    """All type 1 messages, then all type 3 messages in another order: each is checked against its own challenge."""

    async def work(joined: Joined) -> list[str]:
        await ready(joined)
        clients = [(name, client(f"CORP\\{name}", password)) for name, password in 4 * [
            ("alice", "domain password"), ("bob", "bobs own")
        ]]  # fmt: skip
        connections = [site.connect() for _ in clients]
        last: list[bytes] = []
        for (_, each), connection in zip(clients, connections, strict=True):
            answer = await joined.authenticator.authenticate(header("NTLM", each.step()), connection)
            last.append(each.step(token_of(answer, "NTLM")))

        async def finish(index: int) -> str:
            answer = await joined.authenticator.authenticate(header("NTLM", last[index]), connections[index])
            return answer.requester.account if isinstance(answer, Authenticated) else str(answer.status)

        order = list(reversed(range(len(clients))))
        accounts = await asyncio.gather(*(finish(index) for index in order))
        assert len([protocol for protocol in joined.starts if protocol == "ntlm-server-1"]) <= 2
        return [f"{clients[index][0]}={account}" for index, account in zip(order, accounts, strict=True)]

    assert set(run(work)) == {"alice=CORP\\alice", "bob=CORP\\bob"}


def test_a_type_3_message_on_another_connection_is_refused(run: Run, site: Site) -> None:
    async def work(joined: Joined) -> tuple[Authenticated | Challenge, Authenticated | Challenge]:
        await ready(joined)
        one, other = site.connect(), site.connect()
        initiator, second = client(password="domain password"), client(password="domain password")
        challenge = await joined.authenticator.authenticate(header("NTLM", initiator.step()), one)
        await joined.authenticator.authenticate(header("NTLM", second.step()), other)
        last = header("NTLM", initiator.step(token_of(challenge, "NTLM")))
        return await joined.authenticator.authenticate(last, other), await joined.authenticator.authenticate(
            None, one
        )

    crossed, nobody = run(work)
    site.assert_refused(crossed, "Logon failure")
    assert isinstance(nobody, Challenge)


# -- throttling


def test_guesses_are_slowed_down_and_winbind_is_not_asked(run: Run, site: Site) -> None:
    """Every wrong password counts in the domain too, towards a lock-out."""

    async def work(joined: Joined) -> tuple[list[int], int, int]:
        await ready(joined)
        statuses = []
        for _ in range(ACCOUNT_AND_ADDRESS.failures):
            answer = await joined.log_on(password="guess")
            statuses.append(answer.status if isinstance(answer, Challenge) else 200)
        before = len(joined.starts)
        answer = await joined.log_on()  # the right one, too soon
        assert isinstance(answer, Challenge)
        return statuses, answer.status, len(joined.starts) - before

    statuses, late, asked = run(work)
    assert set(statuses) == {401}
    assert (late, asked) == (429, 0)


# -- helpers that fail


def test_one_helper_answers_many_questions(run: Run, site: Site) -> None:
    async def work(joined: Joined) -> list[str]:
        await ready(joined)
        for _ in range(3):
            assert isinstance(await joined.log_on(), Authenticated)
        return joined.starts

    assert run(work) == ["squid-2.5-ntlmssp", "ntlm-server-1"]


def test_a_helper_is_ended_after_a_refusal(run: Run, site: Site) -> None:
    """What it says after that differs between versions; no answer may be taken for another question's."""

    async def work(joined: Joined) -> list[str]:
        await ready(joined)
        assert isinstance(await joined.log_on(password="wrong"), Challenge)
        assert isinstance(await joined.log_on(), Authenticated)
        return joined.starts

    assert run(work)[1:] == 2 * ["ntlm-server-1"]


@pytest.mark.parametrize("fault", ["dies", "babbles"])
def test_a_helper_that_dies_between_two_logons_is_replaced(run: Run, site: Site, fault: str) -> None:
    async def work(joined: Joined) -> list[bool]:
        joined.tell(fault=fault)
        await ready(joined)
        return [isinstance(await joined.log_on(), Authenticated) for _ in range(3)]

    assert run(work) == [True, True, True]


def test_an_answer_that_nobody_asked_for_is_no_answer_to_the_next_question(run: Run, site: Site) -> None:
    async def work(joined: Joined) -> Authenticated | Challenge:
        joined.tell(fault="two answers")
        await ready(joined)
        assert isinstance(await joined.log_on(), Authenticated)
        joined.tell()
        return await joined.log_on("CORP\\bob", "not bobs")

    site.assert_refused(run(work), "Logon failure")


def test_a_helper_that_cannot_be_started_is_a_401_and_no_guess(run: Run, site: Site) -> None:
    async def work(joined: Joined) -> Authenticated | Challenge:
        await ready(joined)
        joined.file.unlink()  # the next one ends at once
        for _ in range(2 * ACCOUNT_AND_ADDRESS.failures):
            answer = await joined.log_on()
        return answer

    site.assert_refused(run(work), "winbind could not be asked: ntlm_auth ended")
    assert any(entry["event"] == "ntlm_auth_failed" for entry in site.logs)


def test_a_helper_that_says_nothing_is_given_up(run: Run, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winbind, "ANSWER_SECONDS", 0.3)

    async def work(joined: Joined) -> Authenticated | Challenge:
        await ready(joined)
        joined.tell(fault="silent")
        return await joined.log_on()

    monkeypatch.setattr(NtlmAuthPool, "probe", _patient_probe)
    site.assert_refused(run(work), "no answer within")


async def _patient_probe(pool: NtlmAuthPool) -> bool:
    """The real probe without the test's short patience: starting Python takes longer."""
    pool.names = read_names((await _challenge_line(pool)).encode())
    return True


async def _challenge_line(pool: NtlmAuthPool) -> str:
    process = await pool._start("squid-2.5-ntlmssp")
    out, _ = await process.communicate(b"YR TlRMTVNTUAABAAAAAgIAAA==\n")
    return out.decode()


# -- what is on offer


@pytest.mark.parametrize(
    ("known", "reason"),
    [({"fault": "not joined"}, "NT_STATUS_UNSUCCESSFUL"), ({"domain": "OTHER"}, "member of OTHER")],
)
def test_ntlm_is_not_offered_without_a_winbind_of_the_domain(
    run: Run, site: Site, known: dict[str, Any], reason: str
) -> None:
    async def work(joined: Joined) -> Authenticated | Challenge:
        joined.tell(**known)
        assert not await joined.pool.probe()
        assert not await joined.pool.probe()
        return await joined.authenticator.authenticate(None, site.connect())

    answer = run(work)
    assert isinstance(answer, Challenge)
    assert [value.split()[0] for _, value in answer.headers] == [b"Basic"]
    complaints = [entry for entry in site.logs if entry["event"] == "ntlm_not_offered"]
    assert len(complaints) == 1, "said once"
    assert reason in complaints[0]["reason"]


def test_a_winbind_that_comes_later_is_found(run: Run, site: Site) -> None:
    async def work(joined: Joined) -> bool:
        joined.tell(fault="not joined")
        assert not await joined.pool.probe()
        joined.tell()
        return await joined.pool.probe()

    assert run(work)


def test_basic_asks_the_directory_away_from_the_event_loop(run: Run, site: Site) -> None:
    async def work(joined: Joined) -> Authenticated | Challenge:
        return await joined.authenticator.authenticate(basic("CORP\\alice", PASSWORD), site.connect())

    assert isinstance(run(work), Authenticated)


@pytest.mark.parametrize("line", [b"", b"BH\n", b"TT\n", b"TT ?\n", b"TT TlRMTVNTUAABAAAA\n", b"AF CORP\\alice\n"])
def test_what_is_no_challenge_names_nobody(line: bytes) -> None:
    from certwright.adcs.errors import BadRequest

    with pytest.raises((ValueError, BadRequest)):
        read_names(line)


def test_the_program_is_found_where_it_is_said_to_be(tmp_path: Path) -> None:
    assert find_ntlm_auth(str(tmp_path / "nothing")) is None
    assert find_ntlm_auth(sys.executable) == Path(sys.executable)
