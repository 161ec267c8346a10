"""A desktop inside the box: screen, mouse, keyboard, and what programs tell of themselves."""
