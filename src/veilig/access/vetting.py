"""Does this evidence vouch for this subject? Signed attestations and identity tokens, checked offline.

Of the evidence only its hash, the verifier and the expiry are kept. A verifier's word goes no further than
the tier that the policy gives it.
"""

import base64
import binascii
import hashlib
import json
from pathlib import Path
from typing import Any, cast

from veilig.access.registry import Vetting
from veilig.access.tiers import DAY_S, rank
from veilig.core.actor import Tier
from veilig.core.errors import ApprovalError
from veilig.core.policy_safeguards import Attester, Issuer

VETTING_S_MAX = 366 * DAY_S  # people change jobs; a year is the longest a word holds
BYTES_MAX = 64 << 10


def read_attestation(data: bytes, subject: str, attesters: tuple[Attester, ...], now_s: float) -> Vetting:
    """A JSON object {"statement": TEXT, "signature": BASE64}: Ed25519 over the statement's UTF-8.

    The statement is JSON: {"attester", "subject", "tier", "expires"} (seconds since 1970).
    Raises ApprovalError when it does not vouch for this subject now.
    """
    outer = _object(data)
    statement, signature = outer.get("statement"), outer.get("signature")
    if not isinstance(statement, str) or not isinstance(signature, str):
        raise _refuse("it has no statement and signature in text")
    said = _object(statement.encode())
    attester = next((a for a in attesters if a.name == said.get("attester")), None)
    if attester is None:
        raise _refuse(f"no attester {said.get('attester')!r} is named in access.attesters")
    _check_ed25519(_base64(attester.public_key), _base64(signature), statement.encode())
    if said.get("subject") != subject:
        raise _refuse(f"it speaks of {said.get('subject')!r}")
    tier = _tier(said.get("tier"), attester.highest_tier, attester.name)
    return _vetting(tier, "attestation", attester.name, data, said.get("expires"), now_s)


def read_token(token: str, subject: str, issuers: tuple[Issuer, ...], now_s: float) -> Vetting:
    """An OpenID Connect ID token (compact JWS; RS256, ES256 or EdDSA) whose `sub` or `email` is the subject.

    Raises ApprovalError when it does not vouch for this subject now. `exp` bounds the token, not the vetting:
    that holds for 90 days.
    """
    parts = token.strip().split(".")
    if len(parts) != 3:
        raise _refuse("it is no signed token of three parts")
    head, claims = _object(_base64url(parts[0])), _object(_base64url(parts[1]))
    issuer = next((i for i in issuers if i.name == claims.get("iss")), None)
    if issuer is None:
        raise _refuse(f"no issuer {claims.get('iss')!r} is named in access.issuers")
    audiences = claims.get("aud")
    if issuer.audience not in (audiences if isinstance(audiences, list) else [audiences]):
        raise _refuse(f"it was made for {audiences!r}")
    key = _find_key(issuer, head)
    _check_jws(key, str(head.get("alg")), _base64url(parts[2]), f"{parts[0]}.{parts[1]}".encode())
    if not isinstance(claims.get("exp"), int | float) or claims["exp"] <= now_s:
        raise _refuse("it has expired")
    if isinstance(claims.get("nbf"), int | float) and claims["nbf"] > now_s:
        raise _refuse("it is not valid yet")
    if subject not in (claims.get("sub"), claims.get("email")):
        raise _refuse(f"it speaks of {claims.get('sub')!r}")
    if issuer.claim and claims.get(issuer.claim) is not True:
        raise _refuse(f"its claim {issuer.claim!r} is not true")
    expires = now_s + 90 * DAY_S
    return _vetting(issuer.highest_tier, "oidc", issuer.name, token.encode(), expires, now_s)


# --- keys and signatures -------------------------------------------------------------------------------


def _find_key(issuer: Issuer, head: dict[str, Any]) -> dict[str, Any]:
    try:
        keys = _object(Path(issuer.keys).expanduser().read_bytes()).get("keys")
    except OSError as error:
        raise _refuse(f"the keys of {issuer.name!r} cannot be read: {error}") from error
    for key in cast(list[object], keys) if isinstance(keys, list) else ():
        if isinstance(key, dict) and cast(dict[str, Any], key).get("kid") == head.get("kid"):
            return cast(dict[str, Any], key)
    raise _refuse(f"no key {head.get('kid')!r} is in {issuer.keys}")


def _check_jws(key: dict[str, Any], algorithm: str, signature: bytes, signed: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    def number(name: str) -> int:
        return int.from_bytes(_base64url(str(key.get(name, ""))), "big")

    try:
        match (algorithm, key.get("kty")):  # the pair, so that a token cannot choose how its key is read
            case ("EdDSA", "OKP"):
                _check_ed25519(_base64url(str(key.get("x", ""))), signature, signed)
            case ("RS256", "RSA"):
                public = rsa.RSAPublicNumbers(number("e"), number("n")).public_key()
                if public.key_size < 2048:
                    raise _refuse("the issuer's key is shorter than 2048 bits")
                public.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
            case ("ES256", "EC"):
                curve = ec.EllipticCurvePublicNumbers(number("x"), number("y"), ec.SECP256R1())
                if len(signature) != 64:
                    raise _refuse("its signature is not of ES256")
                r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
                curve.public_key().verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
            case _:
                raise _refuse(
                    f"algorithm {algorithm!r} with a key of type {key.get('kty')!r} is not believed"
                )
    except InvalidSignature as error:
        raise _refuse("its signature does not fit") from error
    except ValueError as error:
        raise _refuse(f"the issuer's key is unusable: {error}") from error


def _check_ed25519(key: bytes, signature: bytes, signed: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
    except (InvalidSignature, ValueError) as error:
        raise _refuse("its signature does not fit") from error


# --- reading -------------------------------------------------------------------------------------------


def _vetting(tier: Tier, method: str, verifier: str, data: bytes, expires: object, now_s: float) -> Vetting:
    if not isinstance(expires, int | float) or expires <= now_s:
        raise _refuse("it has expired, or does not say when it does")
    until = int(min(expires, now_s + VETTING_S_MAX))
    return Vetting(tier, method, verifier, hashlib.sha256(data).hexdigest(), until)


def _tier(said: object, highest: Tier, verifier: str) -> Tier:
    if said not in tuple(Tier):
        raise _refuse(f"{said!r} is no tier")
    tier = Tier(str(said))
    if rank(tier) > rank(highest):
        raise _refuse(f"{verifier} may vouch up to tier {highest}, and it says {tier}")
    return tier


def _object(data: bytes) -> dict[str, Any]:
    if len(data) > BYTES_MAX:
        raise _refuse(f"it is larger than {BYTES_MAX} bytes")
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _refuse("it is not JSON") from error
    if not isinstance(value, dict):
        raise _refuse("it is no JSON object")
    return cast(dict[str, Any], value)


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise _refuse("a part of it is not base64") from error


def _base64url(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refuse("a part of it is not base64url") from error


def _refuse(why: str) -> ApprovalError:
    return ApprovalError(
        "this evidence does not vouch for the subject", why=why, fix="nothing was changed: ask its verifier"
    )
