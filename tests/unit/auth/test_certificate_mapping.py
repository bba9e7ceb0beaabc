"""Whose a client's certificate is: KB5014754's strong mappings and no others. [MS-PKCA] 3.1.5.2.1.3."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from certwright.adcs.errors import CaUnreachable
from certwright.adcs.requester import AuthMethod
from certwright.auth.certificate_mapping import MAX_CERTIFICATE, StrongMapping, strong_identities
from certwright.auth.connection import Connection
from certwright.auth.domain import DomainLogons
from certwright.auth.http import Authenticated, Challenge, HttpAuthenticator
from certwright.auth.mechanism import Refused
from certwright.directory.base import Principal
from certwright.pki import oids
from certwright.pki.certificate import CertificateView
from certwright.pki.extensions import sid_extension
from tests.support.certificates import make_certificate
from tests.support.ntlm_client import basic
from tests.support.requests import UPN, ec_key
from tests.unit.auth.conftest import NAMES, PASSWORD, Site

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ISSUER = "CN=Corp CA,DC=corp,DC=example"
CLIENT_AUTH = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)


def raw(oid: str, value: bytes) -> tuple[x509.ExtensionType, bool]:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), False


def certificate(*extensions: Any, usage: Any = CLIENT_AUTH, **values: Any) -> bytes:
    found = [usage, *extensions] if usage else list(extensions)
    return make_certificate("CN=alice", extensions=found, issuer=ISSUER, **values)


def with_sid(sid: str) -> bytes:
    return certificate(raw(oids.NTDS_CA_SECURITY, sid_extension(sid)))


@dataclass
class Issued:
    """What our CAs know: everything stands unless something is said."""

    reason: str = ""

    def why_not(self, certificate: CertificateView) -> str:
        return self.reason


@dataclass
class Accounts:
    """altSecurityIdentities of accounts; values are compared as the directory does, whatever their case."""

    mappings: list[tuple[str, Principal]] = field(default_factory=list)
    asked: list[Sequence[str]] = field(default_factory=list)

    def __call__(self, identities: Sequence[str]) -> Sequence[Principal]:
        self.asked.append(identities)
        wanted = {identity.lower() for identity in identities}
        return [principal for value, principal in self.mappings if value.lower() in wanted]


def mapping(site: Site, accounts: Accounts | None = None, reason: str = "", now: datetime = NOW) -> StrongMapping:
    return StrongMapping(site.directory, accounts or Accounts(), Issued(reason), lambda: now)


# -- strong


def test_the_sid_extension_maps(site: Site) -> None:
    principal, lifetime = mapping(site).map(with_sid(site.alice.sid))
    assert principal == site.alice
    assert 0 < lifetime < 10 * 366 * 86400


def test_what_maps_strongly_is_written_as_windows_writes_it() -> None:
    """[MS-PKCA] 3.1.5.2.1.3, KB5014754: the issuer from its root down, the serial number turned round."""
    key = ec_key("P-256", 7)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    view = CertificateView.parse(certificate((identifier, False), key=key, serial=0x2B0000000011AC0000000012))
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert set(strong_identities(view)) == {
        "X509:<I>DC=example,DC=corp,CN=Corp CA<SR>1200000000ac11000000002b",
        f"X509:<SHA1-PUKEY>{hashlib.sha1(point).hexdigest()}",
        f"X509:<SKI>{identifier.digest.hex()}",
    }


@pytest.mark.parametrize("kind", ["<SR>", "<SHA1-PUKEY>", "<SKI>"])
def test_an_account_that_names_the_certificate_strongly_is_its_owner(site: Site, kind: str) -> None:
    key = ec_key("P-256", 7)
    der = certificate((x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False), key=key)
    identity = next(each for each in strong_identities(CertificateView.parse(der)) if kind in each)
    accounts = Accounts([(identity.upper(), site.alice)])
    assert mapping(site, accounts).map(der)[0] == site.alice


# -- weak, wrong, unfit


@pytest.mark.parametrize(
    "value",
    [
        "X509:<I>DC=example,DC=corp,CN=Corp CA<S>CN=alice",
        "X509:<S>CN=alice",
        "X509:<RFC822>alice@corp.example",
        "X509:<I>DC=example,DC=corp,CN=Corp CA",
    ],
)
def test_weak_mappings_map_nobody(site: Site, value: str) -> None:
    """They are not even asked for."""
    upn = x509.OtherName(x509.ObjectIdentifier(UPN), b"\x0c\x12alice@corp.example")
    names = (x509.SubjectAlternativeName([upn, x509.RFC822Name("alice@corp.example")]), False)
    accounts = Accounts([(value, site.alice)])
    with pytest.raises(Refused, match="weaker mappings are never used"):
        mapping(site, accounts).map(certificate(names))
    assert all("<S>" not in each and "<RFC822>" not in each for asked in accounts.asked for each in asked)


def test_a_sid_that_nobody_has_maps_nobody_though_another_mapping_would(site: Site) -> None:
    der = with_sid("S-1-5-21-1-2-3-4")
    accounts = Accounts([(strong_identities(CertificateView.parse(der))[0], site.alice)])
    with pytest.raises(Refused, match="does not know the SID"):
        mapping(site, accounts).map(der)


def test_two_owners_are_none(site: Site) -> None:
    der = certificate()
    identity = strong_identities(CertificateView.parse(der))[0]
    bob = site.directory.principal("CORP\\bob")
    assert bob is not None
    with pytest.raises(Refused, match="more than one account"):
        mapping(site, Accounts([(identity, site.alice), (identity, bob)])).map(der)


@pytest.mark.parametrize("usage", [None, (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)])
def test_a_certificate_for_something_else_logs_nobody_on(site: Site, usage: Any) -> None:
    der = certificate(raw(oids.NTDS_CA_SECURITY, sid_extension(site.alice.sid)), usage=usage)
    with pytest.raises(Refused, match="not for client authentication"):
        mapping(site).map(der)


def test_a_revoked_or_foreign_certificate_logs_nobody_on(site: Site) -> None:
    with pytest.raises(Refused, match="is revoked"):
        mapping(site, reason="is revoked").map(with_sid(site.alice.sid))


@pytest.mark.parametrize("year", [2024, 2036])
def test_a_certificate_out_of_its_time_logs_nobody_on(site: Site, year: int) -> None:
    with pytest.raises(Refused, match="not valid now"):
        mapping(site, now=datetime(year, 1, 1, tzinfo=UTC)).map(with_sid(site.alice.sid))


def test_a_disabled_owner_is_refused(site: Site) -> None:
    site.directory.put(replace(site.alice, enabled=False))
    with pytest.raises(Refused, match="disabled"):
        mapping(site).map(with_sid(site.alice.sid))


@pytest.mark.parametrize("der", [b"", b"\x30\x03abc", bytes(MAX_CERTIFICATE + 1)])
def test_what_is_no_certificate_is_refused(site: Site, der: bytes) -> None:
    with pytest.raises(Refused, match="certificate"):
        mapping(site).map(der)


def test_a_sid_extension_of_another_form_is_refused(site: Site) -> None:
    with pytest.raises(Refused, match="SID extension"):
        mapping(site).map(certificate(raw(oids.NTDS_CA_SECURITY, b"\x30\x03\x02\x01\x05")))


# -- on a connection


def talk(
    site: Site, mapper: StrongMapping, der: bytes | None, *headers: bytes | None
) -> list[Authenticated | Challenge]:
    async def main() -> list[Authenticated | Challenge]:
        domain = DomainLogons(certificates=mapper)
        authenticator = HttpAuthenticator(
            site.directory, lambda: site.policy, site.throttle, site.executor, lambda: NAMES, domain=domain
        )
        connection = Connection(1, "198.51.100.1", True, (), der)
        try:
            return [await authenticator.authenticate(header, connection) for header in headers]
        finally:
            await domain.close()

    return asyncio.run(main())


def test_a_connection_with_alices_certificate_is_alices(site: Site) -> None:
    """No channel binding is asked for: the key was proved inside this very TLS connection."""
    first, second = talk(site, mapping(site), with_sid(site.alice.sid), None, None)
    assert isinstance(first, Authenticated)
    assert first.requester.method is AuthMethod.CLIENT_CERTIFICATE
    assert first.requester.sid == site.alice.sid
    assert isinstance(second, Authenticated)
    assert len([entry for entry in site.logs if entry["event"] == "logon_accepted"]) == 1


def test_a_certificate_that_maps_nobody_is_answered_by_a_challenge(site: Site) -> None:
    (answer,) = talk(site, mapping(site), certificate(), None)
    assert isinstance(answer, Challenge)
    assert answer.status == 401
    assert "weaker mappings" in site.reasons[-1]


def test_a_password_counts_before_the_certificate(site: Site) -> None:
    (answer,) = talk(site, mapping(site), with_sid(site.alice.sid), basic("CORP\\bob", "bobs password"))
    assert isinstance(answer, Authenticated)
    assert answer.requester.account == "CORP\\bob"


def test_a_directory_that_does_not_answer_is_not_the_clients_fault(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(name: str) -> Principal | None:
        raise CaUnreachable("no domain controller answers")

    monkeypatch.setattr(site.directory, "principal", unreachable)
    (answer,) = talk(site, mapping(site), with_sid(site.alice.sid), None)
    assert isinstance(answer, Challenge)
    assert answer.status == 503


def test_without_a_certificate_everything_is_as_before(site: Site) -> None:
    challenge, answer = talk(site, mapping(site), None, None, basic("CORP\\alice", PASSWORD))
    assert isinstance(challenge, Challenge)
    assert isinstance(answer, Authenticated)
