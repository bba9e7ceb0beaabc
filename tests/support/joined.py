"""What a test needs to put Certwright into the lab's domain: its settings, templates in the directory, a server."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import httpx2

from certwright.adcs.requester import Sid
from certwright.adcs.template import CertificateTemplate
from certwright.directory.active_directory.directory import ActiveDirectory
from certwright.directory.active_directory.ldap import LdapConnection, LdapPool
from certwright.directory.active_directory.locating import DomainController
from certwright.directory.active_directory.public_key_services import ENROLLMENT_SERVICES, TEMPLATES, container
from certwright.directory.active_directory.settings import DomainSettings
from certwright.directory.active_directory.templates import template_to_attributes
from certwright.directory.default_templates import default_templates, new_forest_arcs, published_by_default
from certwright.pki import armor
from certwright.server.directory_settings import ACTIVE_DIRECTORY, DirectorySettings
from certwright.server.home import CONFIGURATION, Home
from tests.support.lab import Lab
from tests.support.server import RunningServer, free_ports

READER: Final = "svc-enroll"
"""The account our directory reads with: an ordinary user."""


def settings_of(lab: Lab, **changes: Any) -> DomainSettings:
    """The lab's domain, read with a keytab."""
    settings = DomainSettings(
        realm=lab.realm,
        dns_domain=lab.dns_domain,
        account=READER,
        controllers=(lab.controller,),
        keytab=lab.keytab(READER),
        ca_file=lab.tls_ca,
    )
    return replace(settings, **changes)


@contextmanager
def directory_of(lab: Lab, **changes: Any) -> Iterator[ActiveDirectory]:
    settings = settings_of(lab, **changes)
    directory = ActiveDirectory(LdapPool(settings), settings)
    try:
        yield directory
    finally:
        directory.close()


@contextmanager
def administrator_of(lab: Lab) -> Iterator[LdapConnection]:
    """A connection as the domain's Administrator."""
    from certwright.directory.active_directory import bonsai_connection  # compiled: not everywhere

    settings = settings_of(lab)
    name = f"Administrator@{lab.dns_domain}"
    connection = bonsai_connection.bind(DomainController(lab.controller), settings, name, lab.administrator_password)
    try:
        yield connection
    finally:
        connection.close()


# -- what the forest holds -------------------------------------------------------------------------------------------


def services_dn(lab: Lab) -> str:
    return container(f"CN=Configuration,{lab.base_dn}")


def template_dn(lab: Lab, cn: str) -> str:
    return f"CN={cn},{TEMPLATES},{services_dn(lab)}"


def service_dn(lab: Lab, ca_name: str) -> str:
    return f"CN={ca_name},{ENROLLMENT_SERVICES},{services_dn(lab)}"


def add_template(
    connection: LdapConnection,
    lab: Lab,
    template: CertificateTemplate,
    domain_sid: Sid,
    more: Mapping[str, Sequence[bytes]] | None = None,
) -> None:
    """The object as Certificate Templates would make it; `more` attributes replace or, when empty, take away."""
    attributes: dict[str, Sequence[bytes]] = {
        "objectClass": (b"top", b"pKICertificateTemplate"),
        **template_to_attributes(template, domain_sid),
        **(more or {}),
    }
    connection.add(template_dn(lab, template.cn), {name: values for name, values in attributes.items() if values})


def install_default_templates(lab: Lab, domain_sid: Sid) -> Mapping[str, CertificateTemplate]:
    """The 33 of a new forest."""
    templates = default_templates(domain_sid, new_forest_arcs())
    with administrator_of(lab) as connection:
        for template in templates:
            add_template(connection, lab, template, domain_sid)
    return {template.cn: template for template in templates}


def publish_ca(
    lab: Lab, ca_name: str, host: str, certificate: bytes, templates: Iterable[str] = published_by_default()
) -> None:
    """The pKIEnrollmentService of a CA."""
    with administrator_of(lab) as connection:
        connection.add(
            service_dn(lab, ca_name),
            {
                "objectClass": (b"top", b"pKIEnrollmentService"),
                "displayName": (ca_name.encode(),),
                "dNSHostName": (host.encode(),),
                "cACertificate": (certificate,),
                "cACertificateDN": (f"CN={ca_name}".encode(),),
                "certificateTemplates": tuple(cn.encode() for cn in templates),
                "flags": (b"10",),
            },
        )


# -- a server --------------------------------------------------------------------------------------------------------


class JoinedServer(RunningServer):
    """A CA in the lab's domain, on this host's address there."""

    ca_name: str
    host: str

    @classmethod
    def prepare(
        cls, folder: Path, lab: Lab, netbios: str = "EMB", *, joined: bool = True, https_port: int = 0
    ) -> JoinedServer:
        """A new home with an embedded domain of its own name, then joined: section [directory] of its file."""
        free, http_port = free_ports(2)
        https_port = https_port or free
        server = cls(folder / "home", https_port, http_port)
        server.host, server.ca_name = lab.ca_host, f"{netbios} Issuing CA"
        server.cli(
            "init",
            *("--hostname", lab.ca_host, "--bind", lab.host_address, "--dns-domain", "emb.example"),
            *("--netbios", netbios, "--https-port", str(https_port), "--http-port", str(http_port)),
            *("--root-key", "ecdsa-p256", "--ca-key", "ecdsa-p256"),
        )
        if joined:
            join(server.home, lab)
        return server

    @property
    def certificate(self) -> bytes:
        """The issuing CA's."""
        return armor.dearmor(self.cli("ca", "certificate", self.ca_name))

    @property
    def https(self) -> str:
        return f"https://{self.host}:{self.https_port}"

    def client(self, account: str = "", password: str = "") -> httpx2.Client:
        """A client with Basic authentication that trusts our root."""
        auth = (account, password) if account else None
        context: ssl.SSLContext = self.tls_context()
        return httpx2.Client(base_url=self.https, verify=context, auth=auth, timeout=30.0, trust_env=False)


def join(home: Path, lab: Lab, **changes: Any) -> None:
    """Write section [directory] of a home."""
    opened = Home.open(home)
    directory = DirectorySettings(
        kind=ACTIVE_DIRECTORY,
        realm=lab.realm,
        dns_domain=lab.dns_domain,
        account=READER,
        keytab=str(lab.keytab(READER)),
        controllers=(lab.controller,),
        ca_file=str(lab.tls_ca),
    )
    settings = replace(opened.settings, directory=replace(directory, **changes), log_format="json")
    (home / CONFIGURATION).write_text(settings.to_toml())
