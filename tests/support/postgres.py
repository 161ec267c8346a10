"""A real PostgreSQL of our own for a while, with the roles that healing wants and one that cheats."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path


class NoPostgres(Exception):
    """Why none runs here, and what would help."""


def programs() -> Path:
    """The folder of initdb and pg_ctl, of the newest version. Raises NoPostgres."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    near = shutil.which("initdb")
    if not found and not near:
        raise NoPostgres("apt-get install postgresql")
    return found[-1].parent if found else Path(str(near)).parent


class Cluster:
    """A server behind a socket in `folder`, database `shop`; roles looker, actor and sneak (may write)."""

    def __init__(self, more: str = "", within: Sequence[str] = (), trusted: str = "") -> None:
        """more: lines of postgresql.conf that win over ours. within: what its commands are run by (nsenter).

        trusted: a network whose clients are let in.
        """
        self.within = list(within)
        self.bin = programs()
        self.folder = Path(tempfile.mkdtemp(prefix="vp-"))  # a socket's path has 108 bytes at most
        self.data, self.log = self.folder / "data", self.folder / "log"
        self.port = 5432
        self._user: str | None = None
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            self._user = "postgres" if _known("postgres") else "nobody"
            shutil.chown(self.folder, self._user)
        self.folder.chmod(0o755)
        try:
            self._tool("initdb", "-D", str(self.data), "-A", "trust", "-U", "boss", "--no-sync", "-E", "UTF8")
            settings = (
                f"listen_addresses = ''\nunix_socket_directories = '{self.folder}'\nfsync = off\n"
                "max_connections = 16\nsuperuser_reserved_connections = 3\nautovacuum = off\n"
                "stats_fetch_consistency = none\ndeadlock_timeout = '20s'\n"
            )
            with (self.data / "postgresql.conf").open("a") as conf:
                conf.write(settings + more)
            if trusted:
                with (self.data / "pg_hba.conf").open("a") as rules:
                    rules.write(f"host all all {trusted} trust\n")
            self.start()
        except NoPostgres:
            self.close()
            raise

    def argv(self, tool: str, *words: str) -> list[str]:
        """A command line that runs one of its programs as its user."""
        command = [str(self.bin / tool), *words]
        if self._user is None:
            return [*self.within, *command]
        group = str(pwd.getpwnam(self._user).pw_gid)
        return [*self.within, "setpriv", "--reuid", self._user, "--regid", group, "--clear-groups", *command]

    def _tool(self, tool: str, *words: str) -> None:
        done = subprocess.run(
            self.argv(tool, *words),
            cwd="/",
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            raise NoPostgres(f"{tool} ended with {done.returncode}: {done.stderr.strip()[-400:]}")

    def start(self) -> None:
        words = ("-D", str(self.data), "-l", str(self.log), "-w", "-t", "60")
        done = subprocess.run(
            self.argv("pg_ctl", "start", *words), cwd="/", check=False, stdout=subprocess.DEVNULL
        )
        if done.returncode != 0:
            raise NoPostgres(self.log.read_text()[-400:])

    def stop(self, mode: str = "fast") -> None:
        words = ("-D", str(self.data), "-m", mode, "-w", "-t", "60")
        subprocess.run(self.argv("pg_ctl", "stop", *words), cwd="/", check=False, stdout=subprocess.DEVNULL)

    def crash(self) -> None:
        """Kill the postmaster and everything of it."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        children = subprocess.run(["pgrep", "-P", str(pid)], check=False, capture_output=True, text=True)
        for one in (pid, *map(int, children.stdout.split())):
            subprocess.run(["kill", "-9", str(one)], check=False, stderr=subprocess.DEVNULL)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.02)

    def restart_now(self) -> None:
        """Stop without grace, and start again."""
        self.stop("immediate")
        self.start()

    @property
    def restart(self) -> list[str]:
        """What an operator writes as its `cmd`."""
        return self.argv("pg_ctl", "restart", "-D", str(self.data), "-l", str(self.log), "-m", "fast", "-w")

    def conninfo(self, role: str, database: str = "shop") -> str:
        return f"host={self.folder} port={self.port} user={role} dbname={database}"

    def sql(self, *statements: str, role: str = "boss", database: str = "shop") -> None:
        """Run each by itself, as this role."""
        for one in statements:
            words = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", one, self.conninfo(role, database)]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)

    def close(self) -> None:
        if (self.data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)


def shop(cluster: Cluster) -> None:
    """Tables, and roles as docs/how-to/heal-services.md makes them."""
    cluster.sql("CREATE DATABASE shop", database="postgres")
    cluster.sql(
        "CREATE TABLE orders (id int PRIMARY KEY, paid bool NOT NULL DEFAULT false)",
        "INSERT INTO orders SELECT i FROM generate_series(1, 1000) i",
        "CREATE TABLE touched (n int)",
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO touched VALUES (1); RETURN NULL; END $$",
        "CREATE TRIGGER each AFTER INSERT OR DELETE ON orders FOR EACH STATEMENT EXECUTE FUNCTION touch()",
        "CREATE ROLE looker LOGIN",
        "GRANT pg_monitor TO looker",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO looker",
        "CREATE ROLE actor LOGIN",
        "GRANT pg_signal_backend, pg_read_all_stats TO actor",
        "CREATE ROLE app LOGIN",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO app",
        "CREATE ROLE sneak LOGIN",
        "GRANT pg_monitor TO sneak",
        "GRANT SELECT, DELETE ON orders TO sneak",
        "ALTER ROLE sneak SET default_transaction_read_only = on",
    )


def _known(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
