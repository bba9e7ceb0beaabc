"""The Online Responder over one installation: our CAs and those elsewhere, signers, the thread that keeps up.

What changes - a revocation, a setting, a signing certificate - is seen by every process that serves within `TICK`
seconds, whichever process changed it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Final

import structlog
from cryptography.hazmat.primitives.asymmetric import ec

from certwright.adcs.errors import AdcsError, ConfigurationError
from certwright.ca.database import CaCertificateRecord, CaRecord
from certwright.ca.statuses import CertificateStatuses
from certwright.database import DatabaseError
from certwright.keystores.base import KeyStoreError
from certwright.online_responder.configuration import SignedWith
from certwright.online_responder.copied import CopiedListsProvider
from certwright.online_responder.responder import Issuer, Responder
from certwright.online_responder.revocation import GOOD, CertificateStatus, ProviderUnavailable
from certwright.online_responder.signing import SigningCertificate
from certwright.online_responder.sources import CaElsewhere
from certwright.online_responder.store import StoredConfiguration
from certwright.pki.certificate import CertificateView, serial_hex
from certwright.pki.ocsp import ResponseSigner
from certwright.pki.signatures import Signer
from certwright.server.composition import Installation
from certwright.server.responder_lists import signer_place

log = structlog.get_logger(__name__)

TICK: Final = 0.2
"""Seconds between looks at what changed."""
LOOK_AT_SIGNERS: Final = 25
"""Ticks after which the answers' signers are looked up anew, besides whenever a configuration changed."""
MADE_IN_A_TICK: Final = 400
"""Answers made ahead in one tick; with a P-256 key they take a tenth of a tick."""


class CaProvider:
    """The database of one of our CAs as a `RevocationProvider`."""

    def __init__(self, installation: Installation, record: CaRecord) -> None:
        self.ca = record.name
        self._statuses = CertificateStatuses(installation.database, installation.audit, record.ca_id, record.name)

    def status(self, serial: int, key_index: int, now: datetime) -> CertificateStatus | None:
        if serial <= 0:
            return None
        try:
            found = self._statuses.find(serial_hex(serial))
        except DatabaseError as error:
            raise ProviderUnavailable(str(error)) from error
        if found is None or found.key_index != key_index:
            return None
        if found.revoked is None:
            return GOOD
        if found.revoked > now:
            return CertificateStatus(until=found.revoked)
        return CertificateStatus(found.revoked, found.reason)

    def changes(self) -> Collection[int]:
        try:
            return [int(serial, 16) for serial in self._statuses.changes()]
        except DatabaseError as error:
            raise ProviderUnavailable(str(error)) from error

    def newest(self, limit: int, now: datetime) -> Iterator[tuple[int, int]]:
        try:
            for serial, key_index in self._statuses.newest(limit, now):
                yield int(serial, 16), key_index
        except DatabaseError as error:
            raise ProviderUnavailable(str(error)) from error


class OnlineResponder:
    """The responder of this process and the thread that keeps it up to date."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self.responder = Responder(installation.clock)
        self._providers: dict[str, CaProvider] = {}
        self._copied: dict[str, tuple[CaElsewhere, CopiedListsProvider]] = {}
        self._seen: object = None
        self._unsigned: dict[tuple[str, int], str] = {}
        self._ticks = 0
        self._ahead: Iterator[tuple[Issuer, int]] = iter(())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="online responder", daemon=True)
        self._failing = ""

    def start(self) -> None:
        """Answer from now on."""
        self.tick()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10.0)

    def _run(self) -> None:
        while not self._stop.wait(TICK):
            self.tick()

    def tick(self) -> None:
        """One look at everything. A fault is logged once and looked at again in the next tick."""
        try:
            self._configure()
            self.responder.follow()
            if self.responder.refresh(MADE_IN_A_TICK) < MADE_IN_A_TICK:
                self._produce_ahead()
        except (AdcsError, DatabaseError, ProviderUnavailable) as error:
            if str(error) != self._failing:
                log.error("online_responder_failing", error=str(error))
            self._failing = str(error)
        except Exception:  # the thread must outlive what nobody thought of
            log.exception("online_responder_failed")
            self._stop.wait(1.0)
        else:
            self._failing = ""

    # -- for whom ----------------------------------------------------------------------------------------------

    def _configure(self) -> None:
        """Look for other configurations, CA certificates and signers."""
        stored = {each.ca: each for each in self._installation.revocation_configurations.all() if each.enabled}
        records = self._records() if stored else {}
        seen = [
            (name, each.version, records[name].version if name in records else 0) for name, each in stored.items()
        ]
        self._ticks += 1
        if seen == self._seen and self._ticks % LOOK_AT_SIGNERS:
            return
        elsewhere = self._elsewhere() if stored.keys() - records.keys() else {}
        issuers: list[Issuer] = []
        for name, configuration in stored.items():
            if name in records:
                issuers += self._issuers(records[name], configuration)
            elif name in elsewhere:
                issuers.append(self._issuer_elsewhere(elsewhere[name], configuration))
        self.responder.serve(issuers)
        if seen != self._seen:
            self._seen = seen
            self._ahead = self._all_ahead()
            for issuer in issuers:
                log.info("online_responder_serves", ca=issuer.ca, key_index=issuer.key_index)

    def _records(self) -> Mapping[str, CaRecord]:
        return {record.name: record for record in self._installation.records()}

    def _elsewhere(self) -> Mapping[str, CaElsewhere]:
        return {ca.name: ca for ca in self._installation.revocation_configurations.elsewhere()}

    def _issuer_elsewhere(self, ca: CaElsewhere, stored: StoredConfiguration) -> Issuer:
        """One key of a CA elsewhere, known from its CRLs."""
        known = self._copied.get(ca.name)
        if known is None or known[0] != ca:
            known = self._copied[ca.name] = (ca, CopiedListsProvider(self._installation.database, ca))
            known[1].changes()
        signer, until = self._or_none(ca.name, 0, lambda: self._brought(ca.signer_place, ca.certificate, stored))
        return Issuer(
            ca.name,
            0,
            ca.certificate,
            stored.configuration,
            stored.version,
            known[1],
            signer,
            until,
            _is_quick(signer),
        )

    def _issuers(self, record: CaRecord, stored: StoredConfiguration) -> Iterator[Issuer]:
        """One for each key of the CA, with its newest certificate."""
        provider = self._providers.get(record.name)
        if provider is None:
            provider = self._providers[record.name] = CaProvider(self._installation, record)
            provider.changes()  # from here on it listens
        newest = {each.key_index: each for each in sorted(record.certificates, key=lambda each: each.index)}
        for key_index, certificate in newest.items():
            view = CertificateView.parse(certificate.der)
            signer, until = self._or_none(
                record.name,
                key_index,
                partial(self._signer, record, certificate, view, stored),
            )
            quick = _is_quick(signer)
            yield Issuer(
                record.name, key_index, view, stored.configuration, stored.version, provider, signer, until, quick
            )

    def _or_none(
        self, ca: str, key_index: int, look_up: Callable[[], tuple[ResponseSigner, datetime]]
    ) -> tuple[ResponseSigner | None, datetime]:
        """None when there is no signer now, which is logged once."""
        key = (ca, key_index)
        try:
            found = look_up()
        except (AdcsError, KeyStoreError) as error:
            if self._unsigned.get(key) != str(error):
                self._unsigned[key] = str(error)
                log.error("online_responder_cannot_sign", ca=ca, key_index=key_index, error=str(error))
            return None, self._installation.clock()
        if self._unsigned.pop(key, None):
            log.info("online_responder_signs_again", ca=ca, key_index=key_index)
        return found

    def _signer(
        self, record: CaRecord, certificate: CaCertificateRecord, view: CertificateView, stored: StoredConfiguration
    ) -> tuple[ResponseSigner, datetime]:
        """A signing certificate that this key of the CA issued, else the key itself where it is here.

        A signer of the newest key is no signer for what an older one signed: clients want the same key. So what
        was there before a renewal with a new key signs nothing any more, and until the new key has a signer of its
        own, it signs itself. [MS-OCSP] 3.1.5
        """
        is_newest = certificate.key_index == max(each.key_index for each in record.certificates)
        place = signer_place(record.ca_id, stored)
        if place and is_newest and not self._is_of_before(place, view):
            return self._brought(place, view, stored)
        key = self._installation.key_store.open(certificate.key_name)
        by_name = stored.configuration.responder_id == "name"
        signer = ResponseSigner.of(Signer.of(key.private_key), view, by_name=by_name, send=False)
        return signer, certificate.not_after

    def _is_of_before(self, place: str, ca: CertificateView) -> bool:
        """Is the signer that is there one of an older key of the CA?"""
        current = self._installation.signing_certificates.current(place)
        return current is not None and not _issued_by(current, ca)

    def _brought(
        self, place: str, ca: CertificateView, stored: StoredConfiguration
    ) -> tuple[ResponseSigner, datetime]:
        """What signs with the certificate of a place.

        Raises:
            ConfigurationError: there is none that is valid and of this CA.
        """
        certificates = self._installation.signing_certificates
        current = certificates.current(place)
        if current is None or current.view.not_after <= self._installation.clock() or not _issued_by(current, ca):
            raise ConfigurationError(
                "there is no valid signing certificate; run: certwright responder"
                + (" refresh" if stored.configuration.signed_with is SignedWith.CERTIFICATE else " install")
            )
        by_name = stored.configuration.responder_id == "name"
        return certificates.signer(current, ca, by_name=by_name), current.view.not_after

    # -- ahead of the questions --------------------------------------------------------------------------------

    def _all_ahead(self) -> Iterator[tuple[Issuer, int]]:
        by_key = {issuer.key: issuer for issuer in self.responder.issuers}
        for provider in {id(issuer.provider): issuer.provider for issuer in by_key.values()}.values():
            limit = max(each.configuration.pre_produce for each in by_key.values() if each.ca == provider.ca)
            if limit:
                for serial, key_index in provider.newest(limit, self._installation.clock()):
                    if (provider.ca, key_index) in by_key:
                        yield by_key[provider.ca, key_index], serial

    def _produce_ahead(self) -> None:
        for _ in range(MADE_IN_A_TICK):
            following = next(self._ahead, None)
            if following is None:
                return
            issuer, serial = following
            self.responder.produce(issuer, (serial,))


def _is_quick(signer: ResponseSigner | None) -> bool:
    return signer is not None and isinstance(signer.signer.private_key, ec.EllipticCurvePrivateKey)


def _issued_by(signer: SigningCertificate, ca: CertificateView) -> bool:
    """By this key of the CA; or it is the CA's own."""
    if signer.view.public_key_info == ca.public_key_info:
        return True
    named = signer.view.authority_key_identifier
    if named is not None and ca.subject_key_identifier is not None:
        return named == ca.subject_key_identifier
    return signer.view.issuer == ca.subject
