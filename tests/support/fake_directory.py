"""A directory in memory: the same interface as the real ones, changeable from a test."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from certwright.adcs.requester import AUTHENTICATED_USERS, EVERYONE, AuthMethod, Requester, Sid
from certwright.adcs.template import (
    CertificateTemplate,
    EnrollmentFlag,
    GeneralFlag,
    NameFlag,
    PrivateKeyFlag,
)
from certwright.directory.base import Domain, EnrollmentService, Principal, PrincipalKind

DOMAIN_SID = Sid("S-1-5-21-1004336348-1177238915-682003330")
DOMAIN = Domain("corp.example", "CORP", DOMAIN_SID, "DC=corp,DC=example")
DOMAIN_USERS = Sid(f"{DOMAIN_SID}-513")
DOMAIN_COMPUTERS = Sid(f"{DOMAIN_SID}-515")
WEB_ADMINS = Sid(f"{DOMAIN_SID}-1201")

ENROLL = "0e10c968-78fb-11d2-90d4-00c04f79dc55"


def enroll_sddl(*trustees: str) -> str:
    """A security descriptor that lets these SIDs (or SDDL names) enroll."""
    return "D:" + "".join(f"(OA;;CR;{ENROLL};;{trustee})" for trustee in trustees)


def make_template(cn: str = "WebServer", **changes: Any) -> CertificateTemplate:
    """A plain schema 2 template for TLS servers, subject from the directory; change what the test is about."""
    values: dict[str, Any] = {
        "cn": cn,
        "display_name": cn,
        "oid": f"1.3.6.1.4.1.311.21.8.1.2.3.4.5.6.{sum(cn.encode())}.{len(cn)}",
        "schema_version": 2,
        "major_version": 100,
        "minor_version": 2,
        "flags": GeneralFlag(0),
        "enrollment_flag": EnrollmentFlag(0),
        "private_key_flag": PrivateKeyFlag(0),
        "name_flag": NameFlag(0),
        "validity_period": timedelta(days=365),
        "renewal_period": timedelta(days=42),
        "key_usage": b"\xa0\x00",
        "extended_key_usage": ("1.3.6.1.5.5.7.3.1",),
        "application_policies": ("1.3.6.1.5.5.7.3.1",),
        "issuance_policies": (),
        "critical_extensions": ("2.5.29.15",),
        "minimal_key_size": 2048,
        "max_issuing_depth": 0,
        "default_key_spec": 1,
        "default_csps": (),
        "ra_signatures": 0,
        "ra_application_policies": (),
        "ra_policies": (),
        "superseded_templates": (),
        "security_descriptor": enroll_sddl(AUTHENTICATED_USERS),
    }
    values.update(changes)
    return CertificateTemplate(**values)


def make_user(account: str = "alice", rid: int = 1101, **changes: Any) -> Principal:
    values: dict[str, Any] = {
        "sid": Sid(f"{DOMAIN_SID}-{rid}"),
        "kind": PrincipalKind.USER,
        "account": f"CORP\\{account}",
        "common_name": account.capitalize(),
        "distinguished_name": f"CN={account.capitalize()},OU=Staff,DC=corp,DC=example",
        "guid": uuid.uuid5(uuid.NAMESPACE_DNS, account).bytes_le,
        "enabled": True,
        "groups": frozenset({EVERYONE, AUTHENTICATED_USERS, DOMAIN_USERS}),
        "upn": f"{account}@corp.example",
        "mail": f"{account}@corp.example",
    }
    values.update(changes)
    return Principal(**values)


def make_computer(account: str = "WEB1$", rid: int = 1150, **changes: Any) -> Principal:
    host = account.rstrip("$")
    values: dict[str, Any] = {
        "sid": Sid(f"{DOMAIN_SID}-{rid}"),
        "kind": PrincipalKind.COMPUTER,
        "account": f"CORP\\{account}",
        "common_name": host,
        "distinguished_name": f"CN={host},CN=Computers,DC=corp,DC=example",
        "guid": uuid.uuid5(uuid.NAMESPACE_DNS, account).bytes_le,
        "enabled": True,
        "groups": frozenset({EVERYONE, AUTHENTICATED_USERS, DOMAIN_COMPUTERS}),
        "dns_host_name": f"{host.lower()}.corp.example",
    }
    values.update(changes)
    return Principal(**values)


def requester_for(principal: Principal, method: AuthMethod = AuthMethod.NTLM) -> Requester:
    """The caller that an authenticated connection of this account has."""
    return Requester(principal.account, principal.sid, principal.groups, method, origin="127.0.0.1")


class FakeDirectory:
    """Implements `directory.base.Directory`."""

    def __init__(
        self,
        principals: Iterable[Principal] = (),
        templates: Iterable[CertificateTemplate] = (),
        *,
        domain: Domain = DOMAIN,
    ) -> None:
        self._domain = domain
        self._principals = {principal.sid: principal for principal in principals}
        self._templates = {template.cn: template for template in templates}
        self._services: dict[str, EnrollmentService] = {}

    @property
    def domain(self) -> Domain:
        return self._domain

    def principal(self, name_or_sid: str) -> Principal | None:
        found = self._principals.get(Sid(name_or_sid))
        if found is not None:
            return found
        wanted = name_or_sid.lower()
        return next(
            (
                principal
                for principal in self._principals.values()
                if wanted in (principal.account.lower(), principal.account.lower().split("\\")[-1])
                or (principal.upn and wanted == principal.upn.lower())
            ),
            None,
        )

    def templates(self) -> Mapping[str, CertificateTemplate]:
        return MappingProxyType(dict(self._templates))

    def enrollment_service(self, ca_name: str) -> EnrollmentService | None:
        return self._services.get(ca_name)

    def sid_names(self, sids: frozenset[Sid]) -> Mapping[Sid, str]:
        known = {EVERYONE: "Everyone", AUTHENTICATED_USERS: r"NT AUTHORITY\Authenticated Users"}
        known |= {sid: principal.account for sid, principal in self._principals.items()}
        return {sid: known[sid] for sid in sids if sid in known}

    # -- what a test may change ------------------------------------------------------------------------------------

    def put(self, *things: Principal | CertificateTemplate) -> None:
        """Add or replace accounts and templates."""
        for thing in things:
            if isinstance(thing, Principal):
                self._principals[thing.sid] = thing
            else:
                self._templates[thing.cn] = thing

    def publish(
        self,
        ca_name: str,
        *templates: str,
        host: str = "ca.corp.example",
        certificate: bytes = b"",
        site: str = "",
    ) -> None:
        """Say what a CA publishes; no names given means every template."""
        published = tuple(templates or self._templates)
        self._services[ca_name] = EnrollmentService(ca_name, host, certificate, published, site)

    def disable(self, sid: Sid) -> None:
        self._principals[sid] = replace(self._principals[sid], enabled=False)
