"""Who showed a certificate: an account, a holder of a key, or nobody. KB5014754, [MS-WSTEP] 3.1.1.1.2."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from certwright.adcs.requester import AuthMethod
from certwright.auth.certificate_mapping import Unmapped
from certwright.auth.client_certificate import NOBODY, CertificateAuthenticator, CertificateCaller
from certwright.auth.connection import Connection
from certwright.auth.lookups import Lookups
from certwright.auth.mechanism import Refused
from certwright.directory.base import Principal
from tests.support.certificates import make_certificate
from tests.support.fake_directory import make_user
from tests.unit.auth.conftest import Site
from tests.unit.auth.test_certificate_mapping import certificate, mapping, with_sid

ALICE = make_user("alice", 1101)
SHOWN = make_certificate("CN=machine", serial=0x4711)


@dataclass
class Mapper:
    """Says what it is told to, and counts."""

    answer: Callable[[], tuple[Principal, float]]
    asked: list[bytes] = field(default_factory=list)

    def map(self, certificate: bytes) -> tuple[Principal, float]:
        self.asked.append(certificate)
        return self.answer()


def alice() -> tuple[Principal, float]:
    return ALICE, 3600.0


def holder() -> tuple[Principal, float]:
    raise Unmapped("nobody's account", lifetime=3600.0)


def revoked() -> tuple[Principal, float]:
    raise Refused("is revoked")


def connection(shown: bytes | None = SHOWN) -> Connection:
    return Connection(1, "192.0.2.1", tls=True, peer_certificate=shown)


def ask(mapper: Mapper, *connections: Connection) -> list[CertificateCaller]:
    async def messages() -> list[CertificateCaller]:
        lookups = Lookups()
        try:
            authenticator = CertificateAuthenticator(mapper, lookups)
            return [await authenticator.authenticate(each) for each in connections]
        finally:
            lookups.close()

    return asyncio.run(messages())


def test_an_account() -> None:
    (found,) = ask(Mapper(alice), connection())

    assert not found.is_holder
    assert (found.requester.account, found.requester.method) == (ALICE.account, AuthMethod.CLIENT_CERTIFICATE)
    assert found.requester.credential is None


def test_a_holder_is_nobody_with_a_certificate() -> None:
    (found,) = ask(Mapper(holder), connection())

    assert found.is_holder
    assert (found.requester.sid, found.requester.groups) == (NOBODY, frozenset())
    assert found.requester.account == "the holder of certificate 4711"
    assert found.requester.credential is not None
    assert found.requester.credential.secret == found.certificate.der == SHOWN


def test_nobody_without_a_certificate_and_with_a_refused_one() -> None:
    with pytest.raises(Refused):
        ask(Mapper(alice), connection(None))
    shown = connection()
    with pytest.raises(Refused):
        ask(Mapper(revoked), shown)
    assert shown.auth is None


def test_a_certificate_is_looked_at_again_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that one revoked meanwhile ends its open connections too."""
    mapper, shown = Mapper(alice), connection()
    ask(mapper, shown, shown, shown)
    assert len(mapper.asked) == 1
    monkeypatch.setattr("certwright.auth.client_certificate.REVIEW_SECONDS", 0.0)
    mapper.answer = revoked
    with pytest.raises(Refused):
        ask(mapper, shown)


def test_a_certificate_ends_with_its_connection_or_its_time() -> None:
    mapper, shown = Mapper(lambda: (ALICE, 0.0)), connection()
    ask(mapper, shown, shown, connection())

    assert len(mapper.asked) == 3


def test_only_a_valid_certificate_of_ours_makes_a_holder(site: Site) -> None:
    """Strong mapping as it is: whatever is wrong with a certificate is no way to be a holder."""
    with pytest.raises(Unmapped) as unmapped:
        mapping(site).map(certificate())
    assert unmapped.value.lifetime > 0
    for shown, reason in (
        (certificate(), "is revoked"),
        (certificate(), "was not issued by a CA of this installation"),
        (certificate(usage=None), ""),
        (with_sid("S-1-5-21-9-9-9-9999"), ""),
    ):
        with pytest.raises(Refused) as refused:
            mapping(site, reason=reason).map(shown)
        assert not isinstance(refused.value, Unmapped)
