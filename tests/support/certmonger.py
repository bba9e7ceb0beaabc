"""certmonger on a member of the lab's domain: a daemon of its own on a message bus of its own, as the machine's."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.support.lab import SCRIPT, Lab

PATIENCE: Final = 60.0
_DAEMON: Final = Path("/usr/sbin/certmonger")
_BUS: Final = Path("/usr/bin/dbus-daemon")
_GROUP_POLICY: Final = Path("/usr/sbin/samba-gpupdate")


_BUS_CONFIGURATION: Final = """<busconfig><type>system</type><listen>{address}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
</busconfig>
"""
"""A bus that starts no program by itself: another certmonger, which would keep its state in the home folder."""


class MemberCertmonger:
    """Commands run on the member; what they write there is below `state`.

    Args:
        helpers: a folder with certmonger's helpers, first in PATH.
    """

    def __init__(self, lab: Lab, member: str, folder: Path, helpers: Path) -> None:
        for program in (_DAEMON, _BUS, _GROUP_POLICY):
            if not program.exists():
                pytest.skip(f"{program.name} is not installed; run scripts/test-packages")
        if not any(Path("/lib").rglob("libnss_winbind.so.2")):
            pytest.skip("libnss-winbind is not installed, without which there is no group policy")
        self._lab = lab
        self.member = member
        self.state = lab.folder / "members" / member / "etc" / "state"
        self._folder = folder
        self._address = f"unix:path={folder}/bus"
        (folder / "bus.conf").write_text(_BUS_CONFIGURATION.format(address=self._address))
        self._environment = {
            **os.environ,
            "PATH": f"{helpers}:{os.environ['PATH']}:/usr/sbin",
            "DBUS_SYSTEM_BUS_ADDRESS": self._address,
            "DBUS_SESSION_BUS_ADDRESS": self._address,
        }
        self._log = (folder / "log").open("wb")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._start(str(_BUS), "--nofork", f"--config-file={folder}/bus.conf")
        self.until(lambda: (folder / "bus").exists(), "the bus answers")
        self._start_daemon()

    def _start_daemon(self) -> None:
        self._start(str(_DAEMON), "-S", "-n", "-d", "1")
        self.until(lambda: self.run("getcert", "list-cas", check=False)[0] == 0, "the daemon answers")

    def _start(self, *command: str) -> None:
        self._processes.append(
            subprocess.Popen(
                [str(SCRIPT), "mexec", str(self._lab.folder), self.member, *command],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env=self._environment,
                start_new_session=True,
            )
        )

    def close(self) -> None:
        """Each runs behind a shell: its whole group ends."""
        for process in reversed(self._processes):
            self._end(process)
        self._log.close()

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)

    def run(self, *command: str | Path, check: bool = True) -> tuple[int, str]:
        done = subprocess.run(
            [str(SCRIPT), "mexec", str(self._lab.folder), self.member, *map(str, command)],
            capture_output=True,
            text=True,
            timeout=180,
            env=self._environment,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}\n{self.log()}"
        return done.returncode, done.stdout + done.stderr

    def update_policy(self) -> str:
        """Group policy, as the machine."""
        return self.run("samba-gpupdate", "--force", "--target=Computer", "-P")[1]

    def request(self, ca: str, name: str, template: str, folder: Path, *more: str | Path) -> Path:
        certificate = folder / f"{name}.crt"
        self.run(
            *("getcert", "request", "-c", ca, "-I", name, "-T", template),
            *("-k", folder / f"{name}.key", "-f", certificate, *more),
        )
        return certificate

    def status(self, name: str) -> str:
        found = re.search(r"status: (\S+)", self.run("getcert", "list", "-i", name)[1])
        return found[1] if found else ""

    def awaited(self, name: str, *wanted: str) -> None:
        self.until(lambda: self.status(name) in wanted, f"{name} is {' or '.join(wanted)}")

    def until(self, happened: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not happened():
            if time.monotonic() > deadline:
                listed = self.run("getcert", "list", check=False)[1]
                raise AssertionError(f"not in time: {what}\n{listed}\n{self.log()}")
            time.sleep(0.2)

    def log(self) -> str:
        return (self._folder / "log").read_text("utf-8", "replace")[-4000:]
