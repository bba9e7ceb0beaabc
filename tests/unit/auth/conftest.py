"""One site to log on to: a directory with accounts, a clock, and connections to it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from structlog.testing import capture_logs

from certwright.adcs.requester import Sid
from certwright.auth.connection import Connection
from certwright.auth.http import Authenticated, Challenge, HttpAuthenticator
from certwright.auth.policy import AuthenticationPolicy, ChannelBinding
from certwright.auth.throttle import Throttle
from certwright.directory.base import Principal
from tests.support.fake_directory import DOMAIN_SID, make_computer, make_user
from tests.support.logon_directory import FakeLogonDirectory
from tests.support.ntlm_client import BINDING

T = TypeVar("T")
PASSWORD = "correct horse"
NAMES = frozenset({"ca.corp.example", "ca", "pki.corp.example", "192.0.2.7", "::1", "localhost"})


@pytest.fixture(scope="module", autouse=True)
def _kerberos_asks_nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A client that negotiates tries Kerberos first; looking for a domain's controllers in the DNS takes seconds."""
    configuration: Path = tmp_path_factory.mktemp("kerberos") / "krb5.conf"
    configuration.write_text(
        "[libdefaults]\ndefault_realm = CORP.EXAMPLE\n"
        "dns_lookup_kdc = false\ndns_lookup_realm = false\ndns_canonicalize_hostname = false\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KRB5_CONFIG", str(configuration))
        yield


class Clock:
    """Monotonic seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Site:
    directory: FakeLogonDirectory
    clock: Clock
    throttle: Throttle
    authenticator: HttpAuthenticator
    logs: list[Any]
    alice: Principal
    executor: Executor
    policy: AuthenticationPolicy = field(default_factory=AuthenticationPolicy)
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def connect(
        self, peer: str = "198.51.100.1", *, tls: bool = True, bindings: tuple[bytes, ...] = (BINDING,)
    ) -> Connection:
        return Connection(next(self.ids), peer, tls, bindings)

    def allow(self) -> None:
        self.policy = AuthenticationPolicy(ChannelBinding.ALLOW)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(work)

    @property
    def reasons(self) -> list[str]:
        """Why logons were refused, oldest first."""
        return [entry["reason"] for entry in self.logs if entry["event"] == "logon_refused"]

    def assert_refused(self, answer: Authenticated | Challenge, reason: str) -> None:
        """The answer is a fresh 401 that says nothing; the log says why."""
        assert isinstance(answer, Challenge)
        assert answer.status == 401
        assert [value.split()[0] for _, value in answer.headers] == [b"Negotiate", b"NTLM", b"Basic"]
        assert reason in self.reasons[-1]
        assert reason not in answer.reason


@pytest.fixture
def site() -> Iterator[Site]:
    directory = FakeLogonDirectory()
    alice = directory.add(make_user(), PASSWORD)
    directory.add(make_user("bob", 1102), "bobs password")
    directory.add(make_user("carol", 1103), "carols password", ntlm=False)
    directory.add(make_user("jürgen", 1104), PASSWORD)
    directory.add(make_user("Guest", 501, sid=Sid(f"{DOMAIN_SID}-501")), PASSWORD)
    directory.add(make_computer(), "machine password")
    clock = Clock()
    throttle = Throttle(clock=clock)
    with ThreadPoolExecutor(4) as pool, capture_logs() as logs:
        authenticator = HttpAuthenticator(
            directory,
            lambda: made.policy,
            throttle,
            pool,
            lambda: NAMES,
            clock=lambda: datetime(2026, 11, 1, tzinfo=UTC),
        )
        made = Site(directory, clock, throttle, authenticator, logs, alice, pool)
        yield made
