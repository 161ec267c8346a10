"""What is shown of a stream that stops in the middle of a word: the question, never the secret?"""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.core.redact import Redactor
from veilig.core.redact_hold import HELD, MASK_AFTER_S, SHOW_AFTER_S, SHOWN_CHARS_MAX
from veilig.core.redact_stream import StreamRedactor

KEY = b"k" * 32
PASSWORD = "Koala48" + "21!gRove-x"
GITHUB = "gh" + "p_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
PIN = "90" + "71"
SECRETS = (PASSWORD, GITHUB, PIN, "corr" + "ect-horse-Battery9")
KEY_BLOCK = "-----BEGIN " + "RSA PRIVATE KEY-----\n" + "\n".join(
    "".join(random.Random(line).choices("ABCDEFabcdef0123456789+/", k=64)) for line in range(6)
) + "\n-----END " + "RSA PRIVATE KEY-----"  # fmt: skip


class Dial:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Stream:
    """One stream, its clock and all that it showed."""

    def __init__(self, *known: str) -> None:
        redactor = Redactor(KEY)
        for number, value in enumerate(known):
            redactor.mark(value, f"S{number}")
        self.clock = Dial()
        self.redactor = StreamRedactor(redactor, self.clock)
        self.shown = b""

    def hears(self, text: str | bytes, then_s: float = 0.0) -> str:
        raw = text.encode() if isinstance(text, str) else text
        new = self.redactor.feed(raw)
        self.clock.now_s += then_s
        new += self.redactor.late()
        self.shown += new
        return new.decode("utf-8", "replace")

    def waits(self, seconds: float) -> str:
        return self.hears(b"", seconds)

    def ends(self) -> str:
        self.shown += self.redactor.flush()
        return self.text

    @property
    def text(self) -> str:
        return self.shown.decode("utf-8", "replace")


def revealed(secret: str, shown: str) -> int:
    """How many characters of `secret` in a row stand outside the handles."""
    plain = re.sub("‹[^›]*›", "\0", shown)
    return max(n for n in range(len(secret) + 1) for at in range(len(secret) - n + 1)
                if secret[at : at + n] in plain)  # fmt: skip


@pytest.mark.parametrize("prompt", ["Continue?[y/N]", "Password:", "http://127.0.0.1:8000", ">>>", "....",
                                    "commit", "Überraschung?", "tests/test_cart.py::test_total"])  # fmt: skip
def test_a_question_is_shown_after_a_fifth_of_a_second_and_not_before(prompt: str) -> None:
    stream = Stream(*SECRETS)
    assert stream.hears(prompt) == ""
    assert stream.redactor.waits_s() == pytest.approx(SHOW_AFTER_S)
    assert stream.waits(SHOW_AFTER_S / 2) == ""
    assert stream.waits(SHOW_AFTER_S / 2 + 0.001) == prompt
    assert stream.redactor.waits_s() is None
    assert stream.hears(" y\n", SHOW_AFTER_S) == " y\n"


def test_three_characters_of_a_secret_may_go_and_the_fourth_waits_and_becomes_a_mark() -> None:
    stream = Stream(PASSWORD)
    assert stream.hears("login " + PASSWORD[:3], SHOW_AFTER_S) == "login " + PASSWORD[:3]
    assert stream.hears(PASSWORD[3], SHOW_AFTER_S) == ""
    assert stream.redactor.waits_s() == pytest.approx(MASK_AFTER_S - SHOW_AFTER_S)
    assert stream.waits(MASK_AFTER_S) == HELD
    assert stream.hears(PASSWORD[4:9], MASK_AFTER_S) == "", "one mark for one beginning"
    rest = stream.hears(PASSWORD[9:] + " in\n", SHOW_AFTER_S)
    assert re.fullmatch(r"‹secret:S0#[0-9a-f]+~part› in\n", rest)
    assert revealed(PASSWORD, stream.text) <= SHOWN_CHARS_MAX


def test_a_beginning_that_goes_on_otherwise_costs_only_itself() -> None:
    stream = Stream(PASSWORD)
    stream.hears("see " + PASSWORD[:5], MASK_AFTER_S)
    assert stream.hears("rest and more\n", SHOW_AFTER_S) == "rest and more\n"
    assert stream.text == f"see {HELD}rest and more\n"


def test_a_token_known_by_shape_alone_shows_its_prefix_and_never_its_body() -> None:
    stream = Stream()
    for piece in (GITHUB[:2], GITHUB[2:5], GITHUB[5:12], GITHUB[12:30]):
        stream.hears(piece, MASK_AFTER_S)
    stream.hears(GITHUB[30:] + " ok\n")
    assert stream.text.startswith("ghp_") and stream.text.endswith(" ok\n")
    assert revealed(GITHUB[4:], stream.text) <= SHOWN_CHARS_MAX
    assert "~part›" in stream.text, "the rest of a token is no handle that could be turned back"


@pytest.mark.parametrize(
    ("before", "value"),
    [("DB_PASSWORD=", "Zx81kQ0vLm2n"), ('{"token": "', "Zx81kQ0vLm2n"),
     ("Authorization: Bearer ", "Zx81kQ0vLm2nPq9w"),
     ("postgres://app:", "Zx81kQ0vLm2n"), ("curl -u me:", "Zx81kQ0vLm2n")],
)  # fmt: skip
def test_a_value_beside_a_suspect_name_waits_too(before: str, value: str) -> None:
    stream = Stream()
    for piece in (before, value[:2], value[2:6], value[6:]):
        stream.hears(piece, MASK_AFTER_S)
    stream.hears('"' if '"' in before else "@db" if "//" in before else " ")
    assert revealed(value, stream.ends()) <= SHOWN_CHARS_MAX, stream.text
    assert stream.text.startswith(before[:12])


def test_a_private_key_that_comes_line_by_line_shows_its_header_only() -> None:
    stream = Stream()
    for line in KEY_BLOCK.splitlines(keepends=True):
        stream.hears(line[:20], MASK_AFTER_S)
        stream.hears(line[20:], MASK_AFTER_S)
    stream.hears("\ndone\n")
    body = KEY_BLOCK.splitlines()[1:-1]
    assert not any(line[at : at + 8] in stream.text for line in body for at in range(50)), stream.text
    assert stream.text.endswith("done\n")


def test_a_short_secret_shows_no_more_than_a_quarter() -> None:
    stream = Stream(PIN)
    for digit in PIN:
        stream.hears(digit, MASK_AFTER_S)
    assert revealed(PIN, stream.ends()) <= 1


pieces = st.one_of(st.sampled_from([*SECRETS, " ", "\n", "key=", "é", '"', "1", "Koala", "\x1b[31m", "\x08"]),
                   st.text(max_size=4))  # fmt: skip
waits = st.sampled_from([0.0, 0.0, 0.1, SHOW_AFTER_S, MASK_AFTER_S])


@settings(max_examples=40, deadline=None)
@given(st.lists(pieces, max_size=5).map("".join), st.sampled_from(SECRETS[:2]), st.data())
def test_however_a_stream_is_cut_and_however_long_it_waits_no_secret_comes_through(
    before: str, secret: str, data: st.DataObject
) -> None:
    stream = Stream(*SECRETS)
    raw = f"{before} {secret} end\n".encode("utf-8", "surrogatepass")
    at = 0
    while at < len(raw):
        size = data.draw(st.sampled_from((1, 2, 3, 7, 40)))
        stream.hears(raw[at : at + size], data.draw(waits))
        at += size
    stream.ends()
    alone = re.sub("‹[^›]*›", "\0", stream.text)
    assert not any(known in alone for known in SECRETS)
    # What the text before it happens to share with it is its own.
    assert revealed(secret, stream.text) <= max(
        SHOWN_CHARS_MAX, revealed(secret, before.replace(secret, "\0"))
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(pieces, max_size=8).map("".join), st.lists(waits, min_size=1, max_size=8))
def test_what_is_no_secret_comes_through_whole_and_in_order(text: str, pauses: list[float]) -> None:
    stream = Stream()  # knows nothing: only shapes count
    plain = "".join(c for c in text if c.isalpha() or c in " \n")[:40]
    for number, char in enumerate(plain):
        stream.hears(char, pauses[number % len(pauses)])
    assert stream.ends() == plain
