"""Two real network namespaces with one link between them, which can be taken down."""

import os
import shutil
import subprocess


class NoNamespaces(Exception):
    """Why none can be made here."""


class Link:
    """A pair of namespaces, 10.99.0.1 in the first and 10.99.0.2 in the second; each is held by a process."""

    network = "10.99.0.0/24"

    def __init__(self) -> None:
        self._holders: list[subprocess.Popen[bytes]] = []
        if os.getuid() != 0 or not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
            raise NoNamespaces("this takes root, and unshare, nsenter and ip")
        try:
            one, two = self._holder(), self._holder()
            self._ip("link", "add", "v0", "netns", one, "type", "veth", "peer", "name", "v0", "netns", two)
            for which in (0, 1):
                self.ip(which, "addr", "add", f"{self.host(which)}/24", "dev", "v0")
                self.ip(which, "link", "set", "v0", "up")
                self.ip(which, "link", "set", "lo", "up")
        except (OSError, subprocess.SubprocessError) as error:
            self.close()
            raise NoNamespaces(f"the kernel refused them: {error}") from error

    def host(self, which: int) -> str:
        return f"10.99.0.{which + 1}"

    def within(self, which: int) -> list[str]:
        """What runs a command there."""
        return ["nsenter", "-t", str(self._holders[which].pid), "-n", "--"]

    def ip(self, which: int, *words: str) -> None:
        subprocess.run([*self.within(which), "ip", *words], check=True, capture_output=True)

    def cut(self) -> None:
        """From now on every packet is lost, and no connection is told."""
        self.ip(0, "link", "set", "v0", "down")

    def mend(self) -> None:
        self.ip(0, "link", "set", "v0", "up")

    def close(self) -> None:
        for holder in self._holders:
            holder.kill()
            holder.wait()
            if holder.stdout is not None:
                holder.stdout.close()

    def _holder(self) -> str:
        words = ["unshare", "-n", "sh", "-c", "echo; exec sleep infinity"]
        made = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self._holders.append(made)
        assert made.stdout is not None
        if not made.stdout.readline():
            raise OSError("unshare -n ended")
        return str(made.pid)

    def _ip(self, *words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)
