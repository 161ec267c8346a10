"""Deterministic repairs: text and a failure in, proposals out; nothing here reads, runs or writes."""
