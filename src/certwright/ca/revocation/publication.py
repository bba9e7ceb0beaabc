"""Where CRLs and CA certificates go: made when due, put into every target, tried again until all have them.

[MS-CSRA] 3.1.4.1.6. A CRL is in the database before it is anywhere else, so that whatever fails can be repeated. What
a target holds is replaced in one step; a reader sees the old file or the new one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import structlog

from certwright.adcs.errors import AdcsError, ConfigurationError, HResult
from certwright.adcs.events import AuditEvent
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import CaRecord, CrlRecord
from certwright.ca.revocation.crl import CrlTiming, certificates_by_key, make_crl

if TYPE_CHECKING:
    from certwright.ca.authority import Authority

log = structlog.get_logger(__name__)


class PublicationFailed(AdcsError):
    """A CRL or CA certificate did not reach every target. It is kept, and published at the next attempt."""

    status = HResult.E_UNEXPECTED


class PublicationTarget(Protocol):
    """A place that relying parties read from."""

    @property
    def description(self) -> str:
        """What messages call it."""

    def put(self, name: str, content: bytes) -> None:
        """Replace the file `name` in one step.

        Raises:
            OSError: it was not replaced.
        """


class FolderTarget:
    """A folder, served as /CertEnroll/ or copied from there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def description(self) -> str:
        return str(self._path)

    def put(self, name: str, content: bytes) -> None:
        """Write beside, make durable, rename. A file that is the same already keeps its time.

        Raises:
            OSError: the folder cannot be written.
            ValueError: the name is no plain file name.
        """
        if not name or name in (".", "..") or any(character in name for character in "/\\\x00"):
            raise ValueError(f"{name!r} is no file name")
        self._path.mkdir(parents=True, exist_ok=True)
        path = self._path / name
        if _holds(path, content):
            return
        descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=self._path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)  # for whoever serves it
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(self._path)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where folders can be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except FileNotFoundError:
        return False


class CrlPublisher:
    """Makes the CRLs of a CA and brings them, and its certificates, to every target."""

    def __init__(self, targets: Sequence[PublicationTarget]) -> None:
        self._targets = tuple(targets)

    # -- when

    def is_due(self, authority: Authority, now: datetime) -> bool:
        """Must a CRL be made, or one that was made be put where it is missing?"""
        return self._must_make(authority, now) or self._is_undelivered(authority, now)

    def publish_due(self, authority: Authority, actor: str, now: datetime) -> bool:
        """The worker's step; True when there was something to do. Errors as `publish`."""
        if self._must_make(authority, now):
            self.publish(authority, actor)
            return True
        if self._is_undelivered(authority, now):
            self.deliver(authority, actor)
            return True
        return False

    @staticmethod
    def _latest(authority: Authority, now: datetime) -> list[CrlRecord | None]:
        record = authority.database.ca()
        return [authority.database.latest_crl(key_index) for key_index in certificates_by_key(record, now)]

    def _must_make(self, authority: Authority, now: datetime) -> bool:
        return any(crl is None or crl.next_publish <= now for crl in self._latest(authority, now))

    def _is_undelivered(self, authority: Authority, now: datetime) -> bool:
        return any(crl is not None and crl.published_when is None for crl in self._latest(authority, now))

    # -- making

    def publish(self, authority: Authority, actor: str) -> tuple[CrlRecord, ...]:
        """Make a new base CRL for every key of the CA, all with the same number, and deliver them.

        The CA's row is locked to take the number and to store the lists, not while they are made.

        Raises:
            CaUnreachable: one of the CA's keys is offline; nothing was changed.
            ConfigurationError: the CA's `dns-name` is not set; nothing was changed.
            PublicationFailed: the CRLs are made, but a target did not take them.
        """
        now = authority.clock()
        record = authority.generations.current().record
        configuration = _configuration(record)
        signers = [
            (certificate, authority.generations.signer_for(record, certificate))
            for certificate in certificates_by_key(record, now).values()
        ]
        with authority.transaction() as transaction:
            number = transaction.next_crl_number()
            authority.audit(transaction, AuditEvent.CRL_PUBLICATION_REQUESTED, now, actor, number=number, kind="base")
        made = tuple(
            make_crl(
                signer,
                authority.database.revoked(key_index=certificate.key_index, now=now),
                number,
                CrlTiming.of(now, configuration, certificate.not_before),
            )
            for certificate, signer in signers
        )
        with authority.transaction() as transaction:
            for crl in made:
                transaction.add_crl(crl)
        log.info("crl_made", ca=authority.name, number=number, entries=sum(crl.entry_count for crl in made))
        self.deliver(authority, actor)
        return made

    # -- delivering

    def deliver(self, authority: Authority, actor: str) -> None:
        """Bring the newest CRL of every key, and every certificate of the CA, to every target; all are tried.

        Raises:
            PublicationFailed: a target did not take something; a CRL's row says so too.
        """
        now = authority.clock()
        record = authority.database.ca()
        configuration = _configuration(record)
        failures: list[str] = []
        for certificate in record.certificates:
            name = configuration.url_variables(record, certificate).certificate_file
            failures += self._put(name, certificate.der)
        for key_index, certificate in certificates_by_key(record, now).items():
            name = configuration.url_variables(record, certificate).crl_file
            failures += self._deliver_crl(authority, actor, now, key_index, name)
        authority.notify_exits()
        if failures:
            raise PublicationFailed(
                f"not everything of {authority.name} was published; it will be tried again: {'; '.join(failures)}"
            )

    def _deliver_crl(
        self, authority: Authority, actor: str, now: datetime, key_index: int, name: str
    ) -> Sequence[str]:
        delivered: CrlRecord | None = None
        failures: Sequence[str] = ()
        # Another process may publish a newer list meanwhile: whoever writes last must have written the newest.
        while (crl := authority.database.latest_crl(key_index)) is not None and (
            delivered is None or crl.number > delivered.number
        ):
            failures = self._put(name, crl.der)
            delivered = crl
        if delivered is None:
            return ()
        if failures:
            error = "; ".join(failures)
            authority.database.mark_crl_published(delivered.number, key_index, when=None, error=error)
            log.error("crl_not_published", ca=authority.name, number=delivered.number, file=name, error=error)
        elif delivered.published_when is None:
            authority.database.mark_crl_published(delivered.number, key_index, when=now, error="")
            self._audit_published(authority, actor, now, delivered, name)
        return failures

    def _put(self, name: str, content: bytes) -> list[str]:
        failures = []
        for target in self._targets:
            try:
                target.put(name, content)
            except OSError as error:
                failures.append(f"{target.description}/{name}: {error.strerror or error}")
        return failures

    @staticmethod
    def _audit_published(authority: Authority, actor: str, now: datetime, crl: CrlRecord, name: str) -> None:
        with authority.transaction() as transaction:
            authority.audit(
                transaction,
                AuditEvent.CRL_PUBLISHED,
                now,
                actor,
                number=crl.number,
                key_index=crl.key_index,
                entries=crl.entry_count,
                next_publish=crl.next_publish.isoformat(),
                file=name,
            )
        log.info("crl_published", ca=authority.name, number=crl.number, file=name, entries=crl.entry_count)


def _configuration(record: CaRecord) -> CaConfiguration:
    configuration = CaConfiguration.load(record.settings)
    if not configuration.dns_name:
        raise ConfigurationError(
            f"the CA {record.name} has no dns-name, which its published files are named by: set dns-name"
        )
    return configuration
