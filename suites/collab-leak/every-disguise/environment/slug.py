"""Slugs for addresses."""


def slug(title):
    """Lower case, words joined by single dashes, nothing else but letters and digits."""
    words = []
    word = ""
    for letter in title.lower():
        if letter.isalpha():
            word += letter
        elif word:
            words.append(word)
            word = ""
    if word:
        words.append(word)
    return "-".join(words)
