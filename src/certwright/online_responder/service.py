"""Revocation configurations as administrators keep them: each change in one transaction with its audit event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.events import AuditEvent, CaEvent
from certwright.adcs.requester import Requester
from certwright.database import Connection, Database
from certwright.online_responder import store
from certwright.online_responder.configuration import RevocationConfiguration, SignedWith
from certwright.online_responder.sources import CaElsewhere, ListSources
from certwright.online_responder.store import StoredConfiguration, StoredList
from certwright.pki.certificate import CertificateView

Record = Callable[[Connection, CaEvent], None]


@dataclass(frozen=True, slots=True)
class ResponderStanding:
    """How the responder stands to one CA, for people."""

    ca: str
    enabled: bool
    url: str
    announced: tuple[str, ...]  # responders that certificates to come name
    configuration: RevocationConfiguration
    serial_number: str  # of the signing certificate; empty while there is none
    not_after: datetime | None
    renew_after: datetime | None  # None: by people
    sources: ListSources | None = None  # of a CA elsewhere
    lists: tuple[StoredList, ...] = ()  # what was copied: of each partition, the base first
    subject: str = ""  # of its certificate
    number: int = 0  # of a CA elsewhere

    def ends_first(self, *, is_delta: bool) -> StoredList | None:
        """The list of a kind that ends first; there are several where there are partitions."""
        ends = {
            kept.facts.next_update: kept
            for kept in reversed(self.lists)
            if kept.is_delta is is_delta and kept.facts is not None
        }
        return ends[min(ends)] if ends else None

    @property
    def is_elsewhere(self) -> bool:
        return self.sources is not None

    @property
    def texts(self) -> Mapping[str, str]:
        """Every setting that can be changed, by its key."""
        return {**(self.sources.texts if self.sources is not None else {}), **self.configuration.texts}


class WorryState(StrEnum):
    OK = "ok"
    WARNING = "warning"  # it ends soon, and nothing replaced it
    DOWN = "down"  # it has ended: who asks is told to try later


@dataclass(frozen=True, slots=True)
class Worry:
    """One thing that the answers for a CA depend on, and until when it carries them.

    `what` is one of the words below. `identity` is the same as long as it is the same worry, so that people are told
    once.
    """

    ca: str
    what: str
    state: WorryState
    until: datetime | None
    detail: str
    identity: str


BASE: Final = "base CRL"
DELTA: Final = "delta CRL"
SIGNER: Final = "signing certificate"


class ResponderAdministration(Protocol):
    """What administrators do with the responder. Everything but looking takes the role CA administrator: on the CA,
    or for CAs elsewhere on the issuing CA of this installation.

    Raises:
        AccessDenied: the operator is no CA administrator.
        InvalidArgument: there is no such CA, or no such setting or value.
    """

    def standing(self, ca: str) -> ResponderStanding: ...

    def elsewhere(self) -> Sequence[ResponderStanding]:
        """CAs whose CRLs are copied, by name."""

    def worries(self) -> Sequence[Worry]:
        """Everything that the answers depend on and that ends by itself, of what is enabled."""

    def enable(self, ca: str, operator: Requester, *, announce: bool = True) -> None:
        """Answer for a CA from now on. With `announce`, certificates to come name this responder, unless the CA's
        setting names one already. Raises `AdcsError` when no signing certificate was issued, or none was brought."""

    def disable(self, ca: str, operator: Requester) -> None: ...

    def change(self, ca: str, changes: Mapping[str, str], operator: Requester, *, at_host: bool = False) -> None:
        """Set settings, all or none.

        Args:
            at_host: the operator works at this host's command line, and may name its files.
        """

    def refresh(self, ca: str, operator: Requester, *, certificate: bool = False) -> None:
        """Make every answer anew, under a new signing certificate where that is wanted."""

    def add(
        self, name: str, certificate: bytes, sources: Mapping[str, str], operator: Requester, *, at_host: bool = False
    ) -> str:
        """Take a CA elsewhere in, disabled, and copy its CRLs; gives its name.

        Args:
            name: what it is called here; its common name where that is empty.
            certificate: the CA's, in DER, PEM or base64. That of a known CA, renewed with the same key, replaces it.
            sources: `SOURCE_SETTINGS`.
        """

    def remove(self, ca: str, operator: Requester) -> None:
        """Forget a CA elsewhere with its lists and its signing keys."""

    def copy(self, ca: str, operator: Requester) -> Sequence[str]:
        """Copy the CRLs of a CA elsewhere now; what went wrong, empty when nothing did."""

    def request_signer(self, ca: str, operator: Requester) -> bytes:
        """A request (PKCS#10, DER) for a signing certificate, which that CA has to issue. The key stays here."""

    def install_signer(self, ca: str, data: bytes, password: str, operator: Requester) -> None:
        """Take a signing certificate in: what was issued for `request_signer`, or a certificate with its key.

        Args:
            data: PKCS#12, or PEM with a certificate and maybe a key, or a certificate in DER.
        """


class RevocationConfigurations:
    """Who may change them is checked by whoever calls: it takes the role CA administrator on the CA."""

    def __init__(self, database: Database, record: Record, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._record = record
        self._clock = clock

    def all(self) -> Sequence[StoredConfiguration]:
        return store.configurations(self._database)

    def of(self, ca: str) -> StoredConfiguration:
        """That of one CA; the defaults, switched off, when nobody made one."""
        for stored in self.all():
            if stored.ca == ca:
                return stored
        return StoredConfiguration(ca, False, RevocationConfiguration.load(), 0)

    def switch(self, ca: str, enabled: bool, *, actor: str) -> None:
        """Begin or cease to answer for a CA."""
        before = self.of(ca)
        with self._database.transaction() as connection:
            store.put(connection, ca, enabled, before.configuration)
            self._audit(connection, ca, actor, {"change": "enabled" if enabled else "disabled"})

    def change(self, ca: str, changes: Mapping[str, str], *, actor: str) -> RevocationConfiguration:
        """Set settings.

        Raises:
            InvalidArgument: a key is not known, or its value cannot be.
        """
        before = self.of(ca)
        after = before.configuration.changed(changes)
        facts: dict[str, str] = {"change": "settings"}
        for key, text in after.texts.items():
            if text != before.configuration.texts[key]:
                facts[f"{key} (before)"], facts[f"{key} (after)"] = before.configuration.texts[key], text
        with self._database.transaction() as connection:
            store.put(connection, ca, before.enabled, after)
            self._audit(connection, ca, actor, facts)
        return after

    def renewed(self, ca: str, serial_number: str, *, actor: str) -> None:
        """There is a new signing certificate: every process makes its answers anew."""
        before = self.of(ca)
        with self._database.transaction() as connection:
            store.put(connection, ca, before.enabled, before.configuration)
            facts = {"serial_number": serial_number}
            self._record(
                connection, CaEvent(AuditEvent.RESPONDER_CERTIFICATE_UPDATED, self._clock(), ca, actor, facts)
            )

    def refresh(self, ca: str, *, actor: str) -> None:
        """Let every process drop its answers and make them anew."""
        before = self.of(ca)
        with self._database.transaction() as connection:
            store.put(connection, ca, before.enabled, before.configuration)
            self._audit(connection, ca, actor, {"change": "refreshed"})

    def noted(self, ca: str, facts: Mapping[str, str], *, actor: str) -> None:
        """Record something that changes no answer."""
        with self._database.transaction() as connection:
            self._audit(connection, ca, actor, facts)

    # -- CAs elsewhere -----------------------------------------------------------------------------------------

    def elsewhere(self) -> Sequence[CaElsewhere]:
        return store.elsewhere(self._database)

    def find_elsewhere(self, name: str) -> CaElsewhere | None:
        """One of them by its name, in any case."""
        wanted = name.casefold()
        return next((each for each in self.elsewhere() if each.name.casefold() == wanted), None)

    def add_elsewhere(self, name: str, certificate: CertificateView, sources: ListSources, *, actor: str) -> None:
        """Take one in, disabled; it is signed for with what an administrator brings.

        Raises:
            InvalidArgument: there is one of that name, or of that key.
        """
        for known in self.elsewhere():
            if known.name.casefold() == name.casefold():
                raise InvalidArgument(f"there is a CA called {name} already; name this key of it otherwise")
            if known.certificate.public_key_info == certificate.public_key_info:
                raise InvalidArgument(f"this key is answered for already, as {known.name}")
        answers = RevocationConfiguration.load({"signed-with": SignedWith.CHOSEN})
        with self._database.transaction() as connection:
            store.add_elsewhere(connection, name, certificate.der, sources)
            store.put(connection, name, False, answers)
            facts = {"change": "added", "certificate": certificate.serial_number, **sources.as_settings()}
            self._audit(connection, name, actor, facts)

    def change_elsewhere(
        self, ca: CaElsewhere, changes: Mapping[str, str], *, certificate: CertificateView | None = None, actor: str
    ) -> None:
        """Other sources, or the CA's certificate after it was renewed with the same key.

        Raises:
            InvalidArgument: a key is not known, or its value cannot be.
        """
        before = self.of(ca.name)
        sources = ca.sources.changed(changes)
        view = certificate or ca.certificate
        facts: dict[str, str] = {"change": "sources"}
        for key, text in sources.texts.items():
            if text != ca.sources.texts[key]:
                facts[f"{key} (before)"], facts[f"{key} (after)"] = ca.sources.texts[key], text
        if certificate is not None:
            facts["certificate"] = certificate.serial_number
        with self._database.transaction() as connection:
            store.change_elsewhere(connection, ca.ca_id, view.der, sources)
            store.forget_validators(connection, ca.ca_id)
            if not sources.delta_crl_urls:
                store.forget_delta(connection, ca.ca_id)
            store.put(connection, ca.name, before.enabled, before.configuration)
            self._audit(connection, ca.name, actor, facts)

    def remove_elsewhere(self, ca: CaElsewhere, *, actor: str) -> None:
        with self._database.transaction() as connection:
            store.remove_elsewhere(connection, ca.ca_id, ca.name)
            self._audit(connection, ca.name, actor, {"change": "removed"})

    def _audit(self, connection: Connection, ca: str, actor: str, facts: Mapping[str, str]) -> None:
        event = CaEvent(AuditEvent.REVOCATION_CONFIGURATION_CHANGED, self._clock(), ca, actor, dict(facts))
        self._record(connection, event)
