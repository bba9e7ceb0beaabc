"""An Active Directory with a CA of AD CS, in memory: what an LDAP client sees of it, changeable from a test.

The objects have the classes, attributes and permissions of a new forest with one enterprise CA (AD CS, default
settings): templates as [MS-CRTD] Appendix A lists them, lists of permissions as its installation leaves them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from certwright.adcs.acl import sid_to_bytes
from certwright.adcs.requester import Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate
from certwright.directory.active_directory.ldap import Attributes, Entry, Scope
from certwright.directory.active_directory.locating import DomainController
from certwright.directory.active_directory.templates import template_to_attributes
from certwright.directory.default_templates import default_templates, published_by_default
from tests.support.fake_directory import DOMAIN, DOMAIN_SID

BASE: Final = DOMAIN.distinguished_name
CONFIGURATION: Final = f"CN=Configuration,{BASE}"
PKI: Final = f"CN=Public Key Services,CN=Services,{CONFIGURATION}"
TEMPLATES: Final = f"CN=Certificate Templates,{PKI}"
CA: Final = "CORP-CA1-CA"
CA_HOST: Final = "ca1.corp.example"

_ADMINISTRATORS: Final = "O:EAG:EAD:AI(A;;GA;;;SY)(A;CIID;GA;;;EA)(A;CIID;GA;;;DA)(A;;LCRPLORC;;;AU)"
_IN_CHAIN: Final = "1.2.840.113556.1.4.1941"
_CONTAINERS: Final = (
    "AIA",
    "CDP",
    "Certificate Templates",
    "Certification Authorities",
    "Enrollment Services",
    "KRA",
)


def rid(number: int) -> Sid:
    return Sid(f"{DOMAIN_SID}-{number}")


ALICE: Final = rid(1601)
HELPDESK: Final = rid(1602)
PKI_TEAM: Final = rid(1603)
CA_COMPUTER: Final = rid(1604)
BOSS: Final = rid(1605)  # an administrator


class FakeForest:
    """Implements `directory.active_directory.ldap.LdapConnection`, as far as reading goes."""

    def __init__(self) -> None:
        self.entries: dict[str, dict[str, tuple[bytes, ...]]] = {}
        self.templates = {template.cn: template for template in default_templates(DOMAIN_SID, "8421.1.2.3.4.5")}
        self._people()
        self._public_key_services()

    # -- what a test changes -------------------------------------------------------------------------------------

    def add(self, dn: str, classes: Sequence[str], **attributes: Any) -> str:
        """An object; see `set` for its attributes."""
        self.entries[dn] = {
            "objectClass": tuple(name.encode() for name in ("top", *classes)),
            "cn": (re.sub(r"^CN=([^,]*),.*", r"\1", dn).encode(),),
        }
        self.set(dn, **attributes)
        return dn

    def set(self, dn: str, **attributes: Any) -> None:
        """Attributes of an object; `sddl` and `sid` are written as a directory has them, `_` in a name is a dash."""
        for name, value in attributes.items():
            if name == "sddl":
                octets = SecurityDescriptor.from_sddl(value, DOMAIN_SID).to_bytes()
                self.entries[dn]["nTSecurityDescriptor"] = (octets,)
            elif name == "sid":
                self.entries[dn]["objectSid"] = (sid_to_bytes(value),)
            else:
                values = [value] if isinstance(value, str) else value
                self.entries[dn][name.replace("_", "-")] = tuple(each.encode() for each in values)

    def put_template(self, template: CertificateTemplate, *, published: bool = True) -> str:
        dn = f"CN={template.cn},{TEMPLATES}"
        self.entries[dn] = dict(template_to_attributes(template, DOMAIN_SID)) | {
            "objectClass": (b"top", b"pKICertificateTemplate"),
            "cn": (template.cn.encode(),),
        }
        if published:
            service = self.entries[self.service]
            service["certificateTemplates"] = (*service["certificateTemplates"], template.cn.encode())
        return dn

    def change_template(self, cn: str, **changes: Any) -> str:
        """Change a default template, and publish it."""
        return self.put_template(replace(self.templates[cn], **changes))

    def allow(self, dn: str, ace: str) -> None:
        """One more entry, before those there are."""
        before = SecurityDescriptor.from_bytes(self.entries[dn]["nTSecurityDescriptor"][0]).to_sddl()
        self.set(dn, sddl=re.sub(r"D:([A-Z]*)\(", rf"D:\1{ace}(", before, count=1))

    def join(self, group: str, *members: str) -> None:
        self.entries[group]["member"] = (*self.entries[group].get("member", ()), *(dn.encode() for dn in members))

    @property
    def service(self) -> str:
        return f"CN={CA},CN=Enrollment Services,{PKI}"

    # -- a new forest --------------------------------------------------------------------------------------------

    def _people(self) -> None:
        users = f"CN=Users,{BASE}"
        self.domain_admins = self._group(f"CN=Domain Admins,{users}", "Domain Admins", rid(512))
        self.enterprise_admins = self._group(f"CN=Enterprise Admins,{users}", "Enterprise Admins", rid(519))
        self.domain_users = self._group(f"CN=Domain Users,{users}", "Domain Users", rid(513))
        self._group(f"CN=Domain Computers,{users}", "Domain Computers", rid(515))
        self._group(f"CN=Key Admins,{users}", "Key Admins", rid(526))
        self.operators = self._group(
            f"CN=Account Operators,CN=Builtin,{BASE}", "Account Operators", Sid("S-1-5-32-548")
        )
        self.publishers = self._group(f"CN=Cert Publishers,{users}", "Cert Publishers", rid(517))
        self.helpdesk = self._group(f"CN=Helpdesk,{users}", "Helpdesk", HELPDESK)
        self.pki_team = self._group(f"CN=PKI Team,{users}", "PKI Team", PKI_TEAM)
        self.boss = self._user("boss", BOSS, adminCount="1", sddl="O:DAG:DAD:PAI(A;;GA;;;SY)(A;;GA;;;DA)(A;;RP;;;AU)")
        self.alice = self._user("alice", ALICE, sddl="O:DAG:DAD:AI(A;;GA;;;SY)(A;;GA;;;DA)(A;;GA;;;AO)")
        self.join(self.domain_admins, self.boss)
        self.join(self.pki_team, self.boss)
        self.join(self.helpdesk, self.alice)
        self.computer = self.add(
            f"CN=CA1,CN=Computers,{BASE}",
            ("person", "user", "computer"),
            sid=CA_COMPUTER,
            sAMAccountName="CA1$",
            dNSHostName=CA_HOST,
            primaryGroupID="515",
            sddl="O:DAG:DAD:AI(A;;GA;;;SY)(A;;GA;;;DA)(A;;GA;;;AO)(OA;;WP;bf967953-0de6-11d0-a285-00aa003049e2;;PS)"
            "(OA;ID;RPWP;5b47d60f-6090-40b2-9f37-2a4de88f3063;;KA)",
        )
        self.join(self.publishers, self.computer)

    def _group(self, dn: str, name: str, sid: Sid) -> str:
        return self.add(dn, ("group",), sid=sid, sAMAccountName=name, sddl=_ADMINISTRATORS)

    def _user(self, name: str, sid: Sid, **more: Any) -> str:
        dn = f"CN={name},CN=Users,{BASE}"
        return self.add(dn, ("person", "user"), sid=sid, sAMAccountName=name, primaryGroupID="513", **more)

    def _public_key_services(self) -> None:
        self.add(PKI, ("container",), sddl=_ADMINISTRATORS)
        for name in (*_CONTAINERS, "OID"):
            publishes = "(A;CI;GA;;;CA)" if name in ("AIA", "CDP") else ""  # Cert Publishers
            classes = ("msPKI-Enterprise-Oid",) if name == "OID" else ("container",)
            self.add(f"CN={name},{PKI}", classes, sddl=_ADMINISTRATORS + publishes)
        ours = f"{_ADMINISTRATORS}(A;;GA;;;{CA_COMPUTER})"
        self.ntauth = self.add(f"CN=NTAuthCertificates,{PKI}", ("certificationAuthority",), sddl=_ADMINISTRATORS)
        self.add(
            self.service,
            ("pKIEnrollmentService",),
            dNSHostName=CA_HOST,
            certificateTemplates=published_by_default(),
            sddl=f"{ours}(OA;;CR;0e10c968-78fb-11d2-90d4-00c04f79dc55;;AU)",
        )
        for name in ("AIA", "Certification Authorities"):
            self.add(f"CN={CA},CN={name},{PKI}", ("certificationAuthority",), sddl=f"{ours}(A;ID;GA;;;CA)")
        self.add(f"CN={CA},CN=CDP,{PKI}", ("cRLDistributionPoint",), sddl=f"{ours}(A;ID;GA;;;CA)")
        for template in self.templates.values():
            self.put_template(template, published=False)

    # -- LdapConnection ------------------------------------------------------------------------------------------

    @property
    def controller(self) -> DomainController:
        return DomainController("dc1.corp.example", 389)

    def search(
        self,
        base: str,
        scope: Scope,
        filter: str,
        attributes: Sequence[str],
        *,
        sd_flags: int | None = None,
        size_limit: int = 0,
    ) -> Iterator[Entry]:
        matches, rest = self._filter(filter)
        assert not rest, f"a filter ends before {rest!r}"
        found = 0
        for dn, values in self.entries.items():
            if _within(dn, base, scope) and matches(dn, values):
                yield _shown(dn, values, attributes, sd_flags)
                found += 1
                if found == size_limit:
                    return

    def read(self, dn: str, attributes: Sequence[str], *, sd_flags: int | None = None) -> Entry | None:
        if dn.startswith("<SID="):
            octets = sid_to_bytes(Sid(dn[5:-1]))
            names = [name for name, values in self.entries.items() if values.get("objectSid") == (octets,)]
        else:
            names = [name for name in self.entries if name.casefold() == dn.casefold()]
        return _shown(names[0], self.entries[names[0]], attributes, sd_flags) if names else None

    def root_dse(self) -> Entry:
        contexts = {"configurationNamingContext": CONFIGURATION, "defaultNamingContext": BASE}
        return Entry.of("", {name: [value] for name, value in (contexts | {"rootDomainNamingContext": BASE}).items()})

    def close(self) -> None:
        pass

    # -- filters. RFC 4515 ---------------------------------------------------------------------------------------

    def _filter(self, text: str) -> tuple[Callable[[str, Mapping[str, tuple[bytes, ...]]], bool], str]:
        assert text[0] == "(", text
        if text[1] in "&|!":
            parts, rest = [], text[2:]
            while rest[0] == "(":
                part, rest = self._filter(rest)
                parts.append(part)
            every = {"&": all, "|": any, "!": lambda found: not any(found)}[text[1]]
            return lambda dn, values: every(part(dn, values) for part in parts), rest[1:]
        item, _, rest = text[1:].partition(")")
        name, _, value = item.partition("=")
        return lambda dn, values: self._holds(dn, values, name, value), rest

    def _holds(self, dn: str, values: Mapping[str, tuple[bytes, ...]], name: str, value: str) -> bool:
        wanted = re.sub(rb"\\([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), value.encode())
        attribute, rule, _ = name.partition(f":{_IN_CHAIN}:")
        if rule:
            inside = self._groups_of(dn) if attribute == "memberOf" else self._members_of(dn)
            return wanted.decode().casefold() in {each.casefold() for each in inside}
        held = Attributes(values).get(attribute, ())
        if value == "*":
            return bool(held)
        if value.endswith("*"):
            return any(each.lower().startswith(wanted[:-1].lower()) for each in held)
        return any(each.lower() == wanted.lower() for each in held)

    def _groups_of(self, dn: str) -> Iterable[str]:
        direct = [group for group, values in self.entries.items() if dn.encode() in values.get("member", ())]
        return {*direct, *(above for group in direct for above in self._groups_of(group))}

    def _members_of(self, dn: str) -> Iterable[str]:
        direct = [member.decode() for member in self.entries[dn].get("member", ())]
        return {*direct, *(below for member in direct for below in self._members_of(member))}


def _within(dn: str, base: str, scope: Scope) -> bool:
    if scope is Scope.BASE:
        return dn.casefold() == base.casefold()
    if scope is Scope.ONE_LEVEL:
        return dn.partition(",")[2].casefold() == base.casefold()
    return f",{dn}".casefold().endswith(f",{base}".casefold())


def _shown(
    dn: str, values: Mapping[str, tuple[bytes, ...]], attributes: Sequence[str], sd_flags: int | None
) -> Entry:
    """Only what was asked for; permissions only where their parts were named. [MS-ADTS] 3.1.1.3.4.1.11."""
    asked = {name.casefold() for name in attributes}
    return Entry.of(
        dn,
        {
            name: each
            for name, each in values.items()
            if (name != "nTSecurityDescriptor" and "*" in asked)
            or (name.casefold() in asked and (name != "nTSecurityDescriptor" or sd_flags))
        },
    )
