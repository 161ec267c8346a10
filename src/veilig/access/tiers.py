"""What does each tier require, and how much may one key of it do?

A key starts small and grows with days on which nobody raised a signal about it (delayed access): what a
stolen or hurried key can do in its first hours is little.
"""

from collections.abc import Mapping
from typing import Final

from veilig.core.actor import Tier
from veilig.core.policy_safeguards import TierLimits

ORDER: Final = tuple(Tier)  # from least to most vetted
RANKS: Final = {tier: number for number, tier in enumerate(ORDER)}
LIMITS: Mapping[Tier, TierLimits] = {
    Tier.NEW: TierLimits(60, 200_000, 8),
    Tier.STANDARD: TierLimits(120, 500_000, 16),
    Tier.VERIFIED: TierLimits(600, 2_000_000, 64),
    Tier.TRUSTED: TierLimits(1_200, 8_000_000, 128),
    Tier.RESEARCH: TierLimits(1_200, 8_000_000, 128),
}
REQUIRES: Mapping[Tier, str] = {
    Tier.NEW: "a key",
    Tier.STANDARD: "an administrator who vouches",
    Tier.VERIFIED: "vouchers, a signed attestation or an identity provider",
    Tier.TRUSTED: "vouchers, or an attester the policy lets go this far",
    Tier.RESEARCH: "vouchers, or an attester the policy lets go this far, and grants per class",
}
# clean days -> share of the tier's limits; the first day allows a tenth
STAGES: Final = ((0, 0.1), (1, 0.25), (3, 0.5), (7, 1.0))
# Somebody vetted waits less: whom the vetting vouches for, days need not.
LEAST_SHARE: Mapping[Tier, float] = {
    Tier.NEW: 0.1,
    Tier.STANDARD: 0.1,
    Tier.VERIFIED: 0.5,
    Tier.TRUSTED: 1.0,
    Tier.RESEARCH: 1.0,
}
DAY_S = 86_400


def rank(tier: Tier) -> int:
    """0 for the least vetted."""
    return RANKS[tier]


def share(tier: Tier, clean_days: int) -> float:
    """Which part of the tier's limits a key has that was clean for so many whole days; in (0, 1]."""
    grown = max((part for days, part in STAGES if clean_days >= days), default=STAGES[0][1])
    return max(grown, LEAST_SHARE[tier])


def limits(tier: Tier, clean_days: int, stated: Mapping[Tier, TierLimits]) -> TierLimits:
    """What a key may do in a minute now. stated: the policy's own numbers, instead of ours."""
    full, part = stated.get(tier, LIMITS[tier]), share(tier, clean_days)
    return TierLimits(
        _part(full.requests_per_minute, part),
        _part(full.tokens_per_minute, part),
        _part(full.concurrent, part),
    )


def _part(whole: int, part: float) -> int:
    return max(1, int(whole * part)) if whole else 0
