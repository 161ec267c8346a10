"""Accounts: passwords are hashed, guesses are slowed, cookies end."""

import stat
import time
from pathlib import Path

import pytest

from veilig.collab.accounts import GUESS_S, GUESSES, LOGIN_S, Accounts
from veilig.collab.roles import Refused, Role
from veilig.core.errors import UsageError

GOOD = "correct-horse-battery-9"


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accounts(tmp_path: Path, clock: Clock) -> Accounts:
    made = Accounts(tmp_path / "people.db", clock)
    made.add("ann", "Ann", Role.DRIVER, password=GOOD)
    return made


def test_the_right_password_signs_in_and_the_file_does_not_hold_it(
    accounts: Accounts, tmp_path: Path
) -> None:
    assert accounts.sign_in("ann", GOOD, "here").role is Role.DRIVER
    content = (tmp_path / "people.db").read_bytes()
    assert GOOD.encode() not in content
    assert b"$argon2id$" in content
    assert stat.S_IMODE((tmp_path / "people.db").stat().st_mode) == 0o600


@pytest.mark.parametrize(("name", "password"), [("ann", GOOD + "x"), ("nobody", GOOD), ("", ""), ("ann", "")])
def test_anything_else_does_not_and_says_the_same(accounts: Accounts, name: str, password: str) -> None:
    with pytest.raises(Refused) as error:
        accounts.sign_in(name, password, "here")
    assert (error.value.status, error.value.what) == (401, "the name or the password is wrong")


def test_guessing_is_stopped_at_the_fifth_and_forgiven_after_a_while(
    accounts: Accounts, clock: Clock
) -> None:
    for _ in range(GUESSES):
        with pytest.raises(Refused) as error:
            accounts.sign_in("ann", "wrong-wrong-wrong", "here")
        assert error.value.status == 401
    with pytest.raises(Refused) as error:
        accounts.sign_in("ann", GOOD, "elsewhere")
    assert error.value.status == 429
    clock.now += GUESS_S
    assert accounts.sign_in("ann", GOOD, "here").id == "ann"


def test_a_cookie_ends_with_its_time_its_sign_out_its_account_and_a_new_password(
    accounts: Accounts, clock: Clock
) -> None:
    ann = accounts.sign_in("ann", GOOD, "here")
    cookie, login = accounts.log_in(ann, "password")
    found = accounts.login(cookie)
    assert found is not None
    assert found.person == ann
    assert found.csrf == login.csrf
    assert accounts.login(cookie + "x") is None
    clock.now += LOGIN_S - 1
    assert accounts.login(cookie) is not None
    clock.now += 1
    assert accounts.login(cookie) is None
    cookie, login = accounts.log_in(ann, "password")
    accounts.log_out(login)
    assert accounts.login(cookie) is None
    for change in ({"active": False}, {"active": True, "password": "another-good-pass-1"}):
        cookie, _ = accounts.log_in(ann, "password")
        accounts.change("ann", **change)  # type: ignore[arg-type]
        assert accounts.login(cookie) is None


@pytest.mark.parametrize("password", ["short", "a" * 12, "x" * 2000])
def test_a_poor_password_is_refused(accounts: Accounts, password: str) -> None:
    with pytest.raises(UsageError):
        accounts.add("bob", "Bob", Role.VIEWER, password=password)
    assert accounts.find("bob") is None


@pytest.mark.parametrize("name", ["", "a b", "ann/..", "x" * 65, "änn", "a\nb", "Ann"])
def test_a_name_that_cannot_be_an_id_or_is_taken_is_refused(accounts: Accounts, name: str) -> None:
    with pytest.raises(UsageError):
        accounts.add(name, name, Role.VIEWER)
