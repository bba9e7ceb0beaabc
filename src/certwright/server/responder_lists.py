"""CRLs of CAs elsewhere: copied on the clock, and watched, so that people hear before answers end.

A list is copied when it was copied last so long ago as is set, when its CA meant to publish the next one, and every
few minutes while that fails. The first location that gives a list to answer from is enough. A server that says that
its list is the one that was copied last does not send it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import structlog

from certwright.adcs.errors import ConfigurationError
from certwright.adcs.events import LifecycleEvent, LifecycleKind
from certwright.connectors.fetching import NO_VALIDATORS, LocationError
from certwright.online_responder import store
from certwright.online_responder.configuration import SignedWith
from certwright.online_responder.lists import ListFacts, ListRefused, examine
from certwright.online_responder.partitions import Slot, located
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
            _copy_lists(installation, ca, now, partial(_is_due, ca=ca, now=now))


def copy_lists(installation: Installation, ca: CaElsewhere, now: datetime) -> list[str]:
    """Copy every list now; what went wrong, one sentence for each."""
    return _copy_lists(installation, ca, now, lambda _kept: True)


def _copy_lists(
    installation: Installation, ca: CaElsewhere, now: datetime, wanted: Callable[[StoredList | None], bool]
) -> list[str]:
    """Each list that is wanted, once. Whoever finds a partition that is new looks for the one that follows it."""
    problems: list[str] = []
    tried: set[Slot] = set()
    while True:
        kept = store.lists_of(installation.database, ca.ca_id)
        taken = taken_of(kept)
        sought = ca.sources.sought(taken)
        slots = [*ca.sources.slots(taken), *([sought] if sought is not None else [])]
        due = [slot for slot in slots if slot not in tried and wanted(kept.get(slot))]
        if not due:
            return problems
        for slot in due:
            tried.add(slot)
            problems += _copy(installation, ca, slot, kept.get(slot), now, is_sought=slot == sought)


def taken_of(kept: Mapping[Slot, StoredList]) -> Set[Slot]:
    """Of which there is a list."""
    return {slot for slot, each in kept.items() if each.facts is not None}


def _is_due(kept: StoredList | None, ca: CaElsewhere, now: datetime) -> bool:
    if kept is None:
        return True
    if kept.facts is None:
        is_absent = kept.absent_when is not None and not kept.error
        return now - kept.tried_when >= (ca.sources.refresh if is_absent else AGAIN)
    if kept.error or now >= kept.facts.warn_after:
        return now - kept.tried_when >= AGAIN
    published = kept.facts.next_publish
    if published is not None and kept.tried_when < published <= now:
        return True
    return now - kept.tried_when >= ca.sources.refresh


def _copy(
    installation: Installation,
    ca: CaElsewhere,
    slot: Slot,
    kept: StoredList | None,
    now: datetime,
    *,
    is_sought: bool,
) -> Iterator[str]:
    """Copy one list.

    Args:
        is_sought: it is a partition that may not be there yet.
    """
    ask = Reading(installation).ask
    urls = ca.sources.delta_crl_urls if slot.is_delta else ca.sources.crl_urls
    problems: list[str] = []
    absent = 0
    for url in (located(each, slot.partition) for each in urls):
        known = NO_VALIDATORS
        if kept is not None and kept.facts is not None and kept.url == url and kept.facts.next_update > now:
            known = kept.validators
        try:
            found = copy(url, ask, known)
            if found.is_same:
                store.note_same(installation.database, ca.ca_id, slot, now)
                return
            facts, entries = examine(
                found.body, ca.certificate, now, delta=slot.is_delta, scopes=ca.sources.all_scopes
            )
            if store.keep_list(
                installation.database, ca, slot, found.body, facts, entries, url, now, found.validators
            ):
                log.info("crl_copied", ca=ca.name, number=facts.number, entries=entries, url=url, **slot._asdict())
        except (LocationError, ListRefused) as error:
            problems.append(f"{url}: {error}")
            absent += isinstance(error, LocationError) and error.is_absent
            continue
        return
    if is_sought and urls and absent == len(urls):
        store.note_absence(installation.database, ca.ca_id, slot, now)
        return
    what = DELTA if slot.is_delta else BASE
    problem = "; ".join(problems) or "no location is set: certwright responder set crl-urls=URL"
    store.note_failure(installation.database, ca.ca_id, slot, now, problem)
    log.warning("crl_not_copied", ca=ca.name, what=what, partition=slot.partition, error=problem)
    yield f"the {what} of {_whose(ca, slot)}: {problem}"


def _whose(ca: CaElsewhere, slot: Slot) -> str:
    return f"{ca.name}, partition {slot.partition}" if ca.sources.partitions is not None else ca.name


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
    """One worry of each kind: of many partitions, about the one that is worst."""
    kept = store.lists_of(installation.database, ca.ca_id)
    taken = taken_of(kept)
    found = [_list_worry(ca, slot, kept, now) for slot in ca.sources.slots(taken)]
    sought = ca.sources.sought(taken)
    if sought is not None:
        found += _sought_worry(ca, sought, kept.get(sought))
    for what in (BASE, DELTA):
        of_kind = [worry for worry in found if worry.what == what]
        if of_kind:
            yield min(of_kind, key=_urgency)


def _urgency(worry: Worry) -> tuple[int, datetime]:
    order = (WorryState.DOWN, WorryState.WARNING, WorryState.OK)
    return order.index(worry.state), worry.until or datetime.min.replace(tzinfo=UTC)


def _list_worry(ca: CaElsewhere, slot: Slot, kept: Mapping[Slot, StoredList], now: datetime) -> Worry:
    base = kept.get(Slot(slot.partition, False))
    what = DELTA if slot.is_delta else BASE
    found = kept.get(slot)
    in_partitions = ca.sources.partitions is not None
    about = f"partition {slot.partition}: " if in_partitions else ""
    which = f"{slot.partition}." if in_partitions else ""
    if found is None or found.facts is None:
        state = WorryState.WARNING if slot.is_delta and base is not None and base.facts else WorryState.DOWN
        error = (found.error if found is not None else "") or "not copied yet"
        return Worry(ca.name, what, state, None, about + error, _identity(ca.name, what, f"{which}none", state))
    state = _list_state(found.facts, now)
    if slot.is_delta and _is_overtaken(found.facts, base) and state is WorryState.DOWN:
        state = WorryState.WARNING  # the base is newer: answers go on with it alone
    detail = found.error
    if in_partitions and (detail or state is not WorryState.OK):
        detail = about + (detail or f"its CRL holds until {found.facts.next_update:%Y-%m-%d %H:%M} UTC")
    identity = _identity(ca.name, what, f"{which}{found.facts.number}", state)
    return Worry(ca.name, what, state, found.facts.next_update, detail, identity)


def _sought_worry(ca: CaElsewhere, slot: Slot, found: StoredList | None) -> Iterator[Worry]:
    """That nobody knows whether there is another partition."""
    if found is None or not found.error:
        return
    state = WorryState.DOWN if found.absent_when is None else WorryState.WARNING
    detail = f"whether there is a partition {slot.partition} is not known: {found.error}"
    yield Worry(ca.name, BASE, state, None, detail, _identity(ca.name, BASE, f"{slot.partition}.sought", state))


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
