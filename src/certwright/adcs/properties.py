"""CA properties a caller may read through the door. [MS-WCCE] 3.2.1.4.3.2."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

PropertyValue = int | str | bytes | Sequence[str]


class CaProperty(IntEnum):
    """PropID of ICertRequestD2::GetCAProperty."""

    FILE_VERSION = 0x1
    PRODUCT_VERSION = 0x2
    EXIT_COUNT = 0x3
    EXIT_DESCRIPTION = 0x4
    POLICY_DESCRIPTION = 0x5
    CA_NAME = 0x6
    SANITIZED_CA_NAME = 0x7
    PARENT_CA = 0x9
    CA_TYPE = 0xA
    CA_SIGNATURE_CERTIFICATE_COUNT = 0xB
    CA_SIGNATURE_CERTIFICATE = 0xC
    CA_SIGNATURE_CERTIFICATE_CHAIN = 0xD  # certs-only CMS, leaf first
    BASE_CRL = 0x11
    DELTA_CRL = 0x12
    CA_CERTIFICATE_STATE = 0x13
    CRL_STATE = 0x14
    CA_PROPERTY_ID_MAX = 0x15
    DNS_NAME = 0x16
    ROLE_SEPARATION_ENABLED = 0x17
    ADVANCED_SERVER = 0x1C
    TEMPLATES = 0x1D  # here: cn, OID, cn, OID ... as a sequence of strings; the wire joins them with LF
    CA_CERTIFICATE_STATUS_CODE = 0x22
    CA_CERTIFICATE_VERSION = 0x27  # (key index << 16) + certificate index
    SANITIZED_CA_SHORT_NAME = 0x28
    CDP_URLS = 0x29
    AIA_URLS = 0x2A
    OCSP_URLS = 0x2B


class CaType(IntEnum):
    """ENUM_CATYPES of CAINFO. [MS-WCCE] 2.2.2.4."""

    ENTERPRISE_ROOT = 0
    ENTERPRISE_SUBORDINATE = 1
    STANDALONE_ROOT = 3
    STANDALONE_SUBORDINATE = 4

    @property
    def is_enterprise(self) -> bool:
        return self in (CaType.ENTERPRISE_ROOT, CaType.ENTERPRISE_SUBORDINATE)

    @property
    def is_root(self) -> bool:
        return self in (CaType.ENTERPRISE_ROOT, CaType.STANDALONE_ROOT)


LATEST = 0xFFFF_FFFF
"""Index of indexed properties that means the current one."""
