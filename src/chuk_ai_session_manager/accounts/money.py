"""Exact sums of money, however many amounts are added."""

from __future__ import annotations

from decimal import Decimal
from typing import Self, SupportsFloat

DECIMALS = 12
UNITS = 1_000_000_000_000
"""How many units a US dollar has: sums are whole numbers of them."""
# A float of fewer dollars has more than twelve exact decimals, so that the product below is rounded
# correctly.
_EXACTLY_SCALED = 4_000.0


def units_of(amount: float) -> int:
    """An amount of USD in millionths of a millionth of a dollar, rounded to the nearest one."""
    if isinstance(amount, Usd):
        return amount.units
    if -_EXACTLY_SCALED < amount < _EXACTLY_SCALED:
        return round(amount * UNITS)
    return round(Decimal(repr(float(amount))) * UNITS)


_new_float = float.__new__


class Usd(float):
    """A sum of USD: outside a float, inside a whole number of millionths of a millionth of a dollar.

    Adding the float 0.1 a million times misses 100,000 by more than a millionth; sums of `Usd` are exact.
    """

    __slots__ = ("units",)
    units: int

    def __new__(cls, amount: SupportsFloat = 0.0) -> Self:
        """From a number of dollars."""
        return cls.of_units(units_of(amount if isinstance(amount, float) else float(amount)))

    @classmethod
    def of_units(cls, units: int) -> Self:
        """From millionths of a millionth of a dollar."""
        made = _new_float(cls, units / UNITS)
        made.units = units
        return made

    @staticmethod
    def sum_of(amount: float, units: int) -> Usd:
        """The sum of an amount and so many units; `Usd(amount) + other` would create one object more."""
        units += amount.units if type(amount) is Usd else units_of(amount)
        made = _new_float(Usd, units / UNITS)
        made.units = units
        return made

    def __add__(self, other: float) -> Usd:
        return Usd.of_units(self.units + units_of(other))

    def __radd__(self, other: float) -> Usd:
        return self + other

    def __sub__(self, other: float) -> Usd:
        return Usd.of_units(self.units - units_of(other))

    def __neg__(self) -> Usd:
        return Usd.of_units(-self.units)

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        """Pickle and copy as a plain float."""
        return float, (float(self),)


NOTHING = Usd.of_units(0)
"""No money: the beginning of a sum."""
