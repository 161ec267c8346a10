"""How is a Python program followed, value by value, without running it? Forward abstract interpretation
over `ast`."""
