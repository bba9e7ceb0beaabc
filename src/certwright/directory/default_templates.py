"""The 33 certificate templates of a new forest as values. [MS-CRTD] Appendix A, note <42>.

What differs from the specification's list: keys have at least 2048 bits, as in stock forests of today, and WebServer,
whose enrollee supplies the subject, gets name rules. The other templates of that kind have none: the policy module
then sends every request for them to a certificate manager.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from importlib import resources
from typing import Any, Final

from certwright.adcs.requester import AUTHENTICATED_USERS, ENTERPRISE_DOMAIN_CONTROLLERS, Sid
from certwright.adcs.template import (
    AUTOENROLL_RIGHT,
    ENROLL_RIGHT,
    CertificateTemplate,
    EnrollmentFlag,
    GeneralFlag,
    NameFlag,
    NameRule,
    NameRules,
    PrivateKeyFlag,
)
from certwright.adcs.template_json import template_from_json
from certwright.directory.well_known import Rid
from certwright.pki import oids

MINIMAL_KEY_SIZE: Final = 2048
TEMPLATE_ARC: Final = "1.3.6.1.4.1.311.21.8"
"""Under it Windows puts six arcs of the forest and two of the template. [MS-CRTD] 2.20."""

_GENERATION_2012: Final = 4  # the first one that knew schema version 4. [MS-CRTD] 2.27
_FOREST_ARC_LIMITS: Final = (1 << 24, 1 << 24, 1 << 24, 1 << 24, 1 << 24, 1 << 8)
_OWN_KEYS: Final = frozenset({"oidTail", "enroll", "autoenroll", "published"})

# Rights on a directory object: all but "all extended rights", which would include AutoEnroll. [MS-CRTD] 2.5.3
_FULL_CONTROL: Final = "CCDCLCSWRPWPDTLOSDRCWDWO"
_READ: Final = "LCRPLORC"

_TRUSTEES: Final = {
    "DA": Rid.DOMAIN_ADMINS,
    "EA": Rid.ENTERPRISE_ADMINS,
    "DU": Rid.DOMAIN_USERS,
    "DC": Rid.DOMAIN_COMPUTERS,
    "DD": Rid.DOMAIN_CONTROLLERS,
    "RO": Rid.ENTERPRISE_READ_ONLY_DOMAIN_CONTROLLERS,
    "RS": Rid.RAS_AND_IAS_SERVERS,
}


def default_templates(
    domain_sid: Sid, forest_arcs: str, web_server_dns_suffixes: Sequence[str] = ()
) -> tuple[CertificateTemplate, ...]:
    """All of them, for one domain.

    Args:
        forest_arcs: what `new_forest_arcs` gave when the domain was made.
        web_server_dns_suffixes: what WebServer's enrollees may name without asking anybody.
    """
    made = []
    for entry in _entries():
        template = _template(entry, domain_sid, forest_arcs)
        if template.cn == "WebServer" and web_server_dns_suffixes:
            rule = NameRule(dns_suffixes=tuple(web_server_dns_suffixes))
            template = replace(template, name_rules=NameRules((rule,)))
        made.append(template)
    return tuple(made)


def default_names() -> tuple[str, ...]:
    """The cn of all of them."""
    return tuple(str(entry["cn"]) for entry in _entries())


def published_by_default() -> tuple[str, ...]:
    """The cn of the templates a new enterprise CA publishes."""
    return tuple(str(entry["cn"]) for entry in _entries() if entry["published"])


def new_template(cn: str, display_name: str, domain_sid: Sid, *, machine: bool = False) -> CertificateTemplate:
    """A template to begin with: sound keys, names from the directory, only administrators may enroll. Ours.

    Schema version 4, so that nothing of what a template can say is closed to it; its OID is still to be given.
    """
    usages = (oids.EKU_CLIENT_AUTH, oids.EKU_SERVER_AUTH) if machine else (oids.EKU_CLIENT_AUTH,)
    names = (
        NameFlag.REQUIRE_DNS_AS_CN | NameFlag.ALT_REQUIRE_DNS
        if machine
        else NameFlag.REQUIRE_DIRECTORY_PATH | NameFlag.ALT_REQUIRE_UPN
    )
    return CertificateTemplate(
        cn=cn,
        display_name=display_name,
        oid="",
        schema_version=4,
        major_version=100,
        minor_version=0,
        flags=GeneralFlag.IS_MODIFIED | (GeneralFlag.MACHINE_TYPE if machine else GeneralFlag(0)),
        enrollment_flag=EnrollmentFlag(0),
        private_key_flag=PrivateKeyFlag(_GENERATION_2012 << 16 | _GENERATION_2012 << 24),
        name_flag=names,
        validity_period=timedelta(days=365),
        renewal_period=timedelta(weeks=6),
        key_usage=b"\xa0\x00",
        extended_key_usage=usages,
        application_policies=usages,
        issuance_policies=(),
        critical_extensions=(oids.KEY_USAGE,),
        minimal_key_size=MINIMAL_KEY_SIZE,
        max_issuing_depth=0,
        default_key_spec=1,
        default_csps=(),
        ra_signatures=0,
        ra_application_policies=("msPKI-Hash-Algorithm`PZPWSTR`SHA256`",),
        ra_policies=(),
        superseded_templates=(),
        security_descriptor=template_security(domain_sid, []),
    )


def new_forest_arcs() -> str:
    """Six random arcs, as a forest draws them once in its life."""
    return ".".join(str(secrets.randbelow(limit - 1) + 1) for limit in _FOREST_ARC_LIMITS)


def new_template_oid(forest_arcs: str) -> str:
    """An OID for a template that brings none: two random arcs under the forest's."""
    first, second = (secrets.randbelow((1 << 24) - 256) + 256 for _ in range(2))
    return f"{TEMPLATE_ARC}.{forest_arcs}.{first}.{second}"


def template_security(domain_sid: Sid, enroll: Sequence[Sid], autoenroll: Sequence[Sid] = ()) -> str:
    """The security descriptor of a template as stock forests write it: the administrators of domain and forest hold
    it, authenticated accounts read it, and those named may enroll and autoenroll."""
    domain_admins, enterprise_admins = (
        Rid.DOMAIN_ADMINS.in_domain(domain_sid),
        Rid.ENTERPRISE_ADMINS.in_domain(domain_sid),
    )
    entries = [f"(OA;;RPWPCR;{ENROLL_RIGHT};;{sid})" for sid in (domain_admins, enterprise_admins)]
    entries += [f"(OA;;CR;{ENROLL_RIGHT};;{sid})" for sid in enroll if sid not in (domain_admins, enterprise_admins)]
    entries += [f"(OA;;CR;{AUTOENROLL_RIGHT};;{sid})" for sid in autoenroll]
    entries += [f"(A;;{_FULL_CONTROL};;;{sid})" for sid in (domain_admins, enterprise_admins)]
    entries.append(f"(A;;{_READ};;;{AUTHENTICATED_USERS})")
    return f"O:{enterprise_admins}G:{enterprise_admins}D:P{''.join(entries)}"


@cache
def _entries() -> tuple[Mapping[str, Any], ...]:
    text = resources.files(__package__).joinpath("default_templates.json").read_text("utf-8")
    return tuple(json.loads(text)["templates"])


def _template(entry: Mapping[str, Any], domain_sid: Sid, forest_arcs: str) -> CertificateTemplate:
    attributes = {name: value for name, value in entry.items() if name not in _OWN_KEYS}
    attributes |= {
        "msPKI-Cert-Template-OID": f"{TEMPLATE_ARC}.{forest_arcs}.{entry['oidTail']}",
        "msPKI-Minimal-Key-Size": max(entry["msPKI-Minimal-Key-Size"], MINIMAL_KEY_SIZE),
        "nTSecurityDescriptor": template_security(
            domain_sid,
            [_trustee(name, domain_sid) for name in entry["enroll"]],
            [_trustee(name, domain_sid) for name in entry["autoenroll"]],
        ),
    }
    return template_from_json(attributes)


def _trustee(name: str, domain_sid: Sid) -> Sid:
    """An SDDL name of the data file. [MS-DTYP] 2.5.1.1."""
    return ENTERPRISE_DOMAIN_CONTROLLERS if name == "ED" else _TRUSTEES[name].in_domain(domain_sid)
