"""Where CRLs and CA certificates go: made when due, put into every target, tried again until all have them.

[MS-CSRA] 3.1.4.1.6. A CRL is in the database before it is anywhere else, so that whatever fails can be repeated. What
a target holds is replaced in one step; a reader sees the old file or the new one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import structlog

from certwright.adcs.errors import AdcsError, ConfigurationError, HResult, NotSupported
from certwright.adcs.events import AuditEvent
from certwright.adcs.interfaces import CrlKind, Delivery
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import CaCertificateRecord, CaDatabase, CaRecord, CrlRecord
from certwright.ca.issuance.signing import CaSigner
from certwright.ca.revocation.crl import CrlTiming, DeltaBase, certificates_by_key, make_crl
from certwright.ca.revocation.partitions import living

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

    @property
    def is_directory(self) -> bool:
        """Is it a server of Active Directory?"""

    def put(self, name: str, content: bytes) -> bool:
        """Replace the file `name` in one step; False when it is none that belongs there.

        Raises:
            OSError: it was not replaced.
        """


class FolderTarget:
    """A folder, served as /CertEnroll/ or copied from there."""

    is_directory = False

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Args:
        create: make it when it is missing; a folder of somebody else's that is missing is not mounted.
        """
        self._path = path
        self._create = create

    @property
    def description(self) -> str:
        return str(self._path)

    def put(self, name: str, content: bytes) -> bool:
        """Write beside, make durable, rename. A file that is the same already keeps its time.

        Raises:
            OSError: the folder cannot be written.
            ValueError: the name is no plain file name.
        """
        if not name or name in (".", "..") or any(character in name for character in "/\\\x00"):
            raise ValueError(f"{name!r} is no file name")
        if self._create:
            self._path.mkdir(parents=True, exist_ok=True)
        path = self._path / name
        if _holds(path, content):
            return True
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
        return True


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


@dataclass(frozen=True, slots=True)
class CrlScope:
    """What has CRLs of its own: a key of the CA, or one partition of what it issued.

    `certificate` is the newest of the key; partition 0 is everything.
    """

    certificate: CaCertificateRecord
    partition: int = 0

    @property
    def key_index(self) -> int:
        return self.certificate.key_index

    def latest(self, database: CaDatabase, *, delta: bool = False) -> CrlRecord | None:
        return database.latest_crl(self.key_index, delta=delta, partition=self.partition)


_FOR_EVER: Final = datetime.fromtimestamp(0, UTC)


def scopes_of(database: CaDatabase, now: datetime) -> Sequence[CrlScope]:
    """Everything of a CA that needs CRLs now: of each living key the list of everything, then its partitions."""
    record = database.ca()
    configuration = CaConfiguration.load(record.settings)
    size = configuration.crl_partition_size
    since = _FOR_EVER if configuration.crl_keeps_expired else now
    newest = max((each.index for each in record.certificates), default=0)
    found: list[CrlScope] = []
    for key_index, certificate in certificates_by_key(record, now).items():
        found.append(CrlScope(certificate))
        ahead = size if certificate.index == newest else None
        found += [CrlScope(certificate, partition) for partition in living(database, key_index, since, ahead)]
    return found


_NOT_PUBLISHED: Final = {
    (False, False): AuditEvent.BASE_CRL_NOT_PUBLISHED,
    (True, False): AuditEvent.DELTA_CRL_NOT_PUBLISHED,
    (False, True): AuditEvent.BASE_CRL_NOT_IN_DIRECTORY,
    (True, True): AuditEvent.DELTA_CRL_NOT_IN_DIRECTORY,
}
"""By whether it is a delta, and the target a directory."""


class _Attempt:
    """One attempt to bring everything to every target, and how it went."""

    def __init__(self, targets: Sequence[PublicationTarget], before: Sequence[Delivery], now: datetime) -> None:
        self._targets = targets
        self._before = {(each.target, each.file): each for each in before}
        self._now = now
        self._after: dict[tuple[str, str], Delivery] = {}
        self._failed: list[tuple[bool, Delivery]] = []

    def put(self, name: str, content: bytes, number: int | None = None, behind: Collection[str] = ()) -> list[str]:
        """Into every target; what went wrong, each with its place.

        Args:
            behind: targets that are passed over: there it stands as it stood.
        """
        failures = []
        for target in self._targets:
            if target.description in behind:
                self._leave(target.description, name)
                continue
            error = ""
            try:
                if not target.put(name, content):
                    continue
            except OSError as problem:
                error = problem.strerror or str(problem)
                failures.append(f"{target.description}/{name}: {error}")
            before = self._before.get((target.description, name))
            is_as_before = before is not None and (before.number, before.error) == (number, error)
            if before is None or not is_as_before or error:
                delivered_when = None if error else self._now
                after = Delivery(target.description, name, number, delivered_when, self._now, error)
            else:
                after = before
            self._after[after.target, name] = after
            if error and not is_as_before:
                self._failed.append((target.is_directory, after))
        return failures

    def _leave(self, target: str, name: str) -> None:
        before = self._before.get((target, name))
        if before is not None:
            self._after[target, name] = before

    def without(self, name: str) -> Set[str]:
        """The targets that did not take a file."""
        return {each.target for each in self._after.values() if each.file == name and each.error}

    def new_failures(self, name: str) -> Sequence[tuple[bool, Delivery]]:
        """What a target did not take that failed otherwise, or did not fail, the time before. Directories: True."""
        return [(in_directory, each) for in_directory, each in self._failed if each.file == name]

    def beside(self, latest: Sequence[Delivery]) -> Sequence[Delivery]:
        """How everything stands, with what another process brought there meanwhile."""
        found = dict(self._after)
        begun, targets = self._now.replace(microsecond=0), {target.description for target in self._targets}
        for each in latest:
            ours = found.get((each.target, each.file))
            is_theirs = ours is None and each.tried_when >= begun and each.target in targets
            if is_theirs or (ours is not None and (each.number or 0) > (ours.number or 0)):
                found[each.target, each.file] = each
        return tuple(found.values())


class _Due(NamedTuple):
    """What has to be made; no scopes for all of them."""

    kind: CrlKind
    scopes: tuple[CrlScope, ...] = ()


class CrlPublisher:
    """Makes the CRLs of a CA and brings them, and its certificates, to every target."""

    def __init__(self, targets: Sequence[PublicationTarget]) -> None:
        self._targets = tuple(targets)

    # -- when

    def is_due(self, authority: Authority, now: datetime) -> bool:
        """Must a CRL be made, or one that was made be put where it is missing?"""
        return self._due(authority, now) is not None or self._is_undelivered(authority, now)

    def publish_due(self, authority: Authority, actor: str, now: datetime) -> bool:
        """The worker's step; True when there was something to do. Errors as `publish`."""
        due = self._due(authority, now)
        if due is not None:
            self.publish(authority, actor, due.kind, due.scopes)
            return True
        if self._is_undelivered(authority, now):
            self.deliver(authority, actor)
            return True
        return False

    def _due(self, authority: Authority, now: datetime) -> _Due | None:
        """What has to be made now: bases and their deltas, deltas alone, or nothing.

        A partition that has just begun gets its lists alone; whatever else is due makes those of every key and
        partition anew, under one number.
        """
        database = authority.database
        scopes = scopes_of(database, now)
        bases = {scope: scope.latest(database) for scope in scopes}
        made = {scope: crl for scope, crl in bases.items() if crl is not None}
        missing = tuple(scope for scope in scopes if scope not in made)
        if any(crl.next_publish <= now for crl in made.values()) or any(not scope.partition for scope in missing):
            return _Due(CrlKind.BASE_AND_DELTA)
        deltas = [scope.latest(database, delta=True) for scope in made]
        if CaConfiguration.load(database.ca().settings).delta_crl_period is None:
            if any(crl is not None and _misses_its_shadow(crl, now) for crl in deltas):
                return _Due(CrlKind.BASE_AND_DELTA)
        elif any(crl is None or crl.next_publish <= now for crl in deltas):
            return _Due(CrlKind.DELTA) if not missing else _Due(CrlKind.BASE_AND_DELTA)
        return _Due(CrlKind.BASE_AND_DELTA, missing) if missing else None

    @staticmethod
    def _is_undelivered(authority: Authority, now: datetime) -> bool:
        made = (
            scope.latest(authority.database, delta=delta)
            for scope in scopes_of(authority.database, now)
            for delta in (False, True)
        )
        return any(crl is not None and crl.published_when is None for crl in made)

    # -- making

    def publish(
        self,
        authority: Authority,
        actor: str,
        kind: CrlKind = CrlKind.BASE_AND_DELTA,
        scopes: Sequence[CrlScope] = (),
    ) -> tuple[CrlRecord, ...]:
        """Make new CRLs for every key of the CA and its partitions, all with the same number, and deliver them.

        A base takes its delta with it where the CA makes them. A key that has no base gets one in any case. The CA's
        row is locked to take the number and to store the lists, not while they are made: the number is used up
        whatever happens then, so that no two lists ever have the same one.

        Args:
            scopes: only these; all of them by default.

        Raises:
            CaUnreachable: one of the CA's keys is offline; nothing was changed.
            ConfigurationError: the CA's `dns-name` is not set; nothing was changed.
            NotSupported: a delta alone is asked for, and the CA makes none.
            PublicationFailed: the CRLs are made, but a target did not take them.
        """
        now = authority.clock()
        record = authority.generations.current().record
        configuration = _configuration(record)
        if kind is CrlKind.DELTA and configuration.delta_crl_period is None:
            raise NotSupported(
                f"{authority.name} makes no delta CRLs; certwright ca set delta-crl-period='1 days' switches them on"
            )
        wanted = scopes or scopes_of(authority.database, now)
        signers = {
            certificate.key_index: authority.generations.signer_for(record, certificate)
            for certificate in certificates_by_key(record, now).values()
        }
        with authority.transaction() as transaction:
            number = transaction.next_crl_number()
            asked = "delta" if kind is CrlKind.DELTA else "base"
            authority.audit(transaction, AuditEvent.CRL_PUBLICATION_REQUESTED, now, actor, number=number, kind=asked)
        made = tuple(
            crl
            for scope in wanted
            for crl in _make(authority.database, configuration, scope, signers[scope.key_index], number, kind, now)
        )
        with authority.transaction() as transaction:
            for crl in made:
                transaction.add_crl(crl)
        log.info("crl_made", ca=authority.name, number=number, entries=sum(crl.entry_count for crl in made))
        self.deliver(authority, actor)
        return made

    # -- delivering

    def deliver(self, authority: Authority, actor: str) -> None:
        """Bring the newest CRLs of every key, and every certificate of the CA, to every target; all are tried.

        Where a base does not arrive its delta is held back: it would be of a base that nobody there has.

        Raises:
            PublicationFailed: a target did not take something; a CRL's row says so too.
        """
        now = authority.clock()
        record = authority.database.ca()
        configuration = _configuration(record)
        attempt = _Attempt(self._targets_of(configuration), authority.database.deliveries(), now)
        failures: list[str] = []
        for certificate in record.certificates:
            variables = configuration.url_variables(record, certificate)
            failures += attempt.put(variables.certificate_file, certificate.der)
            for (signer, holder), cross in zip(_cross_pairs(certificate.index), certificate.crosses, strict=False):
                failures += attempt.put(variables.cross_file(signer, holder), cross)
        for scope in scopes_of(authority.database, now):
            variables = configuration.url_variables(record, scope.certificate)
            variables = replace(variables, partition=scope.partition)
            refused = self._deliver_crl(authority, actor, now, scope, variables.crl_file, attempt)
            behind = attempt.without(variables.crl_file)
            delta_file = replace(variables, delta=True).crl_file
            failures += refused
            failures += self._deliver_crl(
                authority, actor, now, scope, delta_file, attempt, delta=True, behind=behind
            )
        authority.database.note_deliveries(attempt.beside(authority.database.deliveries()))
        authority.notify_exits()
        if failures:
            raise PublicationFailed(
                f"not everything of {authority.name} was published; it will be tried again: {'; '.join(failures)}"
            )

    def _targets_of(self, configuration: CaConfiguration) -> Sequence[PublicationTarget]:
        """Those of the installation, and the folders that the CA names besides."""
        folders = (FolderTarget(Path(folder), create=False) for folder in configuration.publication_folders)
        return (*self._targets, *folders)

    def _deliver_crl(
        self,
        authority: Authority,
        actor: str,
        now: datetime,
        scope: CrlScope,
        name: str,
        attempt: _Attempt,
        *,
        delta: bool = False,
        behind: Collection[str] = (),
    ) -> Sequence[str]:
        delivered: CrlRecord | None = None
        failures: Sequence[str] = ()
        # Another process may publish a newer list meanwhile: whoever writes last must have written the newest.
        while (crl := scope.latest(authority.database, delta=delta)) is not None and (
            delivered is None or crl.number > delivered.number
        ):
            failures = attempt.put(name, crl.der, crl.number, behind)
            delivered = crl
        if delivered is None:
            return ()
        mark = partial(
            authority.database.mark_crl_published,
            delivered.number,
            scope.key_index,
            delta=delta,
            partition=scope.partition,
        )
        if failures:
            error = "; ".join(failures)
            mark(when=None, error=error)
            log.error("crl_not_published", ca=authority.name, number=delivered.number, file=name, error=error)
            self._audit_failures(authority, actor, now, delivered, attempt.new_failures(name))
        elif delivered.published_when is None and not behind:
            mark(when=now, error="")
            self._audit_published(authority, actor, now, delivered, name)
        return failures

    @staticmethod
    def _audit_failures(
        authority: Authority, actor: str, now: datetime, crl: CrlRecord, failed: Sequence[tuple[bool, Delivery]]
    ) -> None:
        """Once for each list and target, however often it is tried: as Windows, with one number for directories."""
        if not failed:
            return
        with authority.transaction() as transaction:
            for in_directory, delivery in failed:
                authority.audit(
                    transaction,
                    _NOT_PUBLISHED[bool(crl.min_base), in_directory],
                    now,
                    actor,
                    number=crl.number,
                    key_index=crl.key_index,
                    **({"partition": crl.partition} if crl.partition else {}),
                    target=delivery.target,
                    file=delivery.file,
                    error=delivery.error,
                )

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
                **({"partition": crl.partition} if crl.partition else {}),
                kind="delta" if crl.min_base else "base",
                entries=crl.entry_count,
                next_publish=crl.next_publish.isoformat(),
                file=name,
            )
        log.info("crl_published", ca=authority.name, number=crl.number, file=name, entries=crl.entry_count)


def _make(
    database: CaDatabase,
    configuration: CaConfiguration,
    scope: CrlScope,
    signer: CaSigner,
    number: int,
    kind: CrlKind,
    now: datetime,
) -> Iterator[CrlRecord]:
    """The CRLs of one key, or of one of its partitions, in one run."""
    key_index, partition, not_before = scope.key_index, scope.partition, scope.certificate.not_before
    expired = configuration.crl_keeps_expired
    bases = list(database.unexpired_bases(key_index, now, partition))
    if kind & CrlKind.BASE or not bases:
        base = make_crl(
            signer,
            database.revoked_encoded(key_index=key_index, now=now, partition=partition, expired=expired),
            number,
            CrlTiming.of(now, configuration, not_before),
            partition=partition,
        )
        bases.append(base)
        yield base
    timing = CrlTiming.of(now, configuration, not_before, delta=True)
    if configuration.delta_crl_period is not None:
        on = DeltaBase.among(bases, now)
        changes = database.revoked_since(on.since, key_index=key_index, now=now, partition=partition, expired=expired)
        yield make_crl(signer, changes, number, timing, base_number=on.number, partition=partition)
        return
    last = scope.latest(database, delta=True)
    if last is not None and _misses_its_shadow(last, now):
        yield make_crl(signer, (), number, timing, base_number=number, partition=partition)


def _misses_its_shadow(delta: CrlRecord, now: datetime) -> bool:
    """Delta CRLs were switched off, and clients may still hold this one.

    A last one, empty and of the newest base, makes them fetch that base. [MS-CSRA] 3.1.4.1.6, CPF_SHADOW.
    """
    return delta.next_update > now and not (delta.min_base == delta.number and not delta.entry_count)


def _cross_pairs(index: int) -> Sequence[tuple[int, int]]:
    """(signer, holder) of a certificate's cross certificates, in the order in which they are kept."""
    return ((index - 1, index), (index, index - 1))


def _configuration(record: CaRecord) -> CaConfiguration:
    configuration = CaConfiguration.load(record.settings)
    if not configuration.dns_name:
        raise ConfigurationError(
            f"the CA {record.name} has no dns-name, which its published files are named by: set dns-name"
        )
    return configuration
