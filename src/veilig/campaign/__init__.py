"""How is one question asked of many repositories, and what became of it since the last time?

It reads lists and keeps answers; who clones, audits and mends is wired in app/campaigns.py.
"""
