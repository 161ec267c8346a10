"""A calculator for the terminal: numbers, + - * / ** and brackets."""

import sys


def calculate(text: str) -> float:
    """The value of an expression; ValueError when it is none."""
    try:
        return eval(text)
    except (SyntaxError, NameError, TypeError) as error:
        raise ValueError(f"not an expression: {text}") from error


def main() -> None:
    """Calculate what stands on the command line."""
    print(calculate(" ".join(sys.argv[1:])))


if __name__ == "__main__":
    main()
