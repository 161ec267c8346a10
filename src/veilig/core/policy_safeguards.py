"""What does veilig.yaml say about the gateway, Trusted Access and the monitor? Keys, values and their types.

The tables stand here and not in policy_schema.py because no verdict of the gate depends on them; the schema
includes them, so that the loader and the reference page know one list.
"""

from dataclasses import dataclass

from veilig.core import policy_match as match
from veilig.core.actor import Tier
from veilig.core.policy_load import Source
from veilig.core.policy_shape import Choice, Entry, Flag, Many, Real, Section, Table, Text, Whole

LINE = Text("one line of text", match.wrong_line)
NAME = Text("a short name of letters, digits and -", match.wrong_server)
MODEL = Text("a model's name, `*` for any run of characters", match.wrong_model_pattern)
URL = Text("an http or https URL", match.wrong_url)
FOLDER = Text("a path", match.wrong_folder)
HOST = Text("a host and port", match.wrong_host)
TIER = Choice(tuple(Tier))
SAFEGUARDS = ("monitor", "tool_calls_held", "indicators", "ladder", "deployment_signed")

LIMITS = Table((
    Entry("tier", TIER, "", "", "whose", required=True),
    Entry("requests_per_minute", Whole(0, 10**6), "requests", 60, "of one key, once it is fully grown"),
    Entry("tokens_per_minute", Whole(0, 10**9), "tokens", 200_000, "input and output of one key"),
    Entry("concurrent", Whole(0, 10_000), "requests", 16, "of one key at the same moment"),
))  # fmt: skip
CLASS = Table((
    Entry("name", NAME, "", "", "as `gateway.models[].class` names it", required=True),
    Entry("least_tier", TIER, "", str(Tier.NEW), "nobody below it reaches the class"),
    Entry("grant", Flag(), "", False, "true: each subject also needs a live grant for the class"),
    Entry(
        "safeguards", Many(Choice(SAFEGUARDS)), "", (),
        "a model of the class is unreachable unless each of these passed its live self-test",
    ),
))  # fmt: skip
ATTESTER = Table((
    Entry("name", NAME, "", "", "how the ledger calls the verifier", required=True),
    Entry("public_key", LINE, "", "", "Ed25519, 32 bytes in base64", required=True),
    Entry("highest_tier", TIER, "", str(Tier.VERIFIED), "its word goes no further than this"),
))  # fmt: skip
ISSUER = Table((
    Entry("name", LINE, "", "", "the `iss` of its tokens, exactly", required=True),
    Entry("audience", LINE, "", "", "the `aud` of its tokens, exactly", required=True),
    Entry("keys", FOLDER, "", "", "its JWKS in a file: RS256, ES256 or EdDSA", required=True),
    Entry("claim", LINE, "", "", "a claim that must be true, such as email_verified; empty: none"),
    Entry("highest_tier", TIER, "", str(Tier.VERIFIED), "its word goes no further than this"),
))  # fmt: skip
ACCESS = Table((
    Entry("default_tier", TIER, "", str(Tier.NEW), "a stranger starts with the least"),
    Entry("vouchers", Whole(1, 5), "distinct people", 2, "who must vouch before a tier above standard holds"),
    Entry("classes", Many(CLASS, most=50), "", (), "class general: everybody with a key"),
    Entry("limits", Many(LIMITS, most=5), "", (), "as in access/tiers.py, per tier"),
    Entry("attesters", Many(ATTESTER, most=20), "", (), "nobody outside vouches for anybody"),
    Entry("issuers", Many(ISSUER, most=20), "", (), "no identity provider is believed"),
))  # fmt: skip
FEED = Table((
    Entry("name", NAME, "", "", "how evidence cites it", required=True),
    Entry("path", FOLDER, "", "", "a STIX 2.1 bundle, or a folder of them; this or `taxii`"),
    Entry("taxii", URL, "", "", "a TAXII 2.1 collection, for `veilig monitor feeds sync`"),
    Entry("key_env", LINE, "", "", "variable with what its header Authorization says; empty: none is sent"),
    Entry("confidence", Whole(0, 100), "", 50, "of an indicator that states none"),
))  # fmt: skip
MONITOR = Table((
    Entry("enabled", Flag(), "", False, "requests and answers of the gateway pass unread"),
    Entry("threshold", Real(0, 1), "", 0.85, "scores below it are not worth a signal"),
    Entry(
        "open_on_failure", Many(TIER), "", (str(Tier.TRUSTED), str(Tier.RESEARCH)),
        "for these, at observe or warn, a request passes when the monitor breaks; others are refused",
    ),
    Entry("feeds", Many(FEED, most=50), "", (), "no indicator of anybody"),
    Entry("allow", Many(LINE), "", (), "domains, addresses and hashes that no indicator may name"),
    Entry(
        "text_tail_chars", Whole(0, 4096), "characters", 0,
        "text passes at once, and indicators in it are noted; above 0: so much of it waits, and an answer "
        "ends before a sure indicator",
    ),
    Entry("keep_prompts", Flag(), "", False, "prompts are kept as hashes; true: flagged ones as text"),
    Entry(
        "judge", MODEL, "", "",
        "no model looks a second time; else one of gateway.models, whose word may open a case for people",
    ),
    Entry("judge_s", Whole(1, 600), "s", 60, "a judge that takes longer has said nothing"),
))  # fmt: skip
APIS = ("openai", "azure", "anthropic", "vllm", "sglang", "llamacpp", "ollama")
RENAME = Table((
    Entry("model", MODEL, "", "", "as clients and `gateway.models` call it", required=True),
    Entry("as", LINE, "", "", "as this upstream does; Azure: the deployment", required=True),
))  # fmt: skip
UPSTREAM = Table((
    Entry("name", NAME, "", "", "how metrics and the ledger call it", required=True),
    Entry("url", URL, "", "", "up to and including /v1", required=True),
    Entry("key_env", LINE, "", "", "environment variable with its key; empty: none is sent"),
    Entry("api", Choice(APIS), "", "openai", "what it speaks; the rest is translated, what is lost is said"),
    Entry("api_version", LINE, "", "", "Azure's addresses per deployment; empty: the ones below /v1"),
    Entry("renames", Many(RENAME, most=200), "", (), "it calls models as clients do"),
    Entry("weight", Whole(0, 1000), "", 1, "its share among those that have the model; 0: only in need"),
))  # fmt: skip
SERVED = Table((
    Entry("name", MODEL, "", "", "as clients ask for it; the first that matches holds", required=True),
    Entry("class", NAME, "", "general", "its capability class, of `access.classes`"),
    Entry("upstreams", Many(NAME), "", (), "empty: all of them"),
    Entry("fallback", MODEL, "", "", "served at level reroute; empty: the request is refused instead"),
    Entry("usd_per_million_in", Real(0, 10_000), "USD", 0.0, "costs nothing unless stated"),
    Entry("usd_per_million_out", Real(0, 10_000), "USD", 0.0, "costs nothing unless stated"),
    Entry("tokens_per_answer", Whole(1, 10**7), "tokens", 32_768, "reserved where a request states no bound"),
))  # fmt: skip
WEBHOOK = Table((
    Entry("url", URL, "", "", "told of warnings and deactivations, in the public shape", required=True),
    Entry("secret_env", LINE, "", "", "variable with the signing secret, `whsec_` and base64", required=True),
))  # fmt: skip
GATEWAY = Table((
    Entry("enabled", Flag(), "", False, "`veilig gateway` refuses to start unless true or given --upstream"),
    Entry("listen", HOST, "", "127.0.0.1:8080", "this machine only"),
    Entry("upstreams", Many(UPSTREAM, most=100), "", (), "nowhere to send a request"),
    Entry("models", Many(SERVED, most=500), "", (), "no model unless named"),
    Entry("request_mib", Whole(1, 512), "MiB", 32, "a long session of a coding client is below 10"),
    Entry("first_byte_s", Whole(1, 3600), "s", 300, "a model that reasons may be silent for long"),
    Entry("answer_s", Whole(1, 86_400), "s", 1800, "no answer is worth a stuck connection"),
    Entry("appeal_url", URL, "", "", "named in every refusal; empty: `veilig cases appeal ID`"),
    Entry("admin_listen", HOST, "", "127.0.0.1:8090", "where `veilig gateway admin` is; this machine"),
    Entry("webhooks", Many(WEBHOOK, most=10), "", (), "nobody is told but who asked"),
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class TierLimits:
    """What one key of a tier may do in a minute, once it is fully grown."""

    requests_per_minute: int
    tokens_per_minute: int
    concurrent: int


@dataclass(frozen=True, slots=True)
class CapabilityClass:
    """What a model of the class demands of who asks and of us."""

    name: str
    least_tier: Tier = Tier.NEW
    grant: bool = False
    safeguards: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Attester:
    """Somebody whose signature on a statement counts."""

    name: str
    public_key: str
    highest_tier: Tier


@dataclass(frozen=True, slots=True)
class Issuer:
    """An OpenID Connect issuer whose tokens count."""

    name: str
    audience: str
    keys: str
    claim: str
    highest_tier: Tier


@dataclass(frozen=True, slots=True)
class AccessRules:
    """Section `access`."""

    default_tier: Tier
    vouchers: int
    classes: tuple[CapabilityClass, ...]
    limits: tuple[tuple[Tier, TierLimits], ...]
    attesters: tuple[Attester, ...]
    issuers: tuple[Issuer, ...]


@dataclass(frozen=True, slots=True)
class Feed:
    """One source of indicators; confidence 0-100 where an indicator states none.

    path: a file or folder. taxii: the address of a collection, which is fetched into a folder of ours.
    """

    name: str
    path: str
    confidence: int
    taxii: str = ""
    key_env: str = ""
    rule: str = ""


@dataclass(frozen=True, slots=True)
class MonitorRules:
    """Section `monitor`."""

    enabled: bool
    threshold: float
    open_on_failure: frozenset[Tier]
    feeds: tuple[Feed, ...]
    allow: tuple[str, ...]
    keep_prompts: bool
    text_tail_chars: int = 0
    judge: str = ""
    judge_s: float = 60.0


@dataclass(frozen=True, slots=True)
class UpstreamRule:
    """Where models are; `url` ends with the API's version."""

    name: str
    url: str
    key_env: str = ""
    api: str = "openai"
    weight: int = 1
    api_version: str = ""
    renames: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model, or all that a pattern covers."""

    name: str
    capability_class: str = "general"
    upstreams: tuple[str, ...] = ()
    fallback: str = ""
    usd_per_million_in: float = 0.0
    usd_per_million_out: float = 0.0
    tokens_per_answer: int = 32_768


@dataclass(frozen=True, slots=True)
class Webhook:
    """Who is told of safety notices; secret_env: the variable with the signing secret."""

    url: str
    secret_env: str


@dataclass(frozen=True, slots=True)
class GatewayRules:
    """Section `gateway`."""

    enabled: bool
    listen: str
    upstreams: tuple[UpstreamRule, ...]
    models: tuple[ServedModel, ...]
    request_bytes: int
    first_byte_s: float
    answer_s: float
    appeal_url: str
    admin_listen: str = "127.0.0.1:8090"
    webhooks: tuple[Webhook, ...] = ()


@dataclass(frozen=True, slots=True)
class Safeguards:
    """The three sections together."""

    access: AccessRules
    monitor: MonitorRules
    gateway: GatewayRules


def build_safeguards(root: Section, source: Source) -> Safeguards:
    """The sections of a file that validated."""
    return Safeguards(
        _access(root.section("access")),
        _monitor(root.section("monitor"), source),
        _gateway(root.section("gateway")),
    )


def _access(section: Section) -> AccessRules:
    return AccessRules(
        default_tier=Tier(section.text("default_tier")),
        vouchers=section.whole("vouchers"),
        classes=tuple(
            CapabilityClass(
                s.text("name"), Tier(s.text("least_tier")), s.flag("grant"), s.texts("safeguards")
            )
            for s in section.tables("classes")
        ),
        limits=tuple(
            (
                Tier(s.text("tier")),
                TierLimits(
                    s.whole("requests_per_minute"), s.whole("tokens_per_minute"), s.whole("concurrent")
                ),
            )
            for s in section.tables("limits")
        ),
        attesters=tuple(
            Attester(s.text("name"), s.text("public_key"), Tier(s.text("highest_tier")))
            for s in section.tables("attesters")
        ),
        issuers=tuple(
            Issuer(
                s.text("name"),
                s.text("audience"),
                s.text("keys"),
                s.text("claim"),
                Tier(s.text("highest_tier")),
            )
            for s in section.tables("issuers")
        ),
    )


def _feed(section: Section, source: Source) -> Feed:
    path, taxii, key_env = section.text("path"), section.text("taxii"), section.text("key_env")
    if bool(path) == bool(taxii) or (key_env and not taxii):
        source.report(section.mark(), f"{section.path} has no single place", "path, or taxii with key_env")
    return Feed(section.text("name"), path, section.whole("confidence"), taxii, key_env, section.rule())


def _monitor(section: Section, source: Source) -> MonitorRules:
    return MonitorRules(
        enabled=section.flag("enabled"),
        threshold=section.real("threshold"),
        open_on_failure=frozenset(Tier(t) for t in section.texts("open_on_failure")),
        feeds=tuple(_feed(s, source) for s in section.tables("feeds")),
        allow=section.texts("allow"),
        keep_prompts=section.flag("keep_prompts"),
        text_tail_chars=section.whole("text_tail_chars"),
        judge=section.text("judge"),
        judge_s=float(section.whole("judge_s")),
    )


def _gateway(section: Section) -> GatewayRules:
    return GatewayRules(
        enabled=section.flag("enabled"),
        listen=section.text("listen"),
        upstreams=tuple(
            UpstreamRule(
                s.text("name"),
                s.text("url"),
                s.text("key_env"),
                s.text("api"),
                s.whole("weight"),
                s.text("api_version"),
                tuple((r.text("model"), r.text("as")) for r in s.tables("renames")),
            )
            for s in section.tables("upstreams")
        ),
        models=tuple(
            ServedModel(
                s.text("name"),
                s.text("class"),
                s.texts("upstreams"),
                s.text("fallback"),
                s.real("usd_per_million_in"),
                s.real("usd_per_million_out"),
                s.whole("tokens_per_answer"),
            )
            for s in section.tables("models")
        ),
        request_bytes=section.whole("request_mib") << 20,
        first_byte_s=float(section.whole("first_byte_s")),
        answer_s=float(section.whole("answer_s")),
        appeal_url=section.text("appeal_url"),
        admin_listen=section.text("admin_listen"),
        webhooks=tuple(Webhook(s.text("url"), s.text("secret_env")) for s in section.tables("webhooks")),
    )
