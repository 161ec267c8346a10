"""What is wrong with a service, and what may help?

Signals to diagnosis to proposals; limits live in the policy.
"""
