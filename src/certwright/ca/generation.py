"""One picture of a CA: its keys, certificates and settings at one version.

Decisions of one batch are all made on the same picture. `GenerationSource.current()` gives a new one when the
CA's row says that something changed, whichever process changed it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

from certwright.adcs.errors import CaUnreachable, ConfigurationError, HResult
from certwright.adcs.requester import Sid
from certwright.adcs.roles import CaAccess
from certwright.adcs.security import SecurityDescriptor
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import CaCertificateRecord, CaDatabase, CaRecord
from certwright.ca.issuance.signing import CaSigner
from certwright.ca.policy.base import PolicyModule
from certwright.ca.policy.enterprise import EnterprisePolicy
from certwright.ca.policy.standalone import StandalonePolicy
from certwright.ca.revocation.partitions import CrlPartitions
from certwright.keystores.base import KeyUnavailable, SigningKey

_MAX_KNOWN: Final = 1024
"""Callers (by their SIDs) whose access a generation remembers."""


@dataclass(frozen=True, slots=True)
class CaGeneration:
    """Immutable; `signer` holds the current CA certificate's loaded key."""

    record: CaRecord
    configuration: CaConfiguration
    policy: PolicyModule
    policy_settings: Mapping[str, object]
    security: SecurityDescriptor
    signer: CaSigner
    signer_not_before: datetime
    signer_not_after: datetime
    partitions: CrlPartitions
    _known_access: dict[frozenset[Sid], CaAccess] = field(default_factory=dict, repr=False, compare=False)

    def refuse_suspended(self) -> None:
        """Raises:
        CaUnreachable: the CA issues nothing for a while (CERTSRV_E_SERVER_SUSPENDED).
        """
        if self.configuration.suspended:
            raise CaUnreachable(
                f"The CA {self.record.name} is suspended and issues nothing at present; ask again later.",
                HResult.CERTSRV_E_SERVER_SUSPENDED,
            )

    def access(self, sids: frozenset[Sid]) -> CaAccess:
        """What a caller with these SIDs may do on this CA."""
        access = self._known_access.get(sids)
        if access is None:
            access = self.security.granted_ca_access(sids).implied
            if len(self._known_access) < _MAX_KNOWN:
                self._known_access[sids] = access
        return access


class GenerationSource:
    """Builds `CaGeneration`s and keeps the current one. Thread-safe.

    Args:
        database: the CA's rows.
        keys: opens the CA's key by name; a key that is offline makes `current` raise `CaUnreachable`.
        domain_sid: resolves domain-relative names in the CA's security descriptor.
    """

    def __init__(self, database: CaDatabase, open_key: Callable[[str], SigningKey], domain_sid: Sid) -> None:
        self._database = database
        self._open_key = open_key
        self._domain_sid = domain_sid
        self._lock = threading.Lock()
        self._current: CaGeneration | None = None
        self._keys: dict[str, SigningKey] = {}

    def current(self) -> CaGeneration:
        """The picture as of now.

        Raises:
            CaUnreachable: the CA has no certificate yet, or its key cannot be opened.
            ConfigurationError: a stored setting is wrong.
        """
        record = self._database.ca()
        generation = self._current
        if generation is not None and generation.record.version == record.version:
            return generation
        with self._lock:
            if self._current is None or self._current.record.version != record.version:
                self._current = self._build(record)
            return self._current

    def forget_keys(self) -> None:
        """Let go of every key that was opened; the next picture opens them anew."""
        with self._lock:
            self._current = None
            self._keys.clear()

    def signer_for(self, record: CaRecord, certificate: CaCertificateRecord) -> CaSigner:
        """A signer for one certificate of the CA, for CRLs of earlier keys too."""
        configuration = CaConfiguration.load(record.settings)
        return CaSigner(
            certificate.der,
            certificate.index,
            certificate.key_index,
            self._key(certificate.key_name),
            configuration.issuance_urls(record, certificate),
            partial(configuration.issuance_urls, record, certificate),
        )

    def parse_security(self, sddl: str) -> SecurityDescriptor:
        """A CA security descriptor. Raises `ConfigurationError` when it cannot be read."""
        try:
            return SecurityDescriptor.from_sddl(sddl, self._domain_sid)
        except ValueError as error:
            raise ConfigurationError(f"security-descriptor: {error}") from error

    def _key(self, name: str) -> SigningKey:
        if name not in self._keys:
            try:
                self._keys[name] = self._open_key(name)
            except KeyUnavailable as error:
                raise CaUnreachable(str(error), HResult.CERTSRV_E_SERVER_SUSPENDED) from error
        return self._keys[name]

    def _build(self, record: CaRecord) -> CaGeneration:
        if not record.certificates:
            raise CaUnreachable(
                f"the CA {record.name} has no certificate yet", HResult.CERTSRV_E_INVALID_CA_CERTIFICATE
            )
        self._keys.clear()  # one that was taken offline meanwhile must not sign from memory
        configuration = CaConfiguration.load(record.settings)
        newest = max(record.certificates, key=lambda certificate: certificate.index)
        policy: PolicyModule = EnterprisePolicy() if record.ca_type.is_enterprise else StandalonePolicy()
        return CaGeneration(
            record=record,
            configuration=configuration,
            policy=policy,
            policy_settings=configuration.policy_settings,
            security=self.parse_security(configuration.security_descriptor),
            signer=self.signer_for(record, newest),
            signer_not_before=newest.not_before,
            signer_not_after=newest.not_after,
            partitions=CrlPartitions(self._database, newest.key_index, configuration.crl_partition_size),
        )
