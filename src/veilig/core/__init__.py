"""What are the nouns and the law?

Action, Gate, Ledger, Provider, Session and what they are made of.

No vendor, no capability, no process, no socket: everything above may import this, and this imports
nothing above.
"""
