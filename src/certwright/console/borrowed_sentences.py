"""Sentences that other rooms put together, with `%(a)s` for what they fill in: the console translates them whole.

A sentence is recognised by its words and what was filled in is put into the translation; what is filled in may be a
sentence itself. `tests/unit/console/test_borrowed_sentences.py` holds the list against the source of those rooms.
"""

from __future__ import annotations

from typing import Final

POLICY_AND_AUDIT: Final = (
    " (%(a)s is a display name; the template is called %(b)s.)",
    (
        "A certificate could be valid for %(a)s days, which is shorter than the renewal period of %(b)s "
        "(%(c)s days): renew the CA's certificate or shorten the template's renewal period."
    ),
    "a certificate for any purpose",
    "A certificate manager approved the request.",
    "a certificate of a CA that members of the domain trust or build chains with",
    "a certificate of a CA",
    "a policy that stands for a group",
    "A standalone CA takes no requests on behalf of others; ask as the account the certificate is for.",
    "A standalone CA issues after a certificate manager's approval.",
    "a standalone CA takes the names from the request",
    "An AD CS CA without the update of November 2024 would let the enrollee choose the usages; this CA does not.",
    "an enrollment agent's signature is accepted",
    "an object that a CRL is published to",
    "an OID, which may be linked to a group and so give membership in it (ESC13)",
    "cannot happen here",
    "CertificateMappingMethods has 0x4: Schannel maps by the user principal name alone",
    "Certificates that log on would not carry the SID of their account, and could be used for another one.",
    "certsrv.msc, %(a)s, Properties, Security: take Manage CA and Issue and Manage Certificates from %(b)s.",
    "certtmpl.msc, %(a)s, %(b)s",
    "certwright ca set security-descriptor='%(a)s' --ca '%(b)s'",
    "certwright template set %(a)s %(b)s",
    "channel binding is off, so a logon is good on any connection",
    "channel binding may be left out (allow)",
    "DisableExtensionList contains 1.3.6.1.4.1.311.25.2",
    "domain controller %(a)s",
    "Duplicate Template: publish the duplicate and stop issuing this one.",
    "EDITF_ATTRIBUTESUBJECTALTNAME2 is set",
    "Extensions, Application Policies: remove %(a)s.",
    "IF_ENFORCEENCRYPTICERTREQUEST is not set",
    "IIS Manager, Windows Authentication, Advanced Settings: set Extended Protection to Required.",
    "In Active Directory these permissions would let others than administrators change the template.",
    "Issuance Requirements: CA certificate manager approval.",
    "it answers over plain HTTP, where nothing binds a logon to its server",
    (
        "it is the service account of this installation: certwright domain publish let it keep the CA's own entry, "
        "its certificates and its CRLs up to date"
    ),
    "it issues without approval",
    "it names no single certificate",
    "its issuance policy stands for membership in %(a)s",
    "its permissions let others than administrators write",
    "Keys of the kind %(a)s are not accepted: use RSA or an elliptic curve key on %(b)s.",
    "Let a certificate manager look: certwright ca set request-disposition=pend --ca '%(a)s'.",
    "Let certificates carry the SID (template set %(a)s sid-extension=on).",
    "Let the agents' own group enroll only, and require approval (template set %(a)s approval=on).",
    "Let the agents' own group enroll only, or require approval (template set %(a)s approval=on).",
    "msPKI-RA-Application-Policies=enrollment agent",
    "name rules allow logon names",
    "name rules allow logon names: %(a)s",
    "Name the usages it is for (template set %(a)s eku=...), or require approval (template set %(b)s approval=on).",
    "no CA publishes it: whoever publishes it opens this",
    "No certificate of this CA carries the SID of its account, so each could be used for another one.",
    "No name rule covers names of this kind: %(a)s.",
    "no name rule of the template is for this account",
    "no name rules",
    "no SID in the certificate",
    "nobody approves, nobody signs",
    "None of the certificates that signed the request is for Certificate Request Agents.",
    "Nothing: guard this account and its keytab as you guard the CA.",
    "On the CA: certutil -setreg CA\\InterfaceFlags +IF_ENFORCEENCRYPTICERTREQUEST, and restart certsvc.",
    "On the CA: certutil -setreg policy\\DisableExtensionList -1.3.6.1.4.1.311.25.2, and restart certsvc.",
    "On the CA: certutil -setreg policy\\EditFlags -EDITF_ATTRIBUTESUBJECTALTNAME2, and restart certsvc.",
    (
        "Only the key of the old certificate says who asks. The certificate template %(a)s must allow "
        "key-based renewal with names that the enrollee supplies and with previous approval, and the "
        "request must have the subject and the alternative names of the old certificate."
    ),
    "others may write altSecurityIdentities",
    "published by %(a)s",
    "Raise the schema version (template set %(a)s schema-version=2) before such a CA publishes it.",
    "Remove the HTTP binding of the site.",
    "Remove the key store's password from the CA's registry; let administrators alone log on to the CA.",
    (
        "Remove the policy (template set %(a)s issuance-policies=), or require approval (template set %(b)s "
        "approval=on)."
    ),
    "Replace it by issuer and serial number (X509:<I>...<SR>...) of the certificate that %(a)s has.",
    "Require the binding: certwright ca set channel-binding=require --ca '%(a)s'.",
    "roles on the CA are held by a group that everybody is in",
    (
        "Say what may be named (template set %(a)s name-rules.dns-suffixes=...), or require approval "
        "(template set %(b)s approval=on)."
    ),
    "schema version 1",
    "Security: take Enroll from %(a)s.",
    "Security: take Write and Full control, and the ownership, from %(a)s.",
    "Set StrongCertificateBindingEnforcement to 2 and take 0x4 out of CertificateMappingMethods.",
    "StrongCertificateBindingEnforcement is 0: the SID in certificates is not looked at",
    "Subject and alternative names can be certified.",
    "Subject Name: build from this Active Directory information.",
    "Take the groups that everybody is in out of %(a)s.",
    (
        "Take the names from the directory (template set %(a)s enrollee-supplies-subject=off), require "
        "approval (template set %(b)s approval=on), or give it name rules that allow no logon names."
    ),
    (
        "Take the names from the directory (template set %(a)s subject=common-name), or require approval "
        "(template set %(b)s approval=on)."
    ),
    "Take the write permissions out of the security descriptor.",
    "Take these rights from %(a)s on the account (and on AdminSDHolder, if they come back within an hour).",
    "Take these rights from %(a)s: ADSI Edit (or ldp.exe), %(b)s, Security and Owner.",
    "Take these rights from %(a)s: ADSI Edit (or ldp.exe), %(b)s, Security.",
    "Take Write and Full control from %(a)s (console: Certificate Templates, %(b)s, Security).",
    "template %(a)s: %(b)s",
    "The account has no common name.",
    "the account is an administrator's",
    "The account is in the directory and enabled.",
    "The account %(a)s is disabled.",
    "The account %(a)s is unknown or disabled.",
    "The account %(a)s is %(b)s.",
    "the attribute SAN of a request becomes a name",
    "the certificate may be used for any purpose",
    "the certificate may be used for %(a)s",
    "The certificate of this CA is valid from %(a)s to %(b)s only: renew it.",
    "The certificate template %(a)s asks for a CA of compatibility level %(b)s; this one has %(c)s.",
    "The certificate template %(a)s asks for a key of the algorithm %(b)s; the request has %(c)s.",
    "The certificate template %(a)s asks for authorized signatures (%(b)s)",
    "The certificate template %(a)s asks for renewal with the same key; the request has another.",
    "The certificate template %(a)s cannot be used: %(b)s. Correct the template.",
    (
        "The certificate template %(a)s does not ask for the signature of an enrollment agent, so nobody "
        "may use it for others."
    ),
    (
        "The certificate template %(a)s is of schema 1 and cannot ask for an agent's signature; an "
        "enrollment agent may use it only when a restriction of the CA names agent and template."
    ),
    (
        "The certificate template %(a)s makes a Certification Authority, and this CA's own certificate "
        "(path length 0) allows none below it; request the certificate from its parent."
    ),
    "The certificate template %(a)s requires a manager's approval.",
    "The certificate template %(a)s requires key attestation, which this CA does not support.",
    "The certificate template %(a)s requires key attestation; the request has no attestation statement.",
    "The certificate template %(a)s requires that the private key is archived; the request carries none.",
    (
        "The certificate to be renewed is of the template %(a)s; a renewal keeps its template, and the "
        "request asks for %(b)s."
    ),
    "The certificate to be renewed was issued to somebody else than %(a)s.",
    "The certificate would name nobody: there is neither a subject nor an alternative name.",
    "The certificate %(a)s (%(b)s)",
    "the computer account of a CA",
    "the container %(a)s and what is made in it",
    "the directory could not be read",
    "The directory does not know the account %(a)s.",
    "The directory has no DNS host name for %(a)s: set dNSHostName of the account.",
    "The directory has no mail address for %(a)s: set mail of the account.",
    "The directory has no objectGUID for %(a)s.",
    "The directory has no SID for %(a)s, which the certificate must carry.",
    "The directory has no user principal name for %(a)s: set userPrincipalName.",
    "The distinguished name of %(a)s cannot be certified: %(b)s.",
    "The DNS host name of %(a)s, %(b)s, is no DNS name.",
    "the DNS name %(a)s",
    "the domain %(a)s in the subject",
    "The elliptic curve %(a)s is not accepted: use %(b)s.",
    "the enrollee supplies the subject",
    "The enrollment agent's certificate was issued to somebody else than %(a)s.",
    "the entry under which clients find a CA and the templates it publishes",
    "The extension %(a)s: %(b)s.",
    "The extensions to be taken over can be read.",
    "the IP address %(a)s",
    "The issuance policies in the request: %(a)s.",
    "The key is of a kind and a quality that this CA accepts.",
    "the key recovery agents, who can open archived keys",
    "The key usage asked for: %(a)s.",
    "The mail address of %(a)s, %(b)s, cannot be certified.",
    "the mail address %(a)s",
    "The name rules do not allow %(a)s; allowed by %(b)s rule: %(c)s.",
    "The names in the request are inside the template's name rules.",
    "The names in the request need approval: %(a)s.",
    "the object is %(a)s",
    "The permissions on the certificate template %(a)s do not allow %(b)s to enroll for this type of certificate.",
    (
        "The public key does not meet the minimum size of the certificate template %(a)s: %(b)s has %(c)s "
        "bits, %(d)s are required."
    ),
    "The request asks for issuance policies; the certificate template %(a)s has none.",
    "The request asks for the name %(a)s; a certificate manager decides.",
    "The request asks for the usage %(a)s; a certificate manager decides.",
    "The request asks for %(a)s; a certificate manager decides.",
    (
        "The request contains no certificate template information: name a template in the "
        "CertificateTemplate attribute or in a certificate template extension."
    ),
    "The request is for one template that this CA publishes.",
    "The request is for version %(a)s.%(b)s of the template %(c)s; this CA knows version %(d)s.%(e)s.",
    "The request is for %(a)s and made by %(b)s; it must be signed with an enrollment agent's certificate.",
    (
        "The request is to renew a certificate and is not signed with it; sign the message with the old "
        "certificate, and put that certificate into it."
    ),
    "The request names two certificate templates: %(a)s in its %(b)s, %(c)s in its %(d)s.",
    "The request names %(a)s as a DNS name, which is none.",
    "The request names %(a)s as a mail address, which is none.",
    "The request names %(a)s as a user principal name, which is none.",
    (
        "The request was for a certificate template that is not supported by the Active Directory "
        "Certificate Services policy: %(a)s.%(b)s"
    ),
    "The RSA key has the public exponent %(a)s; %(b)s or more is required.",
    "The RSA key has %(a)s bits; this CA accepts %(b)s to %(c)s.",
    "The RSA key %(a)s: make a new one with sound software.",
    "The subject cannot be certified: %(a)s.",
    "the template has no name rule",
    "the user principal name %(a)s",
    "The validity period fits into that of the CA.",
    "then in ADSI Edit: take 0x80000 out of msPKI-Enrollment-Flag.",
    "This CA is set to deny every request (request-disposition).",
    "what opens the CA's key lies there in clear",
    "which CAs may issue certificates that log on",
    "Whoever gets a certificate with these names logs on as %(a)s.",
    "Whoever has a shell on the CA may sign certificates with its key.",
    "Whoever holds an enrollment agent's certificate and is in %(a)s may log on as anybody.",
    "Whoever makes a machine or a person log on to him may pass the logon on and get a certificate in that name.",
    "Whoever makes a machine or a person log on to him may pass the logon on over RPC and get a certificate.",
    "Whoever may change an account's name may log on as another one with that account's certificate.",
    "Whoever may enroll for a logon certificate may have anybody's name in it.",
    "%(a)s and %(b)s others",
    "%(a)s by certificates for %(b)s; no certificate that signed the request is for that.",
    "%(a)s in the subject is no text, and no name rule covers it.",
    "%(a)s in the subject",
    "%(a)s in the subject: no name rule covers this attribute.",
    "%(a)s is a group; certificates are issued to users and computers.",
    "%(a)s is not a computer, and the template is for computers.",
    "%(a)s is not valid now.",
    "%(a)s is revoked.",
    "%(a)s makes a Certification Authority; a manager decides on each.",
    "%(a)s makes an enrollment agent; a manager decides on each.",
    "%(a)s may become an enrollment agent, who requests certificates in other people's names.",
    "%(a)s may change the CA's settings or issue what waits for approval.",
    "%(a)s may change the template, and so make of it one that lets anybody log on as anybody.",
    "%(a)s may change %(b)s, as it has to.",
    "%(a)s may change %(b)s.",
    (
        "%(a)s may choose the usages, those of a logon too, if the CA lacks the update of November 2024 "
        "(CVE-2024-49019); LDAP does not show whether it has it."
    ),
    "%(a)s may get %(b)s that nobody has looked at.",
    "%(a)s may log on as members of %(b)s by the certificate's issuance policy.",
    "%(a)s may map a certificate of their own to %(b)s, and log on as it.",
    "%(a)s may name any host in a certificate for servers, and nobody looks at the request.",
    "%(a)s may name anybody in a certificate that logs on, and nobody looks at the request.",
    "%(a)s may not ask for a certificate for %(b)s.",
    (
        "%(a)s may not ask for a certificate of %(b)s for %(c)s: no restriction of this CA's enrollment "
        "agents allows it."
    ),
    "%(a)s offers %(b)s",
    "%(a)s was not issued by this CA.",
    "%(a)s, an additional host name of %(b)s, is neither a DNS name nor an IP address.",
    "%(a)s: its permissions may not be read by this account",
    "%(a)s; the request has none.",
    "%(a)s; the request has %(b)s.",
)
"""What a CA's rules say of a request, and the security audit of what it finds."""

REFUSALS: Final = (
    "a revoked certificate cannot be put on hold afterwards",
    "issuing a pending request is a certificate manager's right",
    "name at least one KEY=VALUE",
    "no certificate of %(a)s has the serial number %(b)s",
    "only a certificate revoked with reason certificateHold can be released",
    "removeFromCRL is written by the CA itself",
    "request %(a)s is %(b)s's own; another certificate manager has to issue it",
    "request %(a)s is %(b)s, not pending",
    "request %(a)s is %(b)s: there is nothing to revoke",
    "request %(a)s stays pending: %(b)s",
    "request %(a)s was changed just now; look at it again",
    "request %(a)s was denied; only a CA administrator may resubmit it",
    "request %(a)s would now be issued differently than shown; look at it again",
    (
        "role-separation: %(a)s is %(b)s, so it could do nothing any more and not take this back; let an "
        "account do it that is CA administrator and nothing else"
    ),
    "the extension has %(a)s octets; %(b)s are possible",
    "the extension %(a)s (%(b)s) comes from the template; it cannot be set by hand",
    "there is no request %(a)s",
    "this security descriptor leaves nobody who may manage the CA",
    "%(a)s may not act on requests of %(b)s for the template %(c)s: the CA's officer-rights do not name them",
    "%(a)s: it is written when a refusal is overridden, and not otherwise",
)
"""What a CA refuses its officers."""

DISPOSITIONS: Final = (
    "Approved: %(a)s",
    "Denied by Policy Module  %(a)s, %(b)s",
    "Denied by %(a)s",
    "Denied by %(a)s  %(b)s",
    "Issued  Resubmitted by %(a)s",
    "Released from hold by %(a)s",
    "Revoked by %(a)s",
    "Taken Under Submission",
    "Taken Under Submission  %(a)s",
)
"""Disposition messages, as certutil shows them."""

DOCTOR: Final = (
    "add an A or AAAA record for %(a)s in the domain's DNS",
    "certwright domain publish --user Administrator, or %(a)s",
    (
        "check account and %(a)s in [directory]; with Kerberos also the clock, and that the realm's controllers "
        "are found (DNS, or krb5.conf)"
    ),
    "choose nearer controllers (site, controllers), or look for what slows this one down",
    "compare the clocks",
    "correct account in [directory]: the name without the domain",
    "correct ca-file in certwright.toml",
    "correct it with Certificate Templates (certtmpl.msc) or an LDAP tool",
    "correct keytab, or export it once more",
    "dangerous in the domain: %(a)s",
    "enable the account",
    "export it: %(a)s",
    "give the account that reads the directory the rights that Authenticated Users have by default",
    "give the domain controller a certificate for LDAP over TLS; Basic logons are checked through it",
    "it does not say its time understandably (%(a)s)",
    "it has no key of %(a)s",
    "it is disabled",
    "it is missing, or the account may not read it",
    "it is not published in the domain: its members do not find it",
    "it is passed over: %(a)s",
    "its certificate ends on %(a)s",
    "its certificate is not trusted: %(a)s",
    "its password expires one day",
    "join the right domain, or give the account the rights that Authenticated Users have by default",
    "LDAP over TLS does not work: %(a)s",
    "let this host use a name server that knows the domain, or correct controllers",
    "make it again: %(a)s",
    "make one, and name it in [authentication] of certwright.toml: %(a)s",
    'New-ADObject -Type %(a)s -Name "%(b)s" -Path "%(c)s", as an administrator of the forest',
    "no account holds this name: there is no Kerberos for it",
    "NTLM for the domain's accounts can be offered",
    "one question takes %(a)s seconds",
    (
        "only if clients without Kerberos need it: install winbind, join this host (net ads join), and let this "
        "account into the group winbindd_priv"
    ),
    "open TCP port %(a)s to %(b)s in the firewalls between",
    "published, and up to date",
    (
        "put the certificate of the CA that issued it into %(a)s, or give the controller a certificate with its "
        "full name %(b)s"
    ),
    "raise the forest's schema and configuration to at least Windows 2000's (adprep), or let the account read",
    "renew it on the controller",
    "see the findings about the controllers above",
    "Set-ADUser %(a)s -KerberosEncryptionType AES128,AES256, set its password anew, then: %(b)s",
    "set its password to never expire: Set-ADUser %(a)s -PasswordNeverExpires $true",
    "stands for %(a)s",
    "start %(a)s on the controller, or open TCP port %(b)s to it",
    (
        "switch AES on for %(a)s (Set-ADUser %(b)s -KerberosEncryptionType AES128,AES256), set its password "
        "anew, then: %(c)s"
    ),
    "synchronise this host's clock with the domain controllers (NTP: chrony, systemd-timesyncd)",
    "take it from all but one: %(a)s",
    "the clocks differ by %(a)s seconds",
    "the domain has no certificate templates",
    "the domain has no such account",
    "the domain has no such template",
    "the keytab has only keys that are not AES (RC4)",
    (
        "the keytab has version %(a)s of the key, %(b)s has version %(c)s: its password was changed after the "
        "keytab was made"
    ),
    "the name has no address here: %(a)s",
    "there is no file %(a)s",
    "there, and enabled",
    "there, with all %(a)s below it",
    "this host's own name has no address: %(a)s",
    "trusted, until %(a)s",
    (
        "use a name server of the domain for this host, or name one with name-servers in certwright.toml; or "
        "name the controllers there"
    ),
    "what this system trusts",
    ("winbind's ntlm_auth is not on this host: NTLM is not offered to the domain's accounts; Kerberos and Basic are"),
    "%(a)s accounts hold this name (%(b)s): no ticket is issued for it",
    "%(a)s allows RC4 only; only AES is taken here",
    "%(a)s answers in %(b)s",
    "%(a)s does not answer within %(b)s seconds",
    "%(a)s does not say that it takes AES, so that its tickets are RC4; only AES is taken here",
    "%(a)s domain controllers by %(b)s: %(c)s",
    "%(a)s holds it, but no keytab is configured: Kerberos is off",
    "%(a)s holds it, but the keytab has no key of it",
    "%(a)s is let in, in %(b)s",
    "%(a)s lacks %(b)s on %(c)s",
    "%(a)s objects in the domain are not as they should be",
    "%(a)s refuses: %(b)s",
    "%(a)s templates",
    "%(a)s; Kerberos allows %(b)s",
    "%(a)s, version %(b)s, AES",
)
"""What the doctor of a domain finds, and what to do about it; and why a template is not published there."""

RIGHTS: Final = (
    "Account Restrictions",
    "All Extended Rights",
    "AutoEnroll",
    "Create Objects Below",
    "Enroll",
    "Full Control",
    "Issue and Manage Certificates",
    "Manage CA",
    "Manage CA and Issue and Manage Certificates",
    "Modify Owner",
    "Modify Permissions",
    "owner",
    "Public Information",
    "Request Certificates",
    "Reset Password",
    "Write All Properties",
)
"""Rights, as entries of permissions name them."""
