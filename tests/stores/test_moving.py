"""Does a ledger arrive as it left, once, whatever happens on the way? And is what was erased gone?"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger_conformance import note
from postgres import NoPostgres
from server_ledger import Server
from veilig.cli.main import main
from veilig.core.errors import LedgerError, LedgerTampered
from veilig.core.ledger import Draft, Ledger
from veilig.core.ledger_erase import Chosen, choose, erase, older_than
from veilig.core.ledger_proof import verify_export, verify_inclusion
from veilig.core.ledger_verify import Verified, verify_store
from veilig.stores import moving
from veilig.stores.address import Address
from veilig.stores.moving import move
from veilig.stores.opening import looks, open_ledger, places_at

pytestmark = pytest.mark.outside_gate


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    try:
        found = Server()
    except NoPostgres as error:
        pytest.skip(f"no PostgreSQL here: {error}")
    try:
        yield found
    finally:
        found.close()


def check(place: Path | Address, anchors: Path) -> Verified:
    return verify_store(looks(place), places_at(place, anchors))


def fill(ledger: Ledger) -> None:
    ledger.lease("s1", "worker-1")
    ledger.append([note(n, text="naïve ☂ \u0000", f=0.1) for n in range(20)])
    ledger.append(
        [note(20, budget_keys=["k"], claims=["c"]), Draft("session.ended", "s1", {"state": "done"})]
    )
    ledger.checkpoint()


def test_a_ledger_goes_to_a_database_and_back_with_every_byte(server: Server, tmp_path: Path):
    anchors, path, back = tmp_path / "anchors", tmp_path / "a.db", tmp_path / "b.db"
    with Ledger.open(path, anchor_dir=anchors) as ledger:
        fill(ledger)
        events = list(ledger.events())
        with pytest.raises(LedgerError, match="is in use"):
            move(path, server.address(server.org(), "keeper"), anchors)
    there = server.address(server.org(), "keeper")
    assert (move(path, there, anchors).copied, check(there, anchors).events) == (24, 24)
    with pytest.raises(LedgerError, match="was moved to postgresql://keeper@"):
        Ledger.open(path, anchor_dir=anchors)
    with open_ledger(there, anchor_dir=anchors) as ledger:
        assert list(ledger.events()) == events
        assert ledger.transact(lambda tx: (tx.count("k", 0), tx.claimed("c"), tx.leased("s1"))) == (
            1,
            True,
            1,
        )
        ledger.append([note(21)])
        with pytest.raises(LedgerError, match="is in use"):
            move(there, back, anchors)
    assert move(there, back, anchors).events == 25
    with Ledger.open(back, anchor_dir=anchors) as ledger:
        assert list(ledger.events(limit=24)) == events
        ledger.append([note(22)])
    assert check(back, anchors).events == 26
    with pytest.raises(LedgerError, match="was moved to"):
        open_ledger(there, anchor_dir=anchors)
    with pytest.raises(LedgerError, match="there is a file at"):
        move(back, path, anchors)


@pytest.mark.parametrize("where", ["add", "finish"])
@pytest.mark.parametrize("to_server", [True, False], ids=["to a server", "to a file"])
def test_a_move_that_was_interrupted_is_taken_up_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, to_server: bool
):
    anchors, path = tmp_path / "anchors", tmp_path / "a.db"
    here, there = server.address(server.org(), "keeper"), server.address(server.org(), "keeper")
    source, target = (path, there) if to_server else (here, tmp_path / "b.db")
    with open_ledger(source, anchor_dir=anchors) as ledger:
        fill(ledger)
    monkeypatch.setattr(moving, "ROWS", 5)
    kind = moving._ServerTarget if to_server else moving._FileTarget
    real, calls = getattr(kind, where), list[int]()

    def dies(self: object, *given: object) -> None:
        calls.append(1)
        if len(calls) == (3 if where == "add" else 1):
            raise KeyboardInterrupt
        real(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(kind, where, dies)
        with pytest.raises(KeyboardInterrupt):
            move(source, target, anchors)
    if to_server:
        with pytest.raises(LedgerError, match="is being moved here"):
            open_ledger(target, anchor_dir=anchors)
    assert move(source, target, anchors).copied == (14 if where == "add" else 0)
    assert check(target, anchors).events == 24


@pytest.mark.parametrize("on_server", [True, False], ids=["server", "file"])
def test_an_erased_body_is_gone_and_every_proof_still_holds(server: Server, tmp_path: Path, on_server: bool):
    anchors = tmp_path / "anchors"
    org = server.org()
    place = server.address(org, "keeper") if on_server else tmp_path / "l.db"
    with open_ledger(place, anchor_dir=anchors) as ledger:
        fill(ledger)
        ledger.append([note(1, "open", text="needed"), Draft("session.started", "open", {})])
        proof = ledger.prove(3)
        assert choose(ledger, "open").why
        with pytest.raises(LedgerError, match="may be erased"):
            erase(ledger, choose(ledger, "open"), actor="ann", reason="r")
        chosen = choose(ledger, "s1")
        late = Chosen("s1", chosen.seqs, chosen.kept, chosen.last_seq - 1)
        with pytest.raises(LedgerError, match="went on meanwhile"):
            erase(ledger, late, actor="ann", reason="r")
        done = erase(ledger, chosen, actor="ann", reason="asked for by its owner")
        assert (done.bodies, done.kept) == (21, 2)  # the lease and the counted act stay
        assert [e.body.get("n") for e in ledger.events("s1", names=["action.proposed"])] == [20]
        assert [e.erased for e in ledger.events("s1", erased=True)].count(True) == 21
        assert verify_inclusion(proof.leaf, 3, proof.size, proof.path, proof.root)
        assert verify_export(list(ledger.export("s1"))).events[1].erased
        told = next(ledger.events(names=["ledger.erased"])).body
        assert (told["actor"], told["ranges"]) == ("ann", [[2, 21], [23, 23]])
        assert older_than(ledger, 1) == []
        assert choose(ledger, "s1").seqs == ()
    assert any("21 bodies were erased" in w for w in check(place, anchors).warnings)
    if not on_server:
        assert "naïve" not in (tmp_path / "l.db").read_bytes().decode(errors="replace")
        return
    with pytest.raises(LedgerError, match="the role may not"), server.open(org, tmp_path / "x") as ledger:
        ledger.append([Draft("session.ended", "open", {"state": "done"})])
        erase(ledger, choose(ledger, "open"), actor="ann", reason="r")  # a worker's role may not
    assert isinstance(place, Address)
    server.sql(f"UPDATE veilig.events SET body = '', salt = sha256('x') WHERE org = '{org}' AND seq = 22")
    with pytest.raises(LedgerTampered, match="event 22"):
        check(place, anchors)


def test_the_terminal_prepares_moves_reads_and_erases(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("VEILIG_HOME", str(home))
    started = {"kind": "audit", "actor": "agent:a", "source": "/secret-place", "options": {}, "policy": "p"}
    with Ledger.open(home / "ledger.db", anchor_dir=home / "anchors") as ledger:
        ledger.append([Draft("session.started", "audit-1", {**started, "veilig": "0"})])
        ledger.append([Draft("session.ended", "audit-1", {"state": "done", "summary": "", "result": {}})])
    org = "by-hand"
    owner, place = (server.address(org, role) for role in ("boss", "keeper"))

    def veilig(*words: str) -> tuple[int, str]:
        code = main(["ledger", *words])
        found = capsys.readouterr()
        return code, found.out + found.err

    code, said = veilig("prepare", f"{owner}", "--worker", "worker", "--keeper", "keeper", "--bound")
    assert code == 0
    assert "organisation by-hand has an empty ledger" in said
    assert veilig("move", str(home / "ledger.db"), str(place))[0] == 0
    code, said = veilig("verify")
    assert (code, "was moved to" in said) == (4, True)
    monkeypatch.setenv("VEILIG_LEDGER", str(place))
    code, said = veilig("verify")
    assert (code, "verified" in said) == (0, True), said
    assert "/secret-place" in veilig("show", "audit-1")[1]
    assert veilig("prove", "1")[0] == 0
    code, said = veilig("erase", "--session", "audit-1", "--reason", "asked for")
    assert (code, "erased  audit-1: 2 bodies; 0 stay" in said) == (0, True), said
    code, said = veilig("show", "--json")
    assert "/secret-place" not in said
    assert '"ledger.erased"' in said
    assert '"ledger.moved"' in said
    assert veilig("verify")[0] == 0
    monkeypatch.delenv("VEILIG_LEDGER")
    code, said = veilig("erase", "--before", "1d", "--reason", "old")
    assert (code, "was moved to" in said) == (4, True)
