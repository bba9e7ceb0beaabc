"""Which scope a token needs for an operation, and which roles its account: one table for all of them.

Roles are those of the page that does the same. Whose orders and certificates an account sees, and what a CA lets it
do, is checked behind that, as for the pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from certwright.console import access
from certwright.console.access import Role
from certwright.console.pages.inventory import CHANGING
from certwright.console.pages.new_request import ORDERING


@dataclass(frozen=True, slots=True)
class Permission:
    """Both must hold: the token has the scope (none is asked where it is empty), the account one of the roles."""

    scope: str
    roles: frozenset[Role]


TOKENS_ONLY: Final = frozenset({"keys", "override"})
"""Scopes of acts for which pages ask again who it is: a token must have been made for them; a session cannot."""

_ADMINISTRATOR: Final = frozenset({Role.ADMINISTRATOR})
_MANAGERS: Final = frozenset({Role.CERTIFICATE_MANAGER, Role.CA_ADMINISTRATOR})
_CA_ADMINISTRATOR: Final = frozenset({Role.CA_ADMINISTRATOR})
_OWN_TOO: Final = CHANGING | {Role.REQUESTER}  # everybody's certificates, or one's own

PERMISSIONS: Final[Mapping[str, Permission]] = {
    # who asks, and how everything is
    "getMe": Permission("", access.EVERYBODY),
    "getHealth": Permission("read", access.HEALTH),
    # AD CS services
    "listServices": Permission("read", access.AUTOMATION),
    "getService": Permission("read", access.AUTOMATION),
    "getServiceChain": Permission("read", access.AUTOMATION),
    "listServiceTemplates": Permission("read", access.AUTOMATION),
    "listDomains": Permission("read", access.ORDERS),
    "addService": Permission("settings", _ADMINISTRATOR),
    "testNewService": Permission("settings", _ADMINISTRATOR),
    "editService": Permission("settings", _ADMINISTRATOR),
    "deleteService": Permission("settings", _ADMINISTRATOR),
    "refreshService": Permission("settings", _ADMINISTRATOR),
    "testService": Permission("settings", _ADMINISTRATOR),
    # device users
    "listDeviceUsers": Permission("read", access.AUTOMATION),
    "getDeviceUser": Permission("read", access.AUTOMATION),
    "addDeviceUser": Permission("settings", _ADMINISTRATOR),
    "editDeviceUser": Permission("settings", _ADMINISTRATOR),
    "replaceDeviceUserSecret": Permission("settings", _ADMINISTRATOR),
    "deleteDeviceUser": Permission("settings", _ADMINISTRATOR),
    # orders
    "listOrders": Permission("read", access.ORDERS),
    "countOrders": Permission("read", access.ORDERS),
    "getOrder": Permission("read", access.ORDERS),
    "getOrderRequest": Permission("read", access.ORDERS),
    "getOrderCertificate": Permission("read", access.ORDERS),
    "examineRequest": Permission("orders", ORDERING),
    "placeOrder": Permission("orders", ORDERING),
    "checkOrder": Permission("orders", ORDERING),
    "fetchOrder": Permission("orders", ORDERING),
    "resubmitOrder": Permission("orders", ORDERING),
    "deleteOrder": Permission("orders", ORDERING),
    "restoreOrder": Permission("orders", CHANGING | {Role.CERTIFICATE_MANAGER}),
    # request forms
    "listRequestForms": Permission("read", access.ORDERS),
    "getRequestForm": Permission("read", access.ORDERS),
    "addRequestForm": Permission("settings", ORDERING),
    "editRequestForm": Permission("settings", CHANGING),
    "deleteRequestForm": Permission("settings", CHANGING),
    "orderByRequestForm": Permission("orders", ORDERING),
    # inventory
    "searchInventory": Permission("read", access.ORDERS),
    "exportInventory": Permission("read", access.ORDERS),
    "getExpiry": Permission("read", access.ORDERS),
    "listInventoryChoices": Permission("read", access.ORDERS),
    "getCertificate": Permission("read", access.ORDERS),
    "getCertificateFile": Permission("read", access.ORDERS),
    "importCertificates": Permission("inventory", _OWN_TOO),
    "changeCertificates": Permission("inventory", _OWN_TOO),
    "renewCertificate": Permission("inventory", _OWN_TOO),
    "deleteCertificate": Permission("inventory", _OWN_TOO),
    "revokeCertificate": Permission("ca", CHANGING),
    "exportKey": Permission("keys", _OWN_TOO),
    # renewal
    "listRenewalRules": Permission("read", access.AUTOMATION),
    "getRenewalRule": Permission("read", access.AUTOMATION),
    "planRenewals": Permission("read", access.AUTOMATION),
    "listFailedRenewals": Permission("read", access.AUTOMATION),
    "addRenewalRule": Permission("settings", _ADMINISTRATOR),
    "editRenewalRule": Permission("settings", _ADMINISTRATOR),
    "deleteRenewalRule": Permission("settings", _ADMINISTRATOR),
    # notifications
    "listChannels": Permission("read", access.AUTOMATION),
    "getChannel": Permission("read", access.AUTOMATION),
    "addChannel": Permission("settings", _ADMINISTRATOR),
    "editChannel": Permission("settings", _ADMINISTRATOR),
    "replaceChannelSecret": Permission("settings", _ADMINISTRATOR),
    "testChannel": Permission("settings", _ADMINISTRATOR),
    "deleteChannel": Permission("settings", _ADMINISTRATOR),
    "listNotificationRules": Permission("read", access.AUTOMATION),
    "getNotificationRule": Permission("read", access.AUTOMATION),
    "addNotificationRule": Permission("settings", _ADMINISTRATOR),
    "editNotificationRule": Permission("settings", _ADMINISTRATOR),
    "deleteNotificationRule": Permission("settings", _ADMINISTRATOR),
    "listDeliveries": Permission("read", access.AUTOMATION),
    "repeatDelivery": Permission("settings", _ADMINISTRATOR),
    # our CAs
    "listCas": Permission("read", access.EVERYBODY),
    "getCa": Permission("read", access.EVERYBODY),
    "getCaCertificate": Permission("read", access.EVERYBODY),
    "listCrls": Permission("read", access.CA_SETTINGS),
    "getCrl": Permission("read", access.EVERYBODY),
    "publishCrl": Permission("ca", _CA_ADMINISTRATOR),
    "getCaConfiguration": Permission("read", access.CA_PROPERTIES),
    "changeCaConfiguration": Permission("settings", _CA_ADMINISTRATOR),
    # requests at our CAs
    "listRequests": Permission("read", access.QUEUES),
    "getRequest": Permission("read", access.QUEUES),
    "getRequestFile": Permission("read", access.QUEUES),
    "previewRequest": Permission("read", access.QUEUES),
    "issueRequest": Permission("ca", _MANAGERS),
    "denyRequest": Permission("ca", _MANAGERS),
    "setRequestAttributes": Permission("ca", _MANAGERS),
    "addRequestExtension": Permission("ca", _MANAGERS),
    "revokeRequest": Permission("ca", _MANAGERS),
    "releaseRequest": Permission("ca", _MANAGERS),
    # certificate templates
    "listTemplates": Permission("read", access.CA_SETTINGS),
    "getTemplate": Permission("read", access.CA_SETTINGS),
    "importTemplate": Permission("settings", _CA_ADMINISTRATOR),
    "duplicateTemplate": Permission("settings", _CA_ADMINISTRATOR),
    "deleteTemplate": Permission("settings", _CA_ADMINISTRATOR),
    "changeTemplate": Permission("settings", _CA_ADMINISTRATOR),
    "overrideTemplate": Permission("override", _CA_ADMINISTRATOR),
    "publishTemplate": Permission("settings", _CA_ADMINISTRATOR),
    "unpublishTemplate": Permission("settings", _CA_ADMINISTRATOR),
    "grantTemplate": Permission("settings", _CA_ADMINISTRATOR),
    "revokeTemplate": Permission("settings", _CA_ADMINISTRATOR),
    # audit
    "listAuditEvents": Permission("read", access.AUDIT),
    "exportAudit": Permission("read", access.AUDIT),
    "verifyAudit": Permission("read", access.AUDIT),
}
