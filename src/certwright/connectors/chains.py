"""The certificates above a CA's own, for services that name the CA alone.

From what the administrator pinned, and from the AIA locations of the certificates themselves where these are on the
service's own host: an address that a certificate names anywhere else is a stranger's, and is not asked. Every
certificate that is taken signed the one below it.
"""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import urlsplit

from certwright.connectors.reading import MAX_CHAIN
from certwright.connectors.trust import PinnedFile, SystemTrust, Trust
from certwright.pki import oids
from certwright.pki.armor import dearmor
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError, SignatureError
from certwright.pki.extensions import decode_authority_information_access
from certwright.pki.general_names import Uri

MAX_CERTIFICATE: Final = 64 * 1024
MAX_ASKED: Final = 4
TIMEOUT: Final = 5.0


def completed(certificate: CertificateView, trust: Trust, hostname: str) -> tuple[bytes, ...]:
    """The chain upward from a CA's certificate, as far as it is found."""
    chain = [certificate]
    while not chain[-1].is_self_issued and len(chain) < MAX_CHAIN:
        below = chain[-1]
        above = _above(below, _pinned(trust)) or _above(below, _located(below, hostname))
        if above is None or above in chain:
            break
        chain.append(above)
    return tuple(each.der for each in chain)


def ordered(leaf: CertificateView, others: Iterable[bytes]) -> tuple[bytes, ...]:
    """From a certificate upward through others that came with it; those that do not belong to it are left out."""
    known = []
    for each in others:
        try:
            known.append(CertificateView.parse(each))
        except EncodingError:
            continue
    chain = [leaf]
    while not chain[-1].is_self_issued and len(chain) < MAX_CHAIN:
        above = _above(chain[-1], known)
        if above is None or above in chain:
            break
        chain.append(above)
    return tuple(each.der for each in chain[1:])


def _above(below: CertificateView, candidates: Iterable[CertificateView]) -> CertificateView | None:
    for each in candidates:
        if each.subject != below.issuer:
            continue
        try:
            if not each.is_ca:
                continue
            below.verify_signed_by(each)
        except (SignatureError, EncodingError):
            continue
        return each
    return None


def _pinned(trust: Trust) -> Iterator[CertificateView]:
    match trust:
        case PinnedFile():
            texts = trust.certificates()
        case SystemTrust() if trust.also:
            texts = PinnedFile(trust.also).certificates()
        case _:
            texts = []
    for text in texts:
        try:
            yield CertificateView.parse(ssl.PEM_cert_to_DER_cert(text))
        except (EncodingError, ValueError):
            continue


def _located(below: CertificateView, hostname: str) -> Iterator[CertificateView]:
    """Plain HTTP is as good as any: a signature will tell."""
    own = [
        url
        for url in _issuers(below)
        if urlsplit(url).scheme == "http" and (urlsplit(url).hostname or "").casefold() == hostname.casefold()
    ]
    for url in own[:MAX_ASKED]:
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
            with opener.open(url, timeout=TIMEOUT) as answer:
                data = answer.read(MAX_CERTIFICATE + 1)
            yield CertificateView.parse(dearmor(data, MAX_CERTIFICATE))
        except (OSError, EncodingError, ValueError):
            continue


def _issuers(certificate: CertificateView) -> list[str]:
    found = certificate.extensions.get(oids.AUTHORITY_INFORMATION_ACCESS)
    try:
        access = decode_authority_information_access(found.value) if found is not None else ()
    except EncodingError:
        return []
    return [name.value for kind, name in access if kind == oids.ACCESS_CA_ISSUERS and isinstance(name, Uri)]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None
