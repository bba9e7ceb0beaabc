r"""An installation in a domain: the domain's accounts by their names, our own few as `.\name`."""

from __future__ import annotations

from typing import cast

import pytest

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.requester import Sid
from certwright.directory.active_directory.administration import JoinedAdministration
from certwright.directory.active_directory.composite import JoinedDirectory
from certwright.directory.active_directory.directory import ActiveDirectory
from certwright.directory.active_directory.public_key_services import TemplateFinding
from certwright.directory.base import LogonFailure, LogonRefused, Principal
from tests.support.embedded_directory import NOW, PASSWORD, Installed
from tests.support.fake_directory import DOMAIN_SID, FakeDirectory, make_template, make_user


class Domain(FakeDirectory):
    """A domain with an alice, whose own Administrator is somebody else than ours."""

    def __init__(self) -> None:
        super().__init__([make_user("alice", 1103), make_user("Administrator", 500)], [make_template("User")])

    def findings(self) -> tuple[TemplateFinding, ...]:
        return (TemplateFinding("Broken", "flags is missing"),)

    def verify_password(self, name: str, password: str) -> Principal:
        principal = self.principal(name)
        if principal is None or password != "domain":
            raise LogonRefused(LogonFailure.WRONG_PASSWORD)
        return principal


@pytest.fixture
def joined(corp: Installed) -> JoinedDirectory:
    return JoinedDirectory(cast(ActiveDirectory, Domain()), corp.directory)


@pytest.fixture
def administration(corp: Installed, joined: JoinedDirectory) -> JoinedAdministration:
    return JoinedAdministration(corp.database, corp.sealer, lambda *_: None, lambda: NOW, joined)


def test_plain_names_are_the_domains_and_dotted_ones_our_own(joined: JoinedDirectory) -> None:
    """Both domains are called CORP here, and both have an Administrator."""
    ours = joined.principal(r".\Administrator")
    theirs = joined.principal("Administrator")
    assert ours is not None
    assert theirs is not None
    assert ours.account == r".\Administrator"
    assert theirs.account == r"CORP\Administrator" != ours.account
    assert ours.sid == f"{joined.local.domain.sid}-500" != theirs.sid
    assert joined.principal(ours.sid) == ours
    assert joined.principal(r".\alice") is None
    assert joined.domain.sid == DOMAIN_SID


def test_sids_of_both_have_names(joined: JoinedDirectory) -> None:
    ours = Sid(f"{joined.local.domain.sid}-500")
    theirs = Sid(f"{DOMAIN_SID}-1103")
    nobody = Sid(f"{joined.local.domain.sid}-9999")
    names = joined.sid_names(frozenset({ours, theirs, nobody}))
    assert names == {ours: r".\Administrator", theirs: r"CORP\alice"}


def test_password_is_checked_by_whoever_knows_the_account(joined: JoinedDirectory) -> None:
    assert joined.verify_password(r".\Administrator", PASSWORD).account == r".\Administrator"
    assert joined.verify_password("alice", "domain").account == r"CORP\alice"
    for name, password in ((r".\Administrator", "domain"), ("Administrator", PASSWORD), (r".\alice", "domain")):
        with pytest.raises(LogonRefused):
            joined.verify_password(name, password)


def test_no_domain_makes_anybody_a_member_of_our_own_groups(joined: JoinedDirectory) -> None:
    """As a sidHistory with the SID of our Domain Admins would, at every way to log on that asks the directory."""
    ours = Sid(f"{joined.local.domain.sid}-512")
    domain = cast(Domain, joined.active_directory)
    taken = make_user("mallory", 1666, groups=frozenset({ours, Sid(f"{DOMAIN_SID}-513")}))
    domain.put(taken)
    for found in (
        joined.principal("mallory"),
        joined.principal(taken.sid),
        joined.verify_password("mallory", "domain"),
    ):
        assert found is not None
        assert found.groups == {Sid(f"{DOMAIN_SID}-513")}


def test_hashes_are_those_of_our_own_accounts(joined: JoinedDirectory) -> None:
    assert joined.nt_hash(r".\Administrator")[0].account == r".\Administrator"
    with pytest.raises(LogonRefused) as refused:
        joined.nt_hash("alice")
    assert refused.value.reason is LogonFailure.NO_NTLM


def test_templates_are_the_domains(joined: JoinedDirectory, administration: JoinedAdministration) -> None:
    assert set(joined.templates()) == set(administration.templates()) == {"User"}
    assert administration.template("user").cn == "User"
    with pytest.raises(
        InvalidArgument, match="There is one in Active Directory that cannot be used: flags is missing"
    ):
        administration.template("broken")


def test_own_accounts_are_administered_as_ever(joined: JoinedDirectory, administration: JoinedAdministration) -> None:
    administration.add_account("robot", actor="x")
    found = joined.principal(r".\robot")
    assert found is not None
    assert found.account == r".\robot"
