"""The manager's commands: their choices are the manager's own, and names find what they name."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import pytest
from typer.testing import CliRunner

from certwright.adcs.errors import InvalidArgument
from certwright.cli import inventory, notifications, orders, services
from certwright.cli.application import application
from certwright.cli.managing import chosen
from certwright.connectors.service import AuthScheme
from certwright.manager.inventory_values import CertificateStatus
from certwright.manager.values import OrderFilter, RenewalKey
from certwright.notifications.values import DeliveryState, MailSecurity


@pytest.mark.parametrize(
    "words",
    [
        ("device-user",),
        ("service",),
        ("order",),
        ("inventory",),
        ("renewal", "rule"),
        ("notification",),
        ("notification", "channel"),
        ("notification", "rule"),
        ("order", "new"),
        ("service", "add"),
        ("inventory", "export"),
        ("notification", "channel", "add-webhook"),
    ],
)
def test_every_noun_and_verb_explains_itself(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(application, [*words, "--help"])

    assert done.exit_code == 0
    assert "Usage:" in done.output


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (orders.TabChoice, OrderFilter),
        (services.SchemeChoice, AuthScheme),
        (inventory.StatusChoice, CertificateStatus),
        (inventory.RenewalKeyChoice, RenewalKey),
        (notifications.SecurityChoice, MailSecurity),
    ],
)
def test_choices_are_those_of_the_room(ours: type[StrEnum], theirs: type[StrEnum]) -> None:
    assert [each.value for each in ours] == [each.value for each in theirs]


def test_the_states_of_a_delivery_are_all_on_offer() -> None:
    assert [each.name for each in notifications.StateChoice] == [each.name for each in DeliveryState]


@pytest.mark.parametrize("words", [("device-user", "add", "x"), ("notification", "channel", "add-webhook", "x")])
def test_a_secret_is_never_an_argument(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(application, [*words, "--secret", "seen by everybody"])

    assert done.exit_code == 2


@dataclass
class Fields:
    title: str


@dataclass
class Thing:
    id: int
    name: str
    fields: Fields


THINGS = (Thing(1, "Web", Fields("one")), Thing(2, "web", Fields("two")), Thing(3, "Mail", Fields("three")))


@pytest.mark.parametrize(("text", "number"), [("3", 3), ("mail", 3), ("TWO", 2)])
def test_a_thing_is_found_by_number_or_name(text: str, number: int) -> None:
    assert chosen(text, THINGS, "thing", "name", "fields.title").id == number


@pytest.mark.parametrize(("text", "sentence"), [("4", "no thing"), ("nobody", "no thing"), ("WEB", "1, 2")])
def test_what_names_nothing_or_too_much_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InvalidArgument, match=sentence):
        chosen(text, THINGS, "thing", "name", "fields.title")
