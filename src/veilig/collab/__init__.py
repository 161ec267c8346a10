"""Several people, one session: roles, rooms, what each may see of an event, accounts, exports.

Plain functions and values; `app/serving.py` joins them to the ledger and `server/` to the network.
"""
