"""A notebook per person."""


class Notebook:
    """Notes of one person, newest last."""

    def __init__(self, owner, notes=[]):
        self.owner = owner
        self.notes = notes

    def add(self, text):
        """Add a note; empty ones are refused."""
        if not text.strip():
            raise ValueError("an empty note")
        self.notes.append(text)
        return len(self.notes)

    def last(self, count):
        """The newest `count` notes, newest first."""
        return self.notes[::-1][:count]
