"""Who may do this at all, before the act?

Identities, Trusted Access tiers, grants and rates. Not here: what the act is (core) and how it is watched
while it runs (monitor).
"""
