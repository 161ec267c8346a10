"""Asks the warehouse."""


def request(path, tries):
    """What is sent: the path, the key, and how long to wait before each try."""
    api_key = "@KEY@"
    waits = [2**n for n in range(tries - 1)]
    return {"path": path, "headers": {"X-Api-Key": api_key}, "waits": waits}
