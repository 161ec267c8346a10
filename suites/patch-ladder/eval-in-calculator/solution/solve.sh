#!/bin/bash
set -eu
cd /app
python3 - <<'PY'
open("calc.py", "w").write('''"""A calculator for the terminal: numbers, + - * / ** and brackets."""

import ast
import operator
import sys

_TWO = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: operator.pow}
_ONE = {ast.USub: operator.neg, ast.UAdd: operator.pos}


def _value(node):
    match node:
        case ast.Expression(body=body):
            return _value(body)
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.BinOp(left=a, op=op, right=b) if type(op) in _TWO:
            return _TWO[type(op)](_value(a), _value(b))
        case ast.UnaryOp(op=op, operand=a) if type(op) in _ONE:
            return _ONE[type(op)](_value(a))
    raise ValueError("not an expression")


def calculate(text: str) -> float:
    """The value of an expression; ValueError when it is none."""
    try:
        return _value(ast.parse(text, mode="eval"))
    except SyntaxError as error:
        raise ValueError(f"not an expression: {text}") from error


def main() -> None:
    """Calculate what stands on the command line."""
    print(calculate(" ".join(sys.argv[1:])))


if __name__ == "__main__":
    main()
''')
PY
