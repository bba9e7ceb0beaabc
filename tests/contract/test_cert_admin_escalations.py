"""What `CertAdmin` refuses of settings that would open an escalation, and how that is overridden."""

from __future__ import annotations

from typing import Final

import pytest

from certwright.adcs.errors import ConfigurationError, HResult
from tests.support.doors import Site
from tests.support.installation import ISSUING, People

DANGEROUS: Final[dict[str, dict[str, str]]] = {
    "ESC8 by allow": {"channel-binding": "allow"},
    "ESC8 by off": {"channel-binding": "off"},
    "ESC8 at CES": {"ntlm": "off", "negotiate": "off", "channel-binding": "allow", "enrollment-ntlm": "on"},
    "ESC7": {"security-descriptor": "O:BAG:BAD:(A;;0x1;;;BA)(A;;0x1;;;DU)(A;;0x200;;;AU)"},
    "ESC7 by officers": {"security-descriptor": "O:BAG:BAD:(A;;0xf;;;BA)(A;;0x202;;;AU)"},
}


@pytest.mark.parametrize("name", DANGEROUS)
def test_settings_that_open_an_escalation_are_refused(site: Site, name: str) -> None:
    admin = site.door.administer(People.ADMINISTRATOR)
    before = admin.configuration()

    with pytest.raises(ConfigurationError, match=f"{name.partition(' ')[0]}: .* Or override") as refused:
        admin.set_configuration(DANGEROUS[name] | {"crl-period": "2 days"})

    assert refused.value.status is HResult.E_INVALIDARG
    assert admin.configuration() == before


def test_an_override_names_the_escalation_and_its_reason_and_is_audited(own: Site) -> None:
    admin = own.door.administer(People.CA_ADMINISTRATOR)
    for wrong, words in ((("ESC7",), "ESC8"), (("ESC1",), "no escalation that a CA's settings open")):
        with pytest.raises(ConfigurationError, match=words):
            admin.set_configuration({"channel-binding": "allow"}, override=wrong, reason="an old client")
    with pytest.raises(ConfigurationError, match="needs its reason"):
        admin.set_configuration({"channel-binding": "allow"}, override=["ESC8"])

    admin.set_configuration({"channel-binding": "allow"}, override=["esc8"], reason="an old client")

    settings = admin.configuration()
    assert (settings["channel-binding"], settings["overrides"]) == ("allow", "ESC8")
    events = {event.details["key"]: event.details for event in own.installation.audit.events(ca=ISSUING, limit=2)}
    assert events.keys() == {"channel-binding", "overrides"}
    assert all((each["override"], each["reason"]) == ("ESC8", "an old client") for each in events.values())


def test_an_override_ends_with_what_it_was_for(own: Site) -> None:
    admin = own.door.administer(People.CA_ADMINISTRATOR)
    admin.set_configuration({"channel-binding": "allow"}, override=["ESC8"], reason="an old client")

    admin.set_configuration({"crl-period": "2 days"})
    meanwhile = admin.configuration()["overrides"]
    with pytest.raises(ConfigurationError, match="channel binding is off"):
        admin.set_configuration({"channel-binding": "off"})  # worse than what was accepted
    admin.set_configuration({"channel-binding": "require"})

    assert meanwhile == "ESC8"
    assert admin.configuration()["overrides"] == ""


def test_an_override_is_not_set_by_hand(site: Site) -> None:
    with pytest.raises(ConfigurationError, match="overrides: it is written when"):
        site.door.administer(People.CA_ADMINISTRATOR).set_configuration({"overrides": "ESC8"})


def test_relaying_needs_a_mechanism_that_can_be_relayed(own: Site) -> None:
    """Basic inside TLS cannot: nothing is refused where it is the only one."""
    admin = own.door.administer(People.CA_ADMINISTRATOR)

    admin.set_configuration({"channel-binding": "off", "ntlm": "off", "negotiate": "off"})
    with pytest.raises(ConfigurationError, match="offers NTLM"):
        admin.set_configuration({"ntlm": "on"})

    assert admin.configuration()["channel-binding"] == "off"
