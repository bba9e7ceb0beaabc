"""Roles and the CA's access rights. [MS-CSRA] 3.1.1.7; [MS-WCCE] 3.2.1.1.3."""

from __future__ import annotations

from enum import IntEnum, IntFlag


class CaAccess(IntFlag):
    """Access mask bits of the CA security descriptor."""

    ADMINISTRATOR = 0x1  # "Manage CA"
    OFFICER = 0x2  # "Issue and Manage Certificates"
    AUDITOR = 0x4
    OPERATOR = 0x8  # backup operator
    READ = 0x100
    ENROLL = 0x200

    @property
    def implied(self) -> CaAccess:
        """The mask with what it implies: administrators, officers and enrollees may also read."""
        if self & (CaAccess.ADMINISTRATOR | CaAccess.OFFICER | CaAccess.ENROLL):
            return self | CaAccess.READ
        return self


ROLE_NAMES = {
    CaAccess.ADMINISTRATOR: "CA administrator",
    CaAccess.OFFICER: "certificate manager",
    CaAccess.AUDITOR: "auditor",
    CaAccess.OPERATOR: "backup operator",
    CaAccess.READ: "reader",
    CaAccess.ENROLL: "requester",
}


class RevocationReason(IntEnum):
    """CRL reasons as [MS-CSRA] 3.1.4.1.8 takes them (RFC 5280 5.3.1, plus Microsoft's release value)."""

    UNSPECIFIED = 0
    KEY_COMPROMISE = 1
    CA_COMPROMISE = 2
    AFFILIATION_CHANGED = 3
    SUPERSEDED = 4
    CESSATION_OF_OPERATION = 5
    CERTIFICATE_HOLD = 6
    REMOVE_FROM_CRL = 8
    RELEASE_FROM_HOLD = 0xFFFFFFFF

    @property
    def rfc_name(self) -> str:
        """`keyCompromise` and so on, as RFC 5280 spells them."""
        head, *rest = self.name.lower().split("_")
        return (head + "".join(word.capitalize() for word in rest)).replace("caC", "cAC").replace("Crl", "CRL")

    @classmethod
    def from_rfc_name(cls, name: str) -> RevocationReason:
        """Raises:
        ValueError: no reason an operator may give is called that.
        """
        for reason in cls:
            if reason.rfc_name.lower() == name.lower() and reason not in (
                cls.REMOVE_FROM_CRL,
                cls.RELEASE_FROM_HOLD,
            ):
                return reason
        known = ", ".join(r.rfc_name for r in cls if r not in (cls.REMOVE_FROM_CRL, cls.RELEASE_FROM_HOLD))
        raise ValueError(f"{name!r} is no revocation reason; use one of {known}")
