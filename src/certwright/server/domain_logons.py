"""How accounts of the domain log on at our listeners: keytab, winbind, put together from certwright.toml."""

from __future__ import annotations

from pathlib import Path

from certwright.auth.certificate_mapping import StrongMapping
from certwright.auth.domain import DomainLogons
from certwright.auth.tickets import Keytab
from certwright.auth.winbind import NtlmAuthPool, find_ntlm_auth
from certwright.ca.database import RequestState
from certwright.directory.active_directory.certificate_mappings import accounts_mapped
from certwright.pki.certificate import CertificateView
from certwright.server.composition import Installation
from certwright.server.home import Home


def domain_logons(installation: Installation) -> DomainLogons | None:
    """None with the embedded directory alone. To be called in the event loop, and closed there."""
    directory = installation.active_directory
    if directory is None:
        return None
    winbind = None
    program = find_ntlm_auth(installation.home.settings.authentication.ntlm_auth)
    if program is not None:
        winbind = NtlmAuthPool([str(program)], lambda: directory.domain.netbios_name)
    certificates = None
    if installation.home.settings.authentication.client_certificates:
        certificates = StrongMapping(
            installation.directory,
            lambda identities: accounts_mapped(directory, identities),
            OwnCertificates(installation),
            installation.clock,
        )
    return DomainLogons(
        tickets=http_keytab(installation.home),
        winbind=winbind,
        certificates=certificates,
        local_sid=installation.local_directory.domain.sid,
    )


class OwnCertificates:
    """Certificates that our own CAs issued, by their request tables: implements `certificate_mapping.Standing`.

    Other people's certificates prove nobody here, since nothing is known of their revocation.
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def why_not(self, certificate: CertificateView) -> str:
        for ca in self._installation.cas:
            record = ca.authority.database.request_by_serial(certificate.serial_number)
            if record is None or record.certificate is None or record.certificate.sha1 != certificate.sha1:
                continue
            return "" if record.state is RequestState.ISSUED else "is revoked"
        return "was not issued by a CA of this installation"


def trusted_for_clients(installation: Installation) -> tuple[bytes, ...]:
    """CA certificates (DER) that clients' certificates are verified with; none where they are not asked for one."""
    settings = installation.home.settings
    if not (settings.authentication.client_certificates and settings.directory.is_joined):
        return ()
    return own_ca_certificates(installation)


def own_ca_certificates(installation: Installation) -> tuple[bytes, ...]:
    """Every certificate (DER) of every CA of this installation."""
    return tuple(certificate.der for record in installation.records() for certificate in record.certificates)


def http_keytab(home: Home) -> Keytab | None:
    """The keytab that tickets for our web pages are opened with; None where no keytab is named at all."""
    path = http_keytab_path(home)
    if path is None:
        return None
    return Keytab(path, home.folder / "kerberos.replay", allow_rc4=home.settings.authentication.allow_rc4)


def http_keytab_path(home: Home) -> Path | None:
    """The keytab of [authentication], else the one of [directory]."""
    named = home.settings.authentication.keytab
    if named:
        return home.folder / named
    return home.domain.keytab if home.domain is not None else None
