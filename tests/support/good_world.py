"""A service whose good states are recorded: its life is told by hand, its files are real."""

import time
from pathlib import Path

from veilig.core.service import Inventory, Service
from veilig.providers.heal.good import GoodStates


class World:
    """A service whose life is told to the recorder by hand. The clock is ours, files are real."""

    def __init__(self, folder: Path, *others: Service, cmd: tuple[str, ...] = ("./run.sh",)) -> None:
        self.base = folder / "web"
        self.base.mkdir(parents=True)
        self.state = folder / "state"
        self.service = Service(
            "web",
            cmd=cmd,
            folder=str(self.base),
            config=(str(self.base / "config.json"),),
            log=(str(self.base / "logs/app.log"),),
            data=(str(self.base / "store.sql"),),
            pidfile=str(self.base / "web.pid"),
        )
        self.inventory = Inventory(str(folder / "services.json"), "", (self.service, *others))
        self.write("run.sh", "exec app", 0o755)
        self.write("config.json", '{"db": {"port": 5432}}')
        self.write("version", "v1")
        self.write("store.sql", "data")
        self.write("web.pid", "7")
        self.write("STOPPED_BY_OPERATOR", "")
        self.now_s, self.life = 1000.0, 0
        self.good = GoodStates(self.state, self.inventory, wall_s=lambda: time.time() + self.ahead_s)
        self.ahead_s = 0.0
        self.started_s = 0.0

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        path = self.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def start(self) -> None:
        """A new life, which begins a second after everything that was written until now."""
        self.life += 1
        self.ahead_s += 1.0
        self.now_s += 1.0
        self.started_s = self.now_s
        self.tell(well=False)

    def tell(self, *, well: bool) -> None:
        self.good.note(
            self.service, incarnation=str(self.life), started_s=self.started_s, now_s=self.now_s, well=well
        )

    def well_for(self, seconds: float) -> str:
        self.tell(well=True)
        self.now_s += seconds
        self.ahead_s += seconds
        self.tell(well=True)
        return self.good.digest(self.service)

    def changes(self) -> list[tuple[str, str, bool | None, str]]:
        found = self.good.changes(self.service)
        return sorted((Path(c.path).name, c.kind, c.valid, c.why) for c in found)

    def named(self) -> list[tuple[str, str, str]]:
        return [(c.path, c.after, c.before) for c in self.good.changes(self.service)]
