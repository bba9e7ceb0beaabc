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


TOKENS_ONLY: Final = frozenset({"access", "keys", "override"})
"""Scopes of acts for which pages ask again who it is: a token must have been made for them; a session cannot."""

_ADMINISTRATOR: Final = frozenset({Role.ADMINISTRATOR})
_MANAGERS: Final = frozenset({Role.CERTIFICATE_MANAGER, Role.CA_ADMINISTRATOR})
_CA_ADMINISTRATOR: Final = frozenset({Role.CA_ADMINISTRATOR})
_OWN_TOO: Final = CHANGING | {Role.REQUESTER}  # everybody's certificates, or one's own

PERMISSIONS: Final[Mapping[str, Permission]] = {
    # who asks, and how everything is
    "getMe": Permission("", access.EVERYBODY),
    "getHealth": Permission("read", access.HEALTH),
    "listWatchedLocations": Permission("read", access.HEALTH),
    "listLocationChanges": Permission("read", access.HEALTH),
    "checkWatchedLocations": Permission("ca", _CA_ADMINISTRATOR),
    "checkWatchedLocation": Permission("ca", _CA_ADMINISTRATOR),
    "getSecurityAudit": Permission("read", access.AUDIT),
    "getDashboard": Permission("read", access.ORDERS),
    "listEvents": Permission("read", access.EVERYBODY),
    "searchEverything": Permission("read", access.EVERYBODY),
    # one's own account
    "listMyTokens": Permission("read", access.EVERYBODY),
    "createToken": Permission("access", access.EVERYBODY),
    "deleteToken": Permission("settings", access.EVERYBODY),
    "listMySessions": Permission("read", access.EVERYBODY),
    "endMySessions": Permission("settings", access.EVERYBODY),
    "listViews": Permission("read", access.EVERYBODY),
    "saveView": Permission("settings", access.EVERYBODY),
    "deleteView": Permission("settings", access.EVERYBODY),
    # People & Access
    "listPeople": Permission("read", access.PEOPLE),
    "getPerson": Permission("read", access.PEOPLE),
    "addPerson": Permission("access", _ADMINISTRATOR),
    "setPersonRoles": Permission("access", _ADMINISTRATOR),
    "setPersonPassword": Permission("access", _ADMINISTRATOR),
    "enablePerson": Permission("settings", _ADMINISTRATOR),
    "endPersonSessions": Permission("settings", _ADMINISTRATOR),
    "removeSecondFactor": Permission("access", _ADMINISTRATOR),
    # the directory; who may change accounts is its own question behind that
    "getDirectory": Permission("read", access.CA_SETTINGS),
    "listDirectoryAccounts": Permission("read", access.CA_SETTINGS),
    "getDirectoryAccount": Permission("read", access.CA_SETTINGS),
    "addDirectoryAccount": Permission("settings", access.CA_SETTINGS),
    "changeDirectoryAccount": Permission("settings", access.CA_SETTINGS),
    "enableDirectoryAccount": Permission("settings", access.CA_SETTINGS),
    "setDirectoryPassword": Permission("access", access.CA_SETTINGS),
    "forgetNtHash": Permission("access", access.CA_SETTINGS),
    "listDirectoryGroups": Permission("read", access.CA_SETTINGS),
    "getDirectoryGroup": Permission("read", access.CA_SETTINGS),
    "addDirectoryGroup": Permission("settings", access.CA_SETTINGS),
    "addDirectoryMember": Permission("access", access.CA_SETTINGS),
    "removeDirectoryMember": Permission("access", access.CA_SETTINGS),
    "getDirectoryEntry": Permission("read", access.CA_SETTINGS),
    "publishDirectoryEntry": Permission("settings", _CA_ADMINISTRATOR),
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
    "fetchOrders": Permission("orders", ORDERING),
    "deleteOrders": Permission("orders", ORDERING),
    "restoreOrder": Permission("orders", ORDERING),
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
    "renewCertificates": Permission("inventory", _OWN_TOO),
    "revokeCertificates": Permission("ca", CHANGING),
    "deleteCertificates": Permission("inventory", _OWN_TOO),
    "exportKey": Permission("keys", _OWN_TOO),
    "listLocations": Permission("read", access.ORDERS),
    "askLocation": Permission("read", access.ORDERS),
    "askRevocation": Permission("read", access.ORDERS),
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
    "listPublishedFiles": Permission("read", access.CA_SETTINGS),
    "getCrl": Permission("read", access.EVERYBODY),
    "publishCrl": Permission("ca", _CA_ADMINISTRATOR),
    "makeBackup": Permission("keys", frozenset({Role.BACKUP_OPERATOR})),
    "listCaLives": Permission("read", access.CA_SETTINGS),
    "getCaRequest": Permission("ca", _CA_ADMINISTRATOR),
    "createCa": Permission("keys", _CA_ADMINISTRATOR),
    "withdrawCaRequest": Permission("keys", _CA_ADMINISTRATOR),
    "installCaCertificate": Permission("keys", _CA_ADMINISTRATOR),
    "renewCa": Permission("keys", _CA_ADMINISTRATOR),
    "signCa": Permission("keys", _CA_ADMINISTRATOR),
    "suspendCa": Permission("keys", _CA_ADMINISTRATOR),
    "resumeCa": Permission("ca", _CA_ADMINISTRATOR),
    "importCrlAbove": Permission("ca", _CA_ADMINISTRATOR),
    "getCaConfiguration": Permission("read", access.CA_PROPERTIES),
    "describeCaSettings": Permission("read", access.CA_PROPERTIES),
    "changeCaConfiguration": Permission("settings", _CA_ADMINISTRATOR),
    "overrideCaConfiguration": Permission("override", _CA_ADMINISTRATOR),
    "listCaRoles": Permission("read", access.CA_PROPERTIES),
    "grantCaRoles": Permission("settings", _CA_ADMINISTRATOR),
    "revokeCaRoles": Permission("settings", _CA_ADMINISTRATOR),
    "askCaLocations": Permission("read", access.CA_SETTINGS),
    "getEnrollmentServices": Permission("read", access.CA_SETTINGS),
    # the Online Responder
    "listResponders": Permission("read", access.CA_SETTINGS),
    "getResponder": Permission("read", access.CA_SETTINGS),
    "changeResponder": Permission("settings", _CA_ADMINISTRATOR),
    "enableResponder": Permission("settings", _CA_ADMINISTRATOR),
    "disableResponder": Permission("settings", _CA_ADMINISTRATOR),
    "refreshResponder": Permission("settings", _CA_ADMINISTRATOR),
    "requestResponderSigner": Permission("settings", _CA_ADMINISTRATOR),
    "installResponderSigner": Permission("settings", _CA_ADMINISTRATOR),
    "listCasElsewhere": Permission("read", access.CA_SETTINGS),
    "getCaElsewhere": Permission("read", access.CA_SETTINGS),
    "addCaElsewhere": Permission("settings", _CA_ADMINISTRATOR),
    "changeCaElsewhere": Permission("settings", _CA_ADMINISTRATOR),
    "enableCaElsewhere": Permission("settings", _CA_ADMINISTRATOR),
    "disableCaElsewhere": Permission("settings", _CA_ADMINISTRATOR),
    "deleteCaElsewhere": Permission("settings", _CA_ADMINISTRATOR),
    "copyCrlsElsewhere": Permission("settings", _CA_ADMINISTRATOR),
    "requestSignerElsewhere": Permission("settings", _CA_ADMINISTRATOR),
    "installSignerElsewhere": Permission("settings", _CA_ADMINISTRATOR),
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
    "issueRequests": Permission("ca", _MANAGERS),
    "denyRequests": Permission("ca", _MANAGERS),
    "revokeRequests": Permission("ca", _MANAGERS),
    # services for devices (NDES); who may have a challenge is the service's own question
    "listDeviceServices": Permission("read", access.CA_SETTINGS),
    "getDeviceService": Permission("read", access.CA_SETTINGS),
    "addDeviceService": Permission("settings", _CA_ADMINISTRATOR),
    "changeDeviceService": Permission("settings", _CA_ADMINISTRATOR),
    "removeDeviceService": Permission("settings", _CA_ADMINISTRATOR),
    "enableDeviceService": Permission("settings", _CA_ADMINISTRATOR),
    "disableDeviceService": Permission("settings", _CA_ADMINISTRATOR),
    "renewDeviceService": Permission("settings", _CA_ADMINISTRATOR),
    "makeWebhookKey": Permission("settings", _CA_ADMINISTRATOR),
    "giveDeviceChallenge": Permission("orders", access.ORDERS),
    "renewStaticChallenge": Permission("settings", _MANAGERS),
    "listDeviceChallenges": Permission("read", access.CA_SETTINGS),
    "listDeviceRequests": Permission("read", access.CA_SETTINGS),
    "listDeviceFailures": Permission("read", access.CA_SETTINGS),
    "getDeviceFailure": Permission("read", access.CA_SETTINGS),
    "listDeviceNotices": Permission("read", access.CA_SETTINGS),
    # certificate templates
    "listTemplates": Permission("read", access.CA_SETTINGS),
    "getTemplate": Permission("read", access.CA_SETTINGS),
    "checkTemplate": Permission("read", access.CA_SETTINGS),
    "tryName": Permission("read", access.CA_SETTINGS),
    "importTemplate": Permission("settings", _CA_ADMINISTRATOR),
    "duplicateTemplate": Permission("settings", _CA_ADMINISTRATOR),
    "deleteTemplate": Permission("settings", _CA_ADMINISTRATOR),
    "changeTemplate": Permission("settings", _CA_ADMINISTRATOR),
    "overrideTemplate": Permission("override", _CA_ADMINISTRATOR),
    "publishTemplate": Permission("settings", _CA_ADMINISTRATOR),
    "unpublishTemplate": Permission("settings", _CA_ADMINISTRATOR),
    "grantTemplate": Permission("settings", _CA_ADMINISTRATOR),
    "revokeTemplate": Permission("settings", _CA_ADMINISTRATOR),
    # the Active Directory domain
    "getActiveDirectory": Permission("read", access.CA_SETTINGS),
    "examineActiveDirectory": Permission("read", access.CA_SETTINGS),
    "getEnrollmentPolicy": Permission("read", access.CA_SETTINGS),
    "getPublication": Permission("read", access.CA_SETTINGS),
    "publishCa": Permission("ca", _CA_ADMINISTRATOR),
    "unpublishCa": Permission("ca", _CA_ADMINISTRATOR),
    # audit
    "listAuditEvents": Permission("read", access.AUDIT),
    "exportAudit": Permission("read", access.AUDIT),
    "verifyAudit": Permission("read", access.AUDIT),
}
