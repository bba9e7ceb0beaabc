"""CRLs of CAs elsewhere: copied on the clock, and watched, so that people hear before answers end.

A list is copied when it was copied last so long ago as is set, when its CA meant to publish the next one, and every
few minutes while that fails. The first location that gives a list to answer from is enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog

from certwright.adcs.errors import ConfigurationError
from certwright.adcs.events import LifecycleEvent, LifecycleKind
from certwright.connectors.fetching import LocationError
from certwright.online_responder import store
from certwright.online_responder.configuration import SignedWith
from certwright.online_responder.lists import ListFacts, ListRefused, examine
from certwright.online_responder.service import BASE, DELTA, SIGNER, Worry, WorryState
from certwright.online_responder.signing import SigningCertificate, chosen_place, door_place
from certwright.online_responder.sources import CaElsewhere, copy
from certwright.online_responder.store import StoredConfiguration, StoredList
from certwright.server.composition import Installation
from certwright.server.locations import Reading

log = structlog.get_logger(__name__)

AGAIN: Final = timedelta(minutes=2)
"""After a failure, and when a list is about to end."""


# -- copying ---------------------------------------------------------------------------------------------------------


def copy_due(installation: Installation, now: datetime) -> None:
    """Copy what is due, of every CA elsewhere that is answered for; one that fails keeps no other from it."""
    configurations = installation.revocation_configurations
    enabled = {each.ca for each in configurations.all() if each.enabled}
    for ca in configurations.elsewhere():
        if ca.name in enabled:
            kept = store.lists_of(installation.database, ca.ca_id)
            due = [kind for kind in kinds(ca) if _is_due(kept.get((ca.ca_id, kind)), ca, now)]
            copy_lists(installation, ca, now, due)


def kinds(ca: CaElsewhere) -> tuple[bool, ...]:
    """Which lists the CA is to have: base, and delta (True) where it makes one."""
    return (False, True) if ca.sources.delta_crl_urls else (False,)


def _is_due(kept: StoredList | None, ca: CaElsewhere, now: datetime) -> bool:
    if kept is None or kept.taken_when is None or kept.facts is None:
        return kept is None or now - kept.tried_when >= AGAIN
    if kept.error or now >= kept.facts.warn_after:
        return now - kept.tried_when >= AGAIN
    published = kept.facts.next_publish
    if published is not None and kept.tried_when < published <= now:
        return True
    return now - kept.tried_when >= ca.sources.refresh


def copy_lists(installation: Installation, ca: CaElsewhere, now: datetime, which: Sequence[bool]) -> list[str]:
    """Copy lists now; what went wrong, one sentence for each list."""
    return [problem for is_delta in which if (problem := _copy(installation, ca, is_delta, now))]


def _copy(installation: Installation, ca: CaElsewhere, is_delta: bool, now: datetime) -> str:
    fetch = Reading(installation).fetch
    urls = ca.sources.delta_crl_urls if is_delta else ca.sources.crl_urls
    problems: list[str] = []
    for url in urls:
        try:
            data = copy(url, fetch)
            facts, entries = examine(data, ca.certificate, now, delta=is_delta, scopes=ca.sources.scopes)
            if store.keep_list(installation.database, ca, data, facts, entries, url, now):
                log.info("crl_copied", ca=ca.name, number=facts.number, delta=is_delta, entries=entries, url=url)
        except (LocationError, ListRefused) as error:
            problems.append(f"{url}: {error}")
            continue
        return ""
    what = DELTA if is_delta else BASE
    problem = "; ".join(problems) or "no location is set: certwright responder set crl-urls=URL"
    store.note_failure(installation.database, ca.ca_id, is_delta, now, problem)
    log.warning("crl_not_copied", ca=ca.name, what=what, error=problem)
    return f"the {what} of {ca.name}: {problem}"


# -- watching --------------------------------------------------------------------------------------------------------


def worries(installation: Installation, now: datetime) -> list[Worry]:
    """What the answers of everything that is enabled depend on and that ends by itself."""
    configurations = installation.revocation_configurations
    enabled = {each.ca: each for each in configurations.all() if each.enabled}
    found: list[Worry] = []
    for ca in configurations.elsewhere():
        if ca.name in enabled:
            found += _lists(installation, ca, now)
            found.append(_signer(installation, ca.name, ca.signer_place, now))
    for record in installation.records():
        stored = enabled.get(record.name)
        place = "" if stored is None else signer_place(record.ca_id, stored)
        if place:
            found.append(_signer(installation, record.name, place, now))
    return found


def signer_place(ca_id: int, stored: StoredConfiguration) -> str:
    """Where the signing certificates of one of our CAs are; empty where its own key signs."""
    match stored.configuration.signed_with:
        case SignedWith.CERTIFICATE:
            return door_place(ca_id)
        case SignedWith.CHOSEN:
            return chosen_place(ca_id)
        case SignedWith.CA_KEY:
            return ""


def _lists(installation: Installation, ca: CaElsewhere, now: datetime) -> Iterator[Worry]:
    kept = store.lists_of(installation.database, ca.ca_id)
    base = kept.get((ca.ca_id, False))
    for is_delta in kinds(ca):
        what = DELTA if is_delta else BASE
        found = kept.get((ca.ca_id, is_delta))
        if found is None or found.facts is None:
            state = WorryState.WARNING if is_delta and base is not None and base.facts else WorryState.DOWN
            error = found.error if found is not None else ""
            yield Worry(
                ca.name, what, state, None, error or "not copied yet", _identity(ca.name, what, "none", state)
            )
            continue
        state = _list_state(found.facts, now)
        if is_delta and _is_overtaken(found.facts, base) and state is WorryState.DOWN:
            state = WorryState.WARNING  # the base is newer: answers go on with it alone
        yield Worry(
            ca.name,
            what,
            state,
            found.facts.next_update,
            found.error,
            _identity(ca.name, what, str(found.facts.number), state),
        )


def _is_overtaken(delta: ListFacts, base: StoredList | None) -> bool:
    if base is None or base.facts is None or base.facts.number is None or delta.number is None:
        return False
    return base.facts.number > delta.number


def _list_state(facts: ListFacts, now: datetime) -> WorryState:
    if facts.next_update <= now:
        return WorryState.DOWN
    return WorryState.WARNING if facts.warn_after <= now else WorryState.OK


def _signer(installation: Installation, ca: str, place: str, now: datetime) -> Worry:
    try:
        current = installation.signing_certificates.current(place)
    except ConfigurationError as error:
        return Worry(ca, SIGNER, WorryState.DOWN, None, error.message, _identity(ca, SIGNER, "damaged", "down"))
    if current is None:
        return Worry(ca, SIGNER, WorryState.DOWN, None, "there is none", _identity(ca, SIGNER, "none", "down"))
    state = _signer_state(current, now)
    return Worry(
        ca, SIGNER, state, current.view.not_after, "", _identity(ca, SIGNER, current.view.serial_number, state)
    )


def _signer_state(current: SigningCertificate, now: datetime) -> WorryState:
    if current.view.not_after <= now:
        return WorryState.DOWN
    return WorryState.WARNING if current.remind_after <= now else WorryState.OK


def _identity(ca: str, what: str, which: str, state: str) -> str:
    return f"responder/{ca}/{what}/{which}/{state}"


def tell_of_ending_answers(installation: Installation, now: datetime) -> None:
    """Tell people once, and the log as often as this is looked at: before answers end, and when they have."""
    for worry in worries(installation, now):
        if worry.state is WorryState.OK:
            continue
        until = worry.until.isoformat() if worry.until is not None else ""
        tell = log.error if worry.state is WorryState.DOWN else log.warning
        tell("answers_end", ca=worry.ca, what=worry.what, state=str(worry.state), until=until, error=worry.detail)
        facts: dict[str, str | int] = {"ca": worry.ca, "what": worry.what, "state": str(worry.state)}
        installation.notifications.notify(
            LifecycleEvent(
                LifecycleKind.ANSWERS_ENDING,
                worry.ca,
                now,
                worry.identity,
                facts | {"until": until, "error": worry.detail},
            )
        )
