"""What a service shows of itself: its certificates now, and those to come after the CA got a new key. RFC 8894 4.7.

A CA of AD CS uses its new key at once, so GetCACert shows the new certificate at once too. GetNextCACert is for
devices that trust the certificate before and nothing else: for some weeks it hands them the new one, signed by the
last certificate of the registration authority that the CA's old key signed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.interfaces import CertRequest
from certwright.adcs.properties import CaProperty
from certwright.ndes.chains import Chain, Chains
from certwright.ndes.registration_authority import RaCertificates, RegistrationAuthority
from certwright.ndes.settings import NdesSettings
from certwright.pki.certificate import CertificateView
from certwright.pki.cms import certs_only
from certwright.wire import scep
from certwright.wire.scep import Credentials


class Shown:
    """The certificates of one service.

    Args:
        authority: the registration authority for a CA, by the setting `ca`.
        connect: the CA of the settings, for the address of a device.
    """

    def __init__(
        self,
        authority: Callable[[str], RegistrationAuthority],
        connect: Callable[[NdesSettings, str], CertRequest],
        chains: Chains,
        clock: Callable[[], datetime],
    ) -> None:
        self._authority = authority
        self._connect = connect
        self._chains = chains
        self._clock = clock

    def authority(self, settings: NdesSettings) -> RegistrationAuthority:
        return self._authority(settings.ca)

    def ca_certificate(self, settings: NdesSettings) -> bytes:
        return self._chains.now(self._connect(settings, ""), settings.ca).all[0]

    def bundle(self, settings: NdesSettings, peer: str) -> bytes:
        """Signing, encryption, CA: clients that take the first certificate for the RA's find it there.

        For the moment between the CA's renewal and its own, the certificate that its own are from is there too.
        """
        door, current = self._connect(settings, peer), self.authority(settings).current()
        chain = self._chains.now(door, settings.ca)
        own = (current.signing.certificate.der, current.encryption[0].certificate.der)
        return certs_only((*own, *chain.all, *_issuer(door, chain, current)))

    def has_next(self, settings: NdesSettings, peer: str) -> bool:
        door = self._connect(settings, peer)
        return self._trusted(settings, self._chains.now(door, settings.ca)) is not None

    def next_bundle(self, settings: NdesSettings, peer: str) -> bytes | None:
        """The answer to GetNextCACert, None where nothing is to come."""
        chain = self._chains.now(self._connect(settings, peer), settings.ca)
        signer = self._trusted(settings, chain)
        if signer is None:
            return None
        current = self.authority(settings).current()
        own: tuple[bytes, ...] = ()
        if _is_under(current.signing, chain):
            own = (current.signing.certificate.der, current.encryption[0].certificate.der)
        return scep.next_ca(certs_only((*own, *chain.all)), signer)

    def _trusted(self, settings: NdesSettings, chain: Chain) -> Credentials | None:
        """Who signs for devices that trust the CA's certificate before this one; None when there are none to be."""
        if self._clock() > chain.ca.not_before + timedelta(days=settings.rollover_days):
            return None
        current = self.authority(settings).current()
        if not _is_under(current.signing, chain):
            return current.signing
        return current.signing_before


def _is_under(credentials: Credentials, chain: Chain) -> bool:
    return credentials.certificate.authority_key_identifier == chain.key_identifier


def _issuer(door: CertRequest, chain: Chain, current: RaCertificates) -> tuple[bytes, ...]:
    """The CA's earlier certificate that ours are from; nothing where they are from the present one."""
    if _is_under(current.signing, chain):
        return ()
    wanted = current.signing.certificate.authority_key_identifier
    count = door.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE_COUNT)
    for index in reversed(range(count if isinstance(count, int) else 0)):
        try:
            found = door.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE, index)
        except InvalidArgument:
            continue
        if isinstance(found, bytes) and CertificateView.parse(found).subject_key_identifier == wanted:
            return (found,)
    return ()
