"""Everything the pages do, the REST API does: each page and act of the console against its operations.

A page that is new stands in no table here and fails the first test: give it operations, or say in a sentence why a
program has nothing to ask there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

pytestmark = pytest.mark.usefixtures("console")

OPERATIONS: Final[Mapping[str, str]] = {
    # dashboard, search, events, health
    "home.home": "getDashboard",
    "home.tiles": "getDashboard",
    "home.root_certificate": "getCaCertificate",
    "finder.results": "searchEverything",
    "events.events": "listEvents",
    "events.bell": "listEvents",
    "health.overview": "getHealth",
    "security_audit.overview": "getSecurityAudit",
    # one's own account, and what the frame keeps for it
    "account.settings": "getMe listMyTokens listMySessions",
    "account.end_other_sessions": "endMySessions",
    "account.add_token": "createToken",
    "account.delete_token": "deleteToken",
    "frame.save_view": "saveView listViews",
    "frame.delete_view": "deleteView",
    # People & Access
    "people.people": "listPeople",
    "people.person": "getPerson",
    "people.add": "addPerson",
    "people.roles": "setPersonRoles",
    "people.password": "setPersonPassword",
    "people.enable": "enablePerson",
    "people.end_sessions": "endPersonSessions",
    "people.forget_second_factor": "removeSecondFactor",
    # AD CS services, device users
    "adcs_accounts.accounts": "listServices",
    "adcs_accounts.show": "getService listServiceTemplates getServiceChain",
    "adcs_accounts.add": "addService",
    "adcs_accounts.try_out": "testNewService",
    "adcs_accounts.edit": "editService",
    "adcs_accounts.refresh": "refreshService",
    "adcs_accounts.test": "testService",
    "adcs_accounts.trust": "editService",
    "adcs_accounts.delete": "deleteService",
    "own_ca.use_this_ca": "addDirectoryAccount grantTemplate addDeviceUser addService refreshService",
    "own_ca.first_template": "changeTemplate publishTemplate grantTemplate",
    "device_users.device_users": "listDeviceUsers getDeviceUser",
    "device_users.add": "addDeviceUser",
    "device_users.new": "addDeviceUser",
    "device_users.edit": "editDeviceUser",
    "device_users.secret": "replaceDeviceUserSecret",
    "device_users.delete": "deleteDeviceUser",
    # orders, request forms
    "orders.orders": "listOrders countOrders",
    "orders.show": "getOrder getOrderCertificate",
    "orders.row": "getOrder",
    "orders.body": "getOrder",
    "orders.csr": "getOrderRequest",
    "orders.fetch": "fetchOrder",
    "orders.fetch_many": "fetchOrders",
    "orders.check": "checkOrder",
    "orders.resubmit": "resubmitOrder",
    "orders.delete": "deleteOrder",
    "orders.delete_many": "deleteOrders",
    "orders.restore": "restoreOrder",
    "new_request.new_request": "placeOrder listDomains",
    "new_request.check": "examineRequest",
    "new_request.save": "addRequestForm",
    "request_forms.request_forms": "listRequestForms getRequestForm",
    "request_forms.add_form": "addRequestForm",
    "request_forms.edit_form": "editRequestForm",
    "request_forms.duplicate": "addRequestForm",
    "request_forms.delete_form": "deleteRequestForm",
    "request_forms.generate": "orderByRequestForm",
    # inventory
    "inventory.certificates": "searchInventory getExpiry listInventoryChoices",
    "inventory.import_files": "importCertificates",
    "inventory.export": "exportInventory",
    "inventory_bulk.label": "changeCertificates",
    "inventory_bulk.renew": "renewCertificates",
    "inventory_bulk.revoke": "revokeCertificates",
    "inventory_bulk.delete": "deleteCertificates",
    "inventory_bulk.files": "exportInventory",
    "certificate.show": "getCertificate listLocations",
    "certificate.ask_location": "askLocation",
    "certificate.ask_revocation": "askRevocation",
    "certificate.export": "getCertificateFile",
    "certificate.export_key": "exportKey",
    "certificate.edit": "changeCertificates",
    "certificate.delete": "deleteCertificate",
    "certificate.revoke": "revokeCertificate",
    "certificate.renew": "renewCertificate",
    # renewal, notifications
    "renewal.renewal": "listRenewalRules getRenewalRule listFailedRenewals",
    "renewal.dry_run": "planRenewals",
    "renewal.add": "addRenewalRule",
    "renewal.edit": "editRenewalRule",
    "renewal.delete": "deleteRenewalRule",
    "notifications.rules": "listNotificationRules getNotificationRule",
    "notifications.add": "addNotificationRule",
    "notifications.edit": "editNotificationRule",
    "notifications.delete": "deleteNotificationRule",
    "notifications.history": "listDeliveries",
    "notifications.retry": "repeatDelivery",
    "notification_channels.channels": "listChannels getChannel",
    "notification_channels.add_email": "addChannel",
    "notification_channels.add_webhook": "addChannel",
    "notification_channels.edit": "editChannel",
    "notification_channels.secret": "replaceChannelSecret",
    "notification_channels.test": "testChannel",
    "notification_channels.switch": "editChannel",
    "notification_channels.delete": "deleteChannel",
    # a CA's queues
    "pending.pending": "listRequests previewRequest",
    "pending.as_list": "listRequests",
    "issued.issued": "listRequests",
    "revoked.revoked": "listRequests",
    "failed.failed": "listRequests",
    "ca_request.show": "getRequest previewRequest",
    "ca_request.binary": "getRequestFile",
    "deciding.issue": "issueRequest",
    "deciding.deny": "denyRequest",
    "deciding.set_attributes": "setRequestAttributes",
    "deciding.set_extension": "addRequestExtension",
    "deciding.revoke": "revokeRequest",
    "deciding.release": "releaseRequest",
    "deciding_many.issue": "issueRequests",
    "deciding_many.deny": "denyRequests",
    "deciding_many.revoke": "revokeRequests",
    # certificate templates
    "certificate_templates.templates": "listTemplates",
    "certificate_templates.take_in": "importTemplate",
    "certificate_templates.publish": "publishTemplate unpublishTemplate",
    "certificate_templates.duplicate": "duplicateTemplate",
    "certificate_templates.delete": "deleteTemplate",
    "certificate_templates.export": "getTemplate",
    "template_editor.edit": "getTemplate changeTemplate grantTemplate revokeTemplate",
    "template_editor.override": "overrideTemplate",
    "template_editor.check": "checkTemplate",
    "template_editor.look": "checkTemplate",
    "template_editor.try_name": "tryName",
    # revocation, responder, enrollment services, directory
    # the life of a CA, and the locations that certificates name
    "backup.backup": "makeBackup",
    "ca_life.overview": "listCaLives",
    "ca_life.one": "listCaLives",
    "ca_life.new": "createCa",
    "ca_life.request_file": "getCaRequest",
    "ca_life.install": "installCaCertificate",
    "ca_life.withdraw": "withdrawCaRequest",
    "ca_life.sign": "signCa",
    "ca_life.renew": "renewCa",
    "ca_life.suspend": "suspendCa",
    "ca_life.resume": "resumeCa",
    "ca_life.import_crl": "importCrlAbove",
    "locations.overview": "listWatchedLocations",
    "locations.location": "listLocationChanges",
    "locations.ask": "checkWatchedLocation",
    "locations.ask_all": "checkWatchedLocations",
    "revocation.revocation": "listCrls getCrl listPublishedFiles",
    "revocation.locations": "askCaLocations",
    "revocation.publish": "publishCrl",
    "revocation.publish_delta": "publishCrl",
    "revocation_configuration.responder": "getResponder listResponders",
    "revocation_configuration.edit": "changeResponder",
    "revocation_configuration.enable": "enableResponder",
    "revocation_configuration.disable": "disableResponder",
    "revocation_configuration.refresh": "refreshResponder",
    "responder_elsewhere.overview": "listCasElsewhere",
    "responder_elsewhere.one": "getCaElsewhere",
    "responder_elsewhere.add": "addCaElsewhere",
    "responder_elsewhere.edit": "changeCaElsewhere",
    "responder_elsewhere.enable": "enableCaElsewhere",
    "responder_elsewhere.disable": "disableCaElsewhere",
    "responder_elsewhere.copy": "copyCrlsElsewhere",
    "responder_elsewhere.remove": "deleteCaElsewhere",
    "responder_elsewhere.request_signer": "requestSignerElsewhere",
    "responder_elsewhere.install_signer": "installSignerElsewhere",
    "responder_elsewhere.request_own_signer": "requestResponderSigner",
    "responder_elsewhere.install_own_signer": "installResponderSigner",
    "enrollment.services": "getEnrollmentServices",
    "enrollment.web_services": "getEnrollmentServices",
    "ndes.services": "listDeviceServices",
    "ndes.service": "getDeviceService",
    "ndes.add": "addDeviceService",
    "ndes.edit": "changeDeviceService",
    "ndes.enable": "enableDeviceService",
    "ndes.disable": "disableDeviceService",
    "ndes.renew": "renewDeviceService",
    "ndes.remove": "removeDeviceService",
    "ndes.webhook_key": "makeWebhookKey",
    "ndes.challenge": "giveDeviceChallenge",
    "ndes.static_challenge": "renewStaticChallenge",
    "ndes.challenges": "listDeviceChallenges",
    "ndes.devices": "listDeviceRequests",
    "ndes.failures": "listDeviceFailures",
    "ndes.failure": "getDeviceFailure",
    "ndes_notices.notices": "listDeviceNotices",
    "directory.accounts": "listDirectoryAccounts getDirectory",
    "directory.landing": "getDirectory getActiveDirectory",
    "directory.entry": "getDirectoryEntry getPublication",
    "domain.examination": "examineActiveDirectory getEnrollmentPolicy",
    "domain.publish": "publishCa",
    "domain.unpublish": "unpublishCa",
    "directory.account": "getDirectoryAccount",
    "directory.groups": "listDirectoryGroups",
    "directory.group": "getDirectoryGroup",
    "directory.publish_service": "publishDirectoryEntry",
    "directory_changes.add": "addDirectoryAccount",
    "directory_changes.edit": "changeDirectoryAccount",
    "directory_changes.password": "setDirectoryPassword forgetNtHash",
    "directory_changes.enable": "enableDirectoryAccount",
    "directory_changes.add_group": "addDirectoryGroup",
    "directory_changes.add_member": "addDirectoryMember",
    "directory_changes.remove_member": "removeDirectoryMember",
    # CA properties
    "ca_properties.properties": (
        "getCaConfiguration describeCaSettings changeCaConfiguration listCaRoles grantCaRoles revokeCaRoles"
        " listCas getCa"
    ),
    "ca_properties.override": "overrideCaConfiguration grantCaRoles",
    # audit
    "audit.trail": "listAuditEvents",
    "audit.verify": "verifyAudit",
    "audit.export": "exportAudit",
}
"""The operations that do what a page shows or does."""

NO_OPERATION: Final[Mapping[str, str]] = {
    "account.theme": "how pages look is chosen by whoever looks at them",
    "account.own_password": "a person's own password takes the person; setPersonPassword sets it for them",
    "api.operations": "it is the page about the operations; /api/v1/openapi.json says the same",
    "frame.menu": "it is drawn around pages",
    "frame.columns": "which columns a list shows is chosen by whoever looks at it",
    "home.dismiss": "the checklist is hidden from pages of one account",
    "home.backup_made": "a tick on the checklist of one account: nothing else changes by it",
    "home.root_offline": "a tick on the checklist of one account: nothing else changes by it",
}
"""Pages that a program has nothing to ask of, and why."""

ROLES_DIFFER: Final[Mapping[str, str]] = {
    "home.home": "the page sends whoever has no dashboard elsewhere",
    "home.root_certificate": "a CA's certificate is no secret from who is signed in",
    "own_ca.use_this_ca": "several acts at once, each with its own roles behind the page",
    "new_request.new_request": "domains are listed for everybody who sees orders",
    "revocation.revocation": "a CRL is for everybody",
    "template_editor.edit": "one page looks and saves; saving asks the directory",
    "ca_properties.properties": "one page looks and saves; saving asks the CA",
    "ndes.challenge": "who enrolls devices by a program sees no page of the CA; the service asks about its right",
}
"""Pages whose roles are not those of all of their operations, and why."""

ASK_INSIDE: Final = frozenset({"template_editor.override", "ca_properties.override"})
"""Pages that ask for the password inside, so that nothing typed is lost."""
ACCEPTING: Final = frozenset({"grantCaRoles"})
"""Operations that ask for the scope only where a risk is accepted."""


def views() -> Iterator[tuple[str, Any]]:
    """Pages by module and function; the public ones of signing in are nobody's yet."""
    from django.urls import get_resolver

    found: dict[str, Any] = {}
    for pattern in get_resolver().url_patterns:
        view: Any = getattr(pattern, "callback", None)
        if view is not None and hasattr(view, "cw_roles"):
            found[f"{view.__module__.rpartition('.')[2]}.{view.__name__}"] = view
    yield from found.items()


def test_every_page_and_act_has_operations_or_a_reason() -> None:
    named = {name for name, _view in views()}
    assert sorted(named - OPERATIONS.keys() - NO_OPERATION.keys()) == []
    assert sorted((OPERATIONS.keys() | NO_OPERATION.keys()) - named) == [], "pages that are gone"
    assert sorted(OPERATIONS.keys() & NO_OPERATION.keys()) == []


def test_every_operation_that_is_named_exists_and_every_one_belongs_to_a_page() -> None:
    from certwright.console.api.permissions import PERMISSIONS

    named = {each for text in OPERATIONS.values() for each in text.split()}
    assert sorted(named - PERMISSIONS.keys()) == []
    assert sorted(PERMISSIONS.keys() - named) == []


def test_an_operation_is_for_the_roles_of_its_page() -> None:
    from certwright.console.api.permissions import PERMISSIONS

    differing = {
        name
        for name, view in views()
        for operation in OPERATIONS.get(name, "").split()
        if PERMISSIONS[operation].roles != view.cw_roles
    }
    assert sorted(differing) == sorted(ROLES_DIFFER)


def test_what_pages_ask_a_password_for_again_needs_a_scope_of_its_own() -> None:
    """Such a scope has to be asked for when the token is made, and a browser's session never has it."""
    from certwright.console.api.permissions import PERMISSIONS, TOKENS_ONLY

    for name, view in views():
        asks_again = hasattr(view, "cw_reauthenticated") or name in ASK_INSIDE
        for operation in OPERATIONS.get(name, "").split():
            if operation not in ACCEPTING:
                assert (PERMISSIONS[operation].scope in TOKENS_ONLY) is asks_again, f"{operation} and {name}"
