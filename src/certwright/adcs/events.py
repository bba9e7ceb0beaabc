"""What happens in a CA's life, numbered as Windows numbers it in the Security log; what people want to be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import NamedTuple


class AuditEvent(IntEnum):
    """Event IDs of AD CS: of the Security log (4868 to 4900, of the responder 5120 to 5127), below 100 those of
    its application log, and ours from 9001 where Windows has none."""

    BASE_CRL_NOT_PUBLISHED = 65  # to a folder
    DELTA_CRL_NOT_PUBLISHED = 66
    BASE_CRL_NOT_IN_DIRECTORY = 74  # at a server of Active Directory
    DELTA_CRL_NOT_IN_DIRECTORY = 75
    REQUEST_DENIED_BY_MANAGER = 4868
    REQUEST_RESUBMITTED = 4869
    CERTIFICATE_REVOKED = 4870
    CRL_PUBLICATION_REQUESTED = 4871
    CRL_PUBLISHED = 4872
    REQUEST_EXTENSION_SET = 4873
    REQUEST_ATTRIBUTES_SET = 4874
    SHUTDOWN_REQUESTED = 4875
    BACKUP_STARTED = 4876
    BACKUP_COMPLETED = 4877
    RESTORE_STARTED = 4878
    RESTORE_COMPLETED = 4879
    SERVICE_STARTED = 4880
    SERVICE_STOPPED = 4881
    CA_SECURITY_CHANGED = 4882
    ARCHIVED_KEY_RETRIEVED = 4883
    CERTIFICATE_IMPORTED = 4884
    AUDIT_FILTER_CHANGED = 4885
    REQUEST_RECEIVED = 4886
    CERTIFICATE_ISSUED = 4887
    REQUEST_DENIED = 4888
    REQUEST_PENDED = 4889
    MANAGER_SETTINGS_CHANGED = 4890
    CONFIGURATION_CHANGED = 4891
    CA_PROPERTY_CHANGED = 4892
    KEY_ARCHIVED = 4893
    KEY_IMPORTED_AND_ARCHIVED = 4894
    CA_CERTIFICATE_PUBLISHED = 4895
    ROWS_DELETED = 4896
    ROLE_SEPARATION_CHANGED = 4897
    TEMPLATE_LOADED = 4898
    TEMPLATE_UPDATED = 4899
    TEMPLATE_SECURITY_UPDATED = 4900
    REVOCATION_CONFIGURATION_CHANGED = 5123
    RESPONDER_CERTIFICATE_UPDATED = 5126
    CA_INSTALLED = 9001
    CA_KEY_EXPORTED = 9002
    CA_KEY_REMOVED = 9003
    CA_KEY_RETURNED = 9004
    CA_CERTIFICATE_RENEWED = 9005
    CA_CERTIFICATE_ASKED_FOR = 9006
    CA_ABOVE_IMPORTED = 9007
    ACCOUNT_CHANGED = 9010
    TEMPLATE_PUBLICATION_CHANGED = 9011
    DOMAIN_MEMBERSHIP_CHANGED = 9012
    DOMAIN_PUBLICATION_CHANGED = 9013
    DOMAIN_WRITE_BEGUN = 9014
    DOMAIN_WRITE_REFUSED = 9015
    DOMAIN_POLICY_CHANGED = 9016
    REQUEST_FAILED = 9020
    NDES_CHANGED = 9030
    DEVICE_USER_CHANGED = 9100
    ADCS_SERVICE_CHANGED = 9101
    ORDER_PLACED = 9110
    ORDER_SETTLED = 9111
    ORDER_APPROVED = 9112
    ORDER_FETCHED = 9113
    ORDER_DELETED = 9114
    ORDER_LOOKED_FOR = 9115
    INVENTORY_CHANGED = 9120
    INVENTORY_IMPORTED = 9121
    INVENTORY_DELETED = 9122
    PRIVATE_KEY_MADE = 9130
    PRIVATE_KEY_EXPORTED = 9131
    PRIVATE_KEY_DELETED = 9132
    REQUEST_FORM_CHANGED = 9140
    RENEWAL_RULE_CHANGED = 9141
    CONSOLE_SIGNED_IN = 9150
    CONSOLE_SIGN_IN_REFUSED = 9151
    CONSOLE_SIGNED_OUT = 9152
    CONSOLE_ROLES_CHANGED = 9153
    CONSOLE_ACCOUNT_CHANGED = 9154
    API_TOKEN_CHANGED = 9155
    SECOND_FACTOR_CHANGED = 9156
    NOTIFICATION_CHANNEL_CHANGED = 9160
    NOTIFICATION_RULE_CHANGED = 9161
    NOTIFICATION_GIVEN_UP = 9162


class CaEvent(NamedTuple):
    """One thing that happened, for the audit trail and the exit modules.

    `details` holds printable facts (request ID, requester, attributes, disposition, serial number ...); never
    secrets and never a whole request.
    """

    event: AuditEvent
    when: datetime
    ca: str  # CA common name; empty for events of the installation
    actor: str  # DOMAIN\\account
    details: Mapping[str, str | int] = MappingProxyType({})


class LifecycleKind(StrEnum):
    """What may be told to people: the events that notification rules choose from."""

    ORDER_ISSUED = "order-issued"
    ORDER_PENDING = "order-pending"
    ORDER_DENIED = "order-denied"
    ORDER_FAILED = "order-failed"
    ORDER_LOST = "order-lost"
    CERTIFICATE_EXPIRING = "certificate-expiring"  # facts: `band`, the days
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_RENEWED = "certificate-renewed"
    CERTIFICATE_REVOKED = "certificate-revoked"
    RENEWAL_FAILED = "renewal-failed"
    SERVICE_UNREACHABLE = "service-unreachable"
    SERVICE_RECOVERED = "service-recovered"
    SERVICE_CHANGED = "service-changed"  # its CA certificate or its templates
    DEVICE_USER_EXPIRING = "device-user-expiring"
    CA_ISSUED = "ca-issued"  # from here on: what our own CAs do
    CA_PENDING = "ca-pending"
    CA_DENIED = "ca-denied"
    CA_FAILED = "ca-failed"
    CA_REVOKED = "ca-revoked"
    CA_KEY_ARCHIVED = "ca-key-archived"
    CA_INSTALLED = "ca-installed"  # with its first certificate
    CA_CERTIFICATE_RENEWED = "ca-certificate-renewed"
    CA_CERTIFICATE_EXPIRING = "ca-certificate-expiring"
    CRL_PUBLISHED = "crl-published"
    CRL_OVERDUE = "crl-overdue"
    CRL_NOT_PUBLISHED = "crl-not-published"  # made, but a target did not take it
    CRL_NEEDS_KEY = "crl-needs-key"  # which is offline
    ANSWERS_ENDING = "answers-ending"  # of the Online Responder: its CRL or its signing certificate ends
    LOCATION_FAILING = "location-failing"  # where certificates say that a CRL, a CA or a responder is found
    LOCATION_EXPIRING = "location-expiring"  # what lies there ends soon
    LOCATION_RECOVERED = "location-recovered"


@dataclass(frozen=True, slots=True)
class LifecycleEvent:
    """Something people may want to be told. It may be handed over twice: `identity` tells that it is the same.

    `object` is its name for people (common name, order number, host name); `facts` are printable and never secret.
    """

    kind: LifecycleKind
    object: str
    when: datetime
    identity: str
    facts: Mapping[str, str | int] = field(default_factory=dict)
