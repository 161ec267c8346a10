"""What does a score look like? Two kinds of SVG: intervals as bars, and score against what it costs."""

from collections.abc import Sequence
from html import escape

WIDTH, LEFT, RIGHT, ROW, LABEL = 760, 250, 70, 30, 14
_INK, _FAINT, _MARK = "currentColor", "#8a929b", "#2f6f9f"


def bars(names: Sequence[str], values: Sequence[tuple[float, float, float]], label: str) -> str:
    """One row per run: (low, value, high), each from 0 to 1, the interval as a line with ends."""
    height = ROW * len(names) + 46
    inner = WIDTH - LEFT - RIGHT

    def x(share: float) -> float:
        return LEFT + inner * min(1.0, max(0.0, share))

    parts = [_open(WIDTH, height, label)]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(_line(x(tick), 10, x(tick), height - 30, _FAINT, 0.5))
        parts.append(_text(x(tick), height - 12, f"{tick:.0%}", "middle"))
    for row, (name, (low, value, high)) in enumerate(zip(names, values, strict=True)):
        y = 24 + row * ROW
        parts.append(_text(LEFT - 10, y + 4, name[:38], "end"))
        parts.append(_line(x(low), y, x(high), y, _MARK, 2))
        parts += [_line(x(end), y - 5, x(end), y + 5, _MARK, 2) for end in (low, high)]
        parts.append(f'<circle cx="{x(value):.1f}" cy="{y}" r="5" fill="{_MARK}"/>')
        parts.append(_text(WIDTH - RIGHT + 12, y + 4, f"{value:.0%}", "start"))
    return "".join([*parts, "</svg>"])


def scatter(points: Sequence[tuple[str, float, float]], across: str, up: str) -> str:
    """(name, cost, share): cost on a logarithmic axis from left to right, share from 0 to 1 upwards."""
    import math

    height, bottom = 320, 50
    costs = [math.log10(cost) for _, cost, _ in points]
    low, high = math.floor(min(costs)), math.ceil(max(costs) + 1e-9)
    high = max(high, low + 1)
    inner = WIDTH - 70 - RIGHT

    def x(cost: float) -> float:
        return 70 + inner * (math.log10(cost) - low) / (high - low)

    def y(share: float) -> float:
        return height - bottom - (height - bottom - 20) * share

    parts = [_open(WIDTH, height, f"{up} against {across}")]
    for power in range(low, high + 1):
        parts.append(_line(x(10.0**power), 20, x(10.0**power), height - bottom, _FAINT, 0.5))
        parts.append(_text(x(10.0**power), height - bottom + 18, f"{10.0**power:g}", "middle"))
    for tick in (0.0, 0.5, 1.0):
        parts.append(_line(70, y(tick), WIDTH - RIGHT, y(tick), _FAINT, 0.5))
        parts.append(_text(60, y(tick) + 4, f"{tick:.0%}", "end"))
    taken: list[float] = []
    for name, cost, share in points:
        parts.append(f'<circle cx="{x(cost):.1f}" cy="{y(share):.1f}" r="5" fill="{_MARK}"/>')
        left = x(cost) >= WIDTH * 0.6
        low = y(share) - 6
        while any(abs(low - other) < LABEL for other in taken):  # two labels never stand on one line
            low += LABEL
        taken.append(low)
        parts.append(_text(x(cost) + (-9 if left else 9), low, name[:34], "end" if left else "start"))
    parts.append(_text(70 + inner / 2, height - 10, across, "middle"))
    return "".join([*parts, "</svg>"])


def _open(width: int, height: int, label: str) -> str:
    said = escape(label, quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{said}" font-family="system-ui,sans-serif" font-size="12">'
        f"<title>{said}</title>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, ink: str, width: float) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{ink}" '
        f'stroke-width="{width}"/>'
    )


def _text(x: float, y: float, said: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{_INK}">{escape(said)}</text>'
