"""Do tiers, vouching, attestations, tokens, grants and budgets give what they say, and nothing else?"""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.access.budgets import Amount, Limit, Purse, lease_of, period_id
from veilig.access.keys import check_brought, new_key
from veilig.access.rates import Rate, throttled
from veilig.access.tiers import LIMITS, limits, share
from veilig.access.vetting import read_attestation, read_token
from veilig.core.actor import Tier
from veilig.core.errors import ApprovalError, UsageError
from veilig.core.policy_safeguards import Attester, Issuer, TierLimits

NOW = 1_800_000_000
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
ATTESTERS = (Attester("uni", base64.b64encode(PUBLIC).decode(), Tier.VERIFIED),)


def statement(**changes: object) -> dict[str, object]:
    return {"attester": "uni", "subject": "ann", "tier": "verified", "expires": NOW + 1000, **changes}


def signed(said: dict[str, object], key: Ed25519PrivateKey = KEY) -> bytes:
    text = json.dumps(said)
    signature = base64.b64encode(key.sign(text.encode())).decode()
    return json.dumps({"statement": text, "signature": signature}).encode()


def test_an_attestation_gives_the_tier_it_states_until_it_expires() -> None:
    found = read_attestation(signed(statement()), "ann", ATTESTERS, NOW)
    assert (found.tier, found.verifier, found.expires_s) == (Tier.VERIFIED, "uni", NOW + 1000)


@pytest.mark.parametrize(
    "data",
    [
        signed(statement(subject="bob")),
        signed(statement(tier="trusted")),
        signed(statement(tier="king")),
        signed(statement(expires=NOW)),
        signed(statement(expires="never")),
        signed(statement(attester="nobody")),
        signed(statement(), Ed25519PrivateKey.generate()),
        signed(statement()).replace(b"ann", b"bob"),
        b"{}",
        b"[]",
        b"\xff",
        b"x" * 100_000,
    ],
    ids=[
        "subject",
        "tier",
        "no tier",
        "expired",
        "no date",
        "attester",
        "key",
        "changed",
        "empty",
        "list",
        "bytes",
        "large",
    ],
)
def test_an_attestation_that_does_not_fit_gives_nothing(data: bytes) -> None:
    with pytest.raises(ApprovalError, match="does not vouch"):
        read_attestation(data, "ann" if b"bob" not in data or b'\\"bob' in data else "bob", ATTESTERS, NOW)


def url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def token(head: dict[str, Any] | None = None, **claims: object) -> str:
    head = {"alg": "EdDSA", "kid": "k1", **(head or {})}
    body = {
        "iss": "https://id.test",
        "aud": "veilig",
        "sub": "ann",
        "exp": NOW + 60,
        "email_verified": True,
        **claims,
    }
    first = f"{url64(json.dumps(head).encode())}.{url64(json.dumps(body).encode())}"
    return f"{first}.{url64(KEY.sign(first.encode()))}"


def issuer(folder: Path) -> tuple[Issuer, ...]:
    keys = folder / "jwks.json"
    keys.write_text(json.dumps({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": url64(PUBLIC)}]}))
    return (Issuer("https://id.test", "veilig", str(keys), "email_verified", Tier.VERIFIED),)


def test_a_token_of_a_believed_issuer_verifies(tmp_path: Path) -> None:
    found = read_token(token(), "ann", issuer(tmp_path), NOW)
    assert (found.tier, found.method, found.verifier) == (Tier.VERIFIED, "oidc", "https://id.test")
    assert read_token(token(sub="17", email="ann"), "ann", issuer(tmp_path), NOW).tier is Tier.VERIFIED


@pytest.mark.parametrize(
    "text",
    [
        token(exp=NOW),
        token(nbf=NOW + 5),
        token(aud="other"),
        token(iss="https://evil.test"),
        token(sub="bob"),
        token(email_verified=False),
        token(email_verified="true"),
        token({"alg": "none"}),
        token({"alg": "HS256"}),
        token({"alg": "RS256"}),
        token({"kid": "k2"}),
        token()[:-4] + "AAAA",
        "a.b",
        "",
    ],
)
def test_a_token_that_does_not_fit_gives_nothing(tmp_path: Path, text: str) -> None:
    with pytest.raises(ApprovalError, match="does not vouch"):
        read_token(text, "ann", issuer(tmp_path), NOW)


# --- growth, rates ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "part"), [(0, 0.1), (1, 0.25), (2, 0.25), (3, 0.5), (7, 1.0), (99, 1.0)])
def test_a_key_grows_with_clean_days(days: int, part: float) -> None:
    assert share(Tier.NEW, days) == part
    assert limits(Tier.NEW, days, {}).requests_per_minute == int(LIMITS[Tier.NEW].requests_per_minute * part)
    assert share(Tier.TRUSTED, days) == 1.0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 50)), max_size=60))
def test_no_minute_lets_more_through_than_twice_the_limit(steps: list[tuple[float, int]]) -> None:
    most = TierLimits(10, 100, 3)
    rate, now, passed = Rate(0.0, most), 0.0, [(0.0, 0)]
    for wait, tokens in steps:
        now += wait
        why, wait_s = rate.enter(now, most, tokens)
        assert bool(why) == (wait_s > 0)
        if not why:
            passed.append((now, tokens))
            rate.leave(0)
    for at, _ in passed:
        inside = [t for when, t in passed if at <= when < at + 60]
        assert len(inside) <= 21
        assert sum(inside) <= 250
    assert rate.under_way == 0


def test_the_fourth_of_three_at_once_waits() -> None:
    most = TierLimits(100, 1000, 3)
    rate = Rate(0.0, most)
    assert [bool(rate.enter(0.0, most, 1)[0]) for _ in range(4)] == [False, False, False, True]
    rate.leave(0)
    assert rate.enter(0.0, most, 1)[0] == ""
    assert throttled(most) == TierLimits(10, 100, 1)


# --- budgets ------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(1, 5_000))
def test_a_lease_never_exceeds_what_is_left_and_always_covers_the_need(
    limit: int, spent: int, needed: int
) -> None:
    lease = lease_of(Amount(limit, -1), Amount(spent), Amount(needed))
    if limit - spent < needed:
        assert lease is None
    else:
        assert lease is not None
        assert needed <= lease.tokens <= limit - spent


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), max_size=40))
def test_a_purse_loses_no_token(steps: list[tuple[int, int]]) -> None:
    purse, leased, used = Purse("a", Limit("total", Amount(10**6, -1)), "total"), 0, 0
    for wanted, spent in steps:
        if lack := purse.lacks(Amount(wanted)):
            purse.rest = purse.rest + lack
            leased += lack.tokens
        purse.reserve(Amount(wanted))
        purse.settle(Amount(wanted), Amount(spent))
        used += spent
    assert leased - used == purse.rest.tokens


def test_periods_change_at_midnight_utc() -> None:
    assert period_id("day", 86_399.9) == "1970-01-01"
    assert period_id("day", 86_400.0) == "1970-01-02"
    assert period_id("month", 86_400.0) == "1970-01"
    assert period_id("total", 0.0) == "total"


@pytest.mark.parametrize("key", ["sk-1234", "a" * 40, "short", "x y" * 20, "\u00e9" * 40])
def test_a_key_that_can_be_guessed_is_not_taken_over(key: str) -> None:
    with pytest.raises(UsageError, match="cannot be taken over"):
        check_brought(key)


def test_a_new_key_is_long_and_never_the_same() -> None:
    assert len({new_key() for _ in range(100)}) == 100
    assert check_brought(new_key())


# --- tokens as another library signs them -------------------------------------------------------------------


def signed_elsewhere(folder: Path, algorithm: str, bits: int = 2048) -> tuple[str, tuple[Issuer, ...]]:
    """A local issuer: its keys as JWKS, and a token of it, both made by PyJWT."""
    jwt = pytest.importorskip("jwt")
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key: Any
    if algorithm == "RS256":
        key = rsa.generate_private_key(65537, bits)
    elif algorithm == "ES256":
        key = ec.generate_private_key(ec.SECP256R1())
    else:
        key = Ed25519PrivateKey.generate()
    kinds: dict[str, Any] = jwt.algorithms.get_default_algorithms()
    shown = kinds[algorithm].to_jwk(key.public_key(), as_dict=True) | {"kid": "k1", "use": "sig"}
    place = folder / "jwks.json"
    place.write_text(json.dumps({"keys": [{"kty": "oct", "kid": "k0"}, shown]}))
    claims = {"iss": "https://id.test", "aud": ["x", "veilig"], "sub": "ann", "exp": NOW + 60, "iat": NOW}
    token_ = str(
        jwt.encode(claims | {"email_verified": True}, key, algorithm=algorithm, headers={"kid": "k1"})
    )
    return token_, (Issuer("https://id.test", "veilig", str(place), "email_verified", Tier.VERIFIED),)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_token_that_another_library_signed_is_believed_and_a_changed_one_is_not(
    tmp_path: Path, algorithm: str
) -> None:
    text, issuers = signed_elsewhere(tmp_path, algorithm)
    assert read_token(text, "ann", issuers, NOW).tier is Tier.VERIFIED
    head, body, signature = text.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    forged = url64(json.dumps(claims | {"sub": "mallory"}).encode())
    none = url64(json.dumps({"alg": "none", "kid": "k1"}).encode())
    other = url64(json.dumps({"alg": "HS256", "kid": "k0"}).encode())
    for wrong in (f"{head}.{forged}.{signature}", f"{none}.{body}.", f"{other}.{body}.{signature}"):
        for who in ("ann", "mallory"):
            with pytest.raises(ApprovalError):
                read_token(wrong, who, issuers, NOW)


@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits")  # PyJWT warns of it, too
def test_an_issuer_with_a_short_key_is_not_believed(tmp_path: Path) -> None:
    text, issuers = signed_elsewhere(tmp_path, "RS256", 1024)
    with pytest.raises(ApprovalError, match="shorter than 2048"):
        read_token(text, "ann", issuers, NOW)
