"""The life of a process: `run` (everything), `serve` (listeners and issuers), `worker` (timed duties).

Order of a start: locks, installation, sockets, issuer threads, listeners, the ready line, timed duties. A stop takes
nothing new, finishes what was acknowledged or is under way, and ends in the opposite order.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import structlog

from certwright.adcs.errors import AdcsError, ConfigurationError
from certwright.adcs.events import AuditEvent
from certwright.server import logs
from certwright.server.composition import SYSTEM, Installation
from certwright.server.duties import outward_duties, own_duties
from certwright.server.home import Home
from certwright.server.listeners import BoundSockets
from certwright.server.serving import Serving
from certwright.server.worker import Worker

log = structlog.get_logger(__name__)

COLLECTED_EVERY: Final = 50_000
"""Objects made and not yet gone, before cycles among them are looked for."""


def run(
    folder: Path,
    *,
    bind: Sequence[str] = (),
    with_worker: bool = True,
    ready: Callable[[Home], None] = lambda _: None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        bind: addresses instead of those in certwright.toml.
        with_worker: do the timed duties too (`run`), or leave them to another process (`serve`).
        ready: called once every listener answers.

    Raises:
        ConfigurationError: something keeps it from starting; the sentence says what to change.
    """
    home = Home.open(folder)
    logs.configure(home.settings.log_level, home.settings.log_format)
    with ExitStack() as stack:
        stack.enter_context(home.locked("serve"))
        if with_worker:
            stack.enter_context(home.locked("worker"))
        installation = stack.enter_context(Installation.open(home, upgrade=True))
        _demand_signing(installation)
        sockets = BoundSockets(home.settings, bind)
        stack.callback(sockets.close)
        installation.start()
        _audit(installation, AuditEvent.SERVICE_STARTED)
        stack.callback(_audit, installation, AuditEvent.SERVICE_STOPPED)
        _recover_orders(installation)
        workers = _workers(installation) if with_worker else ()
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(installation, sockets, workers, lambda: ready(home)))
    log.info("stopped")


async def _serve(
    installation: Installation, sockets: BoundSockets, workers: Sequence[Worker], ready: Callable[[], None]
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    serving = Serving(installation, sockets)
    if hasattr(signal, "SIGHUP"):  # not on Windows
        loop.add_signal_handler(signal.SIGHUP, serving.look_again)
    await serving.start()
    settings = installation.home.settings
    log.info(
        "started",
        hostname=settings.hostname,
        addresses=[*sockets.addresses],
        https_port=settings.https_port,
        http_port=settings.http_port,
    )
    spare_the_collector()
    ready()
    for worker in workers:
        worker.start()
    await stop.wait()
    log.info("stopping")
    await serving.stop()
    await asyncio.gather(*(asyncio.to_thread(worker.stop) for worker in workers))


def run_worker(folder: Path, ready: Callable[[Home], None] = lambda _: None) -> None:
    """Do the timed duties until SIGTERM or SIGINT. Raises as `run`."""
    home = Home.open(folder)
    logs.configure(home.settings.log_level, home.settings.log_format)
    with home.locked("worker"), Installation.open(home, upgrade=True) as installation:
        workers = _workers(installation)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        for worker in workers:
            worker.start()
        log.info("started", duties="worker")
        ready(home)
        while not stop.wait(3600.0):  # with a timeout, so that signals are seen on every platform
            pass
        log.info("stopping")
        for worker in workers:
            worker.ask_to_stop()
        for worker in workers:
            worker.stop()
    log.info("stopped")


def _workers(installation: Installation) -> Sequence[Worker]:
    """Two threads: a mail server that does not answer holds up no CRL."""
    return (
        Worker(own_duties(installation), installation.clock, "worker"),
        Worker(outward_duties(installation), installation.clock, "outward worker"),
    )


def _recover_orders(installation: Installation) -> None:
    """Orders that a crash left half sent become *lost* at once, and are looked for.

    With SQLite there is one server; with PostgreSQL another one may be sending, so the lease of each order decides.
    """
    alone = installation.database.dialect == "sqlite"
    recovered = installation.manager.orders.recover(actor=SYSTEM, everything=alone)
    if recovered:
        log.warning("orders_recovered", orders=[*recovered])


def spare_the_collector() -> None:
    """Let the garbage collector look less often, and never again at what was loaded for good.

    What a request makes goes away by reference counts; looking for cycles after every 700 objects took about
    3 % of the CPU of a P-256 certificate.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTED_EVERY)


def _demand_signing(installation: Installation) -> None:
    """A CA that cannot sign is found at the start, not at the first request.

    Raises:
        ConfigurationError: there is no issuing CA, its key is missing or offline, or a setting is wrong.
    """
    if not installation.cas:
        raise ConfigurationError(f"{installation.home.folder} holds no CA; make a new home with: certwright init")
    ca = installation.ca()
    try:
        ca.authority.generations.current()
    except AdcsError as error:
        raise ConfigurationError(f"the CA {ca.authority.name} cannot issue: {error.message}") from error


def _audit(installation: Installation, event: AuditEvent) -> None:
    """Service start and stop, in every CA's chain."""
    for ca in installation.cas:
        try:
            with ca.authority.transaction() as transaction:
                ca.authority.audit(transaction, event, installation.clock(), SYSTEM)
        except AdcsError as error:
            log.error("audit_event_lost", audit_event=event.name, ca=ca.authority.name, error=error.message)


def _loop_factory() -> Callable[[], Any] | None:
    """uvloop, where there is one (not on Windows)."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
