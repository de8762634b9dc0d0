"""How radii are written: 8/255 rather than 0.03137."""

from __future__ import annotations

from fractions import Fraction


def pixels(text: str) -> float:
    """A radius as people write it: '8/255' or '0.03'. Raises ValueError for anything else."""
    try:
        return float(Fraction(text.replace(" ", "")))
    except (ValueError, ZeroDivisionError):
        raise ValueError(
            f"{text!r} is no number: write a fraction or a decimal, as 8/255"
        ) from None


def as_fraction(value: float) -> str:
    """8/255 where the number is a multiple of 1/255 or of half of it; 0.3, which a person
    wrote as a decimal, as a decimal."""
    if value == float(f"{value:.3g}"):
        return f"{value:.3g}"
    for denominator in (255, 510):
        parts = round(value * denominator)
        if 0 < parts < denominator and abs(value * denominator - parts) < 1e-6:
            return f"{parts}/{denominator}"
    return f"{value:.6g}"
