"""Units, tidied."""
