"""Whose a TLS client's certificate is. KB5014754, [MS-PKCA] 3.1.5.2.1.3, 3.1.5.2.1.5; [MS-WCCE] 2.2.2.7.7.4.

Strong mappings only: the SID extension that a CA of the domain writes, or a value of the account's
altSecurityIdentities that names this very certificate or key (issuer and serial number, subject key identifier, SHA-1
of the public key). Subject, issuer and subject, and mail address can be had by others and map nobody here, nor does a
user principal name or DNS name in the certificate.

TLS has checked chain, time and possession of the key before; `Standing` says whether the certificate is one of ours
and still holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from certwright.adcs.requester import Sid
from certwright.auth.accounts import why_unfit
from certwright.auth.mechanism import Refused
from certwright.directory.base import Directory, Principal
from certwright.pki import der, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError
from certwright.pki.names import parse_name

MAX_CERTIFICATE: Final = 16 * 1024
"""Longest certificate looked at, in bytes."""


class Unmapped(Refused):
    """A certificate of ours that holds, `lifetime` seconds from now, and is no account's."""

    def __init__(self, reason: str, account: str = "", *, lifetime: float) -> None:
        super().__init__(reason, account)
        self.lifetime = lifetime


class Standing(Protocol):
    """What the CAs of this installation know of a certificate. May block."""

    def why_not(self, certificate: CertificateView) -> str:
        """Why it proves nobody: not issued here, revoked. Empty when it stands."""


MappedAccounts = Callable[[Sequence[str]], Sequence[Principal]]
"""The accounts whose altSecurityIdentities hold one of these values."""


@dataclass(frozen=True, slots=True)
class StrongMapping:
    """Implements `auth.domain.CertificateMapper`."""

    directory: Directory
    mapped: MappedAccounts
    standing: Standing
    clock: Callable[[], datetime]

    def map(self, certificate: bytes) -> tuple[Principal, float]:
        """See `CertificateMapper`."""
        view = _read(certificate)
        names = view.subject_name or f"serial number {view.serial_number}"
        lifetime = (view.not_after - self.clock()).total_seconds()
        if lifetime <= 0.0 or self.clock() < view.not_before:
            raise Refused("the client's certificate is not valid now", names)
        if oids.EKU_CLIENT_AUTH not in view.extended_key_usage:
            raise Refused("the client's certificate is not for client authentication", names)
        reason = self.standing.why_not(view)
        if reason:
            raise Refused(f"the client's certificate {reason}", names)
        principal = self._account(view, names)
        reason = why_unfit(principal)
        if reason:
            raise Refused(reason, principal.account)
        return principal, lifetime

    def _account(self, view: CertificateView, names: str) -> Principal:
        try:
            sid = view.sid
        except EncodingError as error:
            raise Refused(f"the SID extension of the client's certificate: {error}", names) from error
        if sid:
            principal = self.directory.principal(Sid(sid))
            if principal is None:
                raise Refused("the directory does not know the SID of the client's certificate", names)
            return principal
        found = self.mapped(strong_identities(view))
        if not found:
            raise Unmapped(
                "the client's certificate has no SID extension, and no account's altSecurityIdentities names it by "
                "issuer and serial number, key identifier or public key; weaker mappings are never used",
                names,
                lifetime=(view.not_after - self.clock()).total_seconds(),
            )
        if len({principal.sid for principal in found}) > 1:
            raise Refused("more than one account's altSecurityIdentities names the client's certificate", names)
        return found[0]


def strong_identities(view: CertificateView) -> tuple[str, ...]:
    """The values of altSecurityIdentities that map this certificate strongly. [MS-PKCA] 3.1.5.2.1.3.

    The issuer stands with its most significant part first, the serial number with its octets turned round.
    """
    issuer = ",".join("+".join(map(str, part)) for part in parse_name(view.issuer))
    serial = bytes.fromhex(view.serial_number)[::-1].hex()
    values = [f"X509:<I>{issuer}<SR>{serial}", f"X509:<SHA1-PUKEY>{_key_digest(view)}"]
    if view.subject_key_identifier is not None:
        values.append(f"X509:<SKI>{view.subject_key_identifier.hex()}")
    return tuple(values)


def _key_digest(view: CertificateView) -> str:
    """Over the bits of the key alone, as the key identifier of RFC 5280 4.2.1.2 (1)."""
    info = der.Reader.of(view.public_key_info, what="public key")
    info.read(der.SEQUENCE)
    bits, _ = der.decode_bit_string(info.content(der.BIT_STRING))
    return hashlib.sha1(bits, usedforsecurity=False).hexdigest()


def _read(certificate: bytes) -> CertificateView:
    if len(certificate) > MAX_CERTIFICATE:
        raise Refused(f"the client's certificate has {len(certificate)} bytes; {MAX_CERTIFICATE} are taken")
    try:
        return CertificateView.parse(certificate)
    except EncodingError as error:
        raise Refused(f"the client's certificate cannot be read: {error}") from error
