"""The CAs of an installation from their first certificate to the next: what `init` and `certwright ca` do with them.

The rules are in `ca/` (`installation`, `request_files`, `renewal`); here they meet the home folder: what a new CA's
settings are, how its keys are called, and what follows when it has a certificate: its entry in the directory, its
CRLs, the listeners.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Final

from certwright.adcs.errors import AdcsError, ConfigurationError, InvalidArgument
from certwright.adcs.events import LifecycleEvent, LifecycleKind
from certwright.adcs.properties import CaType
from certwright.adcs.requester import Requester, Sid
from certwright.adcs.roles import CaAccess
from certwright.ca import installation as ca_installation
from certwright.ca import renewal as ca_renewal
from certwright.ca import request_files
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import CaCertificateRecord, CaRecord
from certwright.ca.own_certificates import newest_of, signer_of
from certwright.ca.periods import Period
from certwright.ca.revocation.crl import certificates_by_key
from certwright.ca.store import SqlCaDatabase, create_ca, list_cas
from certwright.directory.active_directory.administration import JoinedAdministration
from certwright.directory.well_known import Rid
from certwright.keystores.base import KeyAlgorithm
from certwright.pki import armor, names, oids
from certwright.pki.errors import EncodingError
from certwright.server.above import publish_certificates
from certwright.server.composition import Installation
from certwright.server.duties import enroll_listener_certificate

TYPES: Final = {
    "enterprise-subordinate": CaType.ENTERPRISE_SUBORDINATE,
    "standalone-subordinate": CaType.STANDALONE_SUBORDINATE,
    "standalone-root": CaType.STANDALONE_ROOT,
    "enterprise-root": CaType.ENTERPRISE_ROOT,
}
"""Kinds of CA by the words of the command line."""


def roles(domain_sid: Sid) -> str:
    """Who may do what on a new CA: administrators everything, each role has a group, and accounts may enroll.

    [MS-CSRA] 3.1.1.7; masks: `CaAccess`.
    """
    groups = (
        (CaAccess.ADMINISTRATOR, Rid.CA_ADMINISTRATORS),
        (CaAccess.OFFICER, Rid.CERTIFICATE_MANAGERS),
        (CaAccess.AUDITOR, Rid.CA_AUDITORS),
        (CaAccess.OPERATOR, Rid.CA_BACKUP_OPERATORS),
    )
    entries = "".join(f"(A;;{int(role):#x};;;{rid.in_domain(domain_sid)})" for role, rid in groups)
    return f"O:BAG:BAD:(A;;0xf;;;BA)(A;;0xf;;;DA)(A;;0xf;;;EA){entries}(A;;0x200;;;AU)"


def new_row(installation: Installation, name: str, ca_type: CaType, parent: str, base: str) -> SqlCaDatabase:
    """The row of a new CA, with the settings of one; what was begun and got no certificate is taken up again.

    Args:
        base: the distinguished name of the domain, `DC=corp,DC=example`.

    Raises:
        ConfigurationError: there is a CA of this name.
    """
    for record in list_cas(installation.database):
        if record.name == name and not record.certificates and record.ca_type is ca_type:
            return SqlCaDatabase(installation.database, installation.audit, record.ca_id)
    settings = installation.home.settings
    configuration = CaConfiguration.for_new_ca(
        ca_type,
        dns_name=settings.hostname,
        directory_dn=base,
        cdp_urls=f"{settings.http_url}/CertEnroll/%3%8%9.crl",
        aia_urls=f"{settings.http_url}/CertEnroll/%1_%3%4.crt",
        security_descriptor=roles(installation.directory.domain.sid),
    )
    with installation.database.transaction() as connection:
        ca_id = create_ca(connection, name, ca_type, parent, configuration.as_settings())
    return SqlCaDatabase(installation.database, installation.audit, ca_id)


def distinguished_name(installation: Installation) -> str:
    """`DC=corp,DC=example`: as the CAs that are there have it, else of the domain."""
    for record in installation.records():
        if found := CaConfiguration.load(record.settings).directory_dn:
            return found
    return ",".join(f"DC={label}" for label in installation.directory.domain.dns_name.split("."))


def subject(common_name: str, base: str) -> bytes:
    """A CA's Name, as AD CS makes it: the domain's components, then the common name.

    Raises:
        ConfigurationError: the name cannot be written.
    """
    try:
        components = names.attributes(names.parse_dn(base))
        return names.name_of(*((each.oid, each.value) for each in components), (oids.COMMON_NAME, common_name))
    except EncodingError as error:
        raise ConfigurationError(f"a CA cannot be called {common_name}: {error}") from error


def key_name(ca_name: str) -> str:
    """A name for a CA's new key that no other key has, also none of an attempt that was cut off."""
    stem = re.sub(r"[^a-z0-9]+", "-", ca_name.lower()).strip("-")[:60] or "ca"
    return f"{stem}-{secrets.token_hex(3)}"


# -- new CAs ---------------------------------------------------------------------------------------------------------


def create_root(
    installation: Installation, name: str, ca_type: CaType, algorithm: KeyAlgorithm, actor: Requester
) -> CaCertificateRecord:
    """A further root, self-signed. Errors as `install_root`."""
    base = distinguished_name(installation)
    new = ca_installation.root(key_name(name), algorithm, subject(name, base))
    database = new_row(installation, name, ca_type, "", base)
    return ca_installation.install_root(database, installation.key_store, new, actor, installation.clock())


def create_below(
    installation: Installation, name: str, ca_type: CaType, parent: str, algorithm: KeyAlgorithm, actor: Requester
) -> CaCertificateRecord:
    """A CA below one of this installation. Errors as `install_subordinate`."""
    above = _database(installation, parent)
    base = distinguished_name(installation)
    new = ca_installation.issuing(key_name(name), algorithm, subject(name, base))
    database = new_row(installation, name, ca_type, above.ca().name, base)
    if database.certificate_request() is not None:
        raise ConfigurationError(
            f"{name} waits for a certificate from elsewhere: certwright ca withdraw {name!r} gives that up"
        )
    return ca_installation.install_subordinate(
        above, database, installation.key_store, new, actor, installation.clock()
    )


def _database(installation: Installation, name: str) -> SqlCaDatabase:
    """The rows of a CA that has its certificate; those that this process serves it by."""
    database = installation.ca(name).authority.database
    assert isinstance(database, SqlCaDatabase)
    return database


def create_by_request(
    installation: Installation, name: str, ca_type: CaType, algorithm: KeyAlgorithm, actor: Requester
) -> bytes:
    """A CA that somebody else will sign: its request (PKCS#10, DER). Errors as `request_files.ask`."""
    base = distinguished_name(installation)
    new = ca_installation.issuing(key_name(name), algorithm, subject(name, base))
    database = new_row(installation, name, ca_type, "", base)
    return request_files.ask(database, installation.key_store, new, actor, installation.clock())


def waiting(installation: Installation, name: str = "") -> SqlCaDatabase:
    """The CA that waits for a certificate from elsewhere: the one named, or the only one.

    Raises:
        InvalidArgument: there is none, or there are several and none was named.
    """
    found: dict[str, SqlCaDatabase] = {}
    served = {ca.authority.name for ca in installation.cas}
    for record in list_cas(installation.database):
        if record.name in served:
            database = _database(installation, record.name)
        else:
            database = SqlCaDatabase(installation.database, installation.audit, record.ca_id)
        if database.certificate_request() is not None:
            found[record.name] = database
    chosen = [database for each, database in found.items() if not name or each.casefold() == name.casefold()]
    if len(chosen) == 1:
        return chosen[0]
    if not found:
        raise InvalidArgument("no CA waits for a certificate; certwright ca create, or ca renew, makes a request")
    raise InvalidArgument(f"name the CA with --ca; these wait for a certificate: {', '.join(sorted(found))}")


# -- certificates of others, and the next of our own -----------------------------------------------------------------


def sign(
    installation: Installation,
    name: str,
    request: bytes,
    validity: Period,
    path_length: int | None,
    actor: Requester,
) -> tuple[bytes, ...]:
    """Certify another CA by its request; its certificate and those above it. Errors as `request_files.sign`."""
    database = _database(installation, name)
    signer = signer_of(database, installation.key_store)
    asked = request_files.CaRequest.read(request)
    certificate = request_files.sign(database, signer, asked, validity, path_length, actor, installation.clock())
    return (certificate, *installation.chain(database.ca().name))


def install(
    installation: Installation, database: SqlCaDatabase, certificates: Sequence[bytes], actor: Requester
) -> CaCertificateRecord:
    """Install the answer to a request. Errors as `request_files.install`."""
    return request_files.install(database, installation.key_store, certificates, actor, installation.clock())


def renew(
    installation: Installation,
    name: str,
    algorithm: KeyAlgorithm | None,
    validity: Period | None,
    actor: Requester,
    *,
    by_request: bool = False,
) -> bytes | None:
    """Renew a CA's certificate; a request (PKCS#10, DER) where a CA elsewhere has to sign it.

    Args:
        algorithm: of a new key; None keeps the key.

    Raises:
        ConfigurationError, KeyUnavailable: as in `ca.renewal`.
    """
    database = _database(installation, name)
    record = database.ca()
    new_key = (key_name(record.name), algorithm) if algorithm is not None else None
    usual = ca_renewal.Renewal.usual(record, new_key)
    renewal = ca_renewal.Renewal(validity or usual.validity, new_key)
    keys, now = installation.key_store, installation.clock()
    if record.ca_type.is_root:
        ca_renewal.renew_root(database, keys, renewal, actor, now)
    elif by_request or newest_of(record).chain:
        return ca_renewal.ask_for_renewal(database, keys, renewal, actor, now)
    else:
        parent = _database(installation, record.parent)
        ca_renewal.renew_subordinate(parent, database, keys, renewal, actor, now)
    return None


# -- what follows ----------------------------------------------------------------------------------------------------


def follow(installation: Installation, name: str, actor: Requester) -> list[str]:
    """What a CA's new certificate brings with it.

    The entry under which clients find the CA, the files of /CertEnroll/, its CRLs, the listeners' certificate. What
    fails is told and tried again on the clock, or has a command of its own; the CA has its certificate either way.

    Returns:
        what people should know, sentence by sentence.
    """
    told: list[str] = []
    installation.look_for_cas()
    local = installation.ca(name)
    record = local.authority.database.ca()
    first = len(record.certificates) == 1
    _tell(installation, record, actor)
    if record.ca_type.is_enterprise:
        told += _offer(installation, record, actor, first=first)
    publish_certificates(installation, record)
    try:
        installation.publisher.publish(local.authority, actor.account)
    except AdcsError as error:
        told.append(f"its CRL could not be published yet: {error.message}")
    write_root_certificate(installation)
    if record.name == installation.records()[0].name and not record.ca_type.is_root:
        try:
            enroll_listener_certificate(installation)
        except AdcsError as error:
            told.append(f"the listeners' certificate was not renewed: {error.message}; run: certwright tls renew")
    return told


def _tell(installation: Installation, record: CaRecord, actor: Requester) -> None:
    """Notify of the newest certificate, once."""
    newest = newest_of(record)
    kind = LifecycleKind.CA_CERTIFICATE_RENEWED if newest.index else LifecycleKind.CA_INSTALLED
    facts: dict[str, str | int] = {
        "ca": record.name,
        "by": actor.account,
        "certificate": newest.index,
        "key": newest.key_index,
        "not_after": newest.not_after.isoformat(),
    }
    identity = f"ca/{record.name}/{newest.index}/certificate"
    installation.notifications.notify(LifecycleEvent(kind, record.name, installation.clock(), identity, facts))


def _offer(installation: Installation, record: CaRecord, actor: Requester, *, first: bool) -> list[str]:
    administration = installation.directory_administration
    if isinstance(administration, JoinedAdministration):
        return (
            []
            if not first
            else [f"let clients find it in the domain with: certwright domain publish {record.name!r}"]
        )
    host = CaConfiguration.load(record.settings).dns_name
    administration.set_enrollment_service(record.name, host, newest_of(record).der, actor=actor.account)
    if first:
        administration.publish_defaults(record.name, actor=actor.account)
    return []


def write_root_certificate(installation: Installation) -> None:
    """`root-ca.crt`, what clients are to trust: the root in which the chain of the issuing CA ends now.

    After it come that root's certificates of other keys while they are good, so that nothing fails while clients and
    listeners change over.
    """
    first, root = installation.chain()[-1], installation.top()
    others: dict[int, bytes] = {}
    if root is not None:
        key_index = next(each.key_index for each in root.certificates if each.der == first)
        good = certificates_by_key(root, installation.clock())
        others = {index: each.der for index, each in good.items() if index != key_index}
    path = installation.home.root_certificate
    draft = path.with_name(f".{path.name}")
    draft.write_text("".join(armor.armor(armor.CERTIFICATE, der) for der in (first, *others.values())))
    draft.chmod(0o644)
    draft.replace(path)
