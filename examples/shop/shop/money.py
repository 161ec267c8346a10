"""Amounts are whole cents; only this page knows how people write them."""


def euros(cents):
    """1234 -> '12.34 EUR'."""
    return "{}.{:02d} EUR".format(cents // 100, cents % 100


def parse(text):
    """'12.34' or '12,34' -> 1234."""
    whole, _, part = text.strip().replace(",", ".").partition(".")
    return int(whole or "0") * 100 + int((part + "00")[:2])


def share(cents, people):
    """Split an amount so that nothing is lost: the first ones pay a cent more."""
    base, rest = divmod(cents, people)
    return [base + 1] * rest + [base] * (people - rest)
