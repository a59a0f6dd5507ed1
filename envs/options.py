"""Refusing options and scenes that cannot be, in one form, and drawing from the ranges that options are."""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from worldmodel.counts import is_whole

Range = float | tuple[float, float]
SMALLEST = 64  # pixels, of the side of a picture in which what is to be seen is a pixel wide at least
_KINDS: dict[Any, str] = {float: "a number", int: "a whole number", bool: "True or False", str: "a name"}


def expect(holds: bool, name: str, got: object, expected: str) -> None:
    """Raise ValueError unless a condition on an option or a scene holds."""
    if not holds:
        raise ValueError(f"{name}: got {got}, expected {expected}; change it in the scene or its options")


@dataclass(frozen=True)
class Limits:
    """The finite numbers that an option may be: from ``least`` to ``most``, or ``above`` and ``below`` them."""

    least: float = -math.inf
    most: float = math.inf
    unit: str = ""
    above: bool = False
    below: bool = False

    def hold(self, value: float) -> bool:
        """Whether a number is one of them."""
        high_enough = value > self.least if self.above else value >= self.least
        low_enough = value < self.most if self.below else value <= self.most
        return -math.inf < value < math.inf and bool(high_enough and low_enough)

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        if math.isinf(self.least):
            return f"a finite number{unit and f' of{unit}'}"
        least = f"{'above' if self.above else 'at least'} {self.least:g}"
        if math.isinf(self.most):
            return f"a finite number{unit and f' of{unit}'}, {least}"
        return f"{least} and {'below' if self.below else 'at most'} {self.most:g}{unit}"


FRICTION = Limits(0.0, 100.0)  # Coulomb coefficients


def check_numbers(options: Any, limits: Mapping[str, Limits]) -> None:
    """Refuse fields of frozen options that are no numbers within their limits; they become floats."""
    for name, allowed in limits.items():
        value = getattr(options, name)
        expect(_is_number(value) and allowed.hold(value), name, value, str(allowed))
        object.__setattr__(options, name, float(value))


def check_ranges(options: Any, limits: Mapping[str, Limits]) -> None:
    """Refuse fields of frozen options that are neither numbers nor pairs (least, most) of them within their limits.

    Numbers become floats and pairs tuples, whatever they were given as. None, where it is a field's default, passes.
    """
    for name, allowed in limits.items():
        value = getattr(options, name)
        if value is None and getattr(type(options), name) is None:
            continue
        several = isinstance(value, (tuple, list))
        pair = tuple(value) if several else (value, value)
        sound = len(pair) == 2 and all(_is_number(end) and allowed.hold(end) for end in pair)
        expect(sound and pair[0] <= pair[1], name, value, f"{allowed}, or a pair of such numbers, the smaller first")
        object.__setattr__(options, name, (float(pair[0]), float(pair[1])) if several else float(value))


def check_names(options: Any, name: str, known: tuple[str, ...]) -> None:
    """Refuse a field of frozen options that is no tuple of known names, a bare string too; lists become tuples."""
    value = getattr(options, name)
    some = isinstance(value, (tuple, list)) and len(value) > 0 and all(each in known for each in value)
    expect(some, name, repr(value), f"a tuple of some of {', '.join(known)}")
    object.__setattr__(options, name, tuple(value))


def check_kinds(scene: Any) -> None:
    """Refuse fields of a scene, a frozen dataclass, that are of other kinds than their annotations say."""
    scene_type: Any = type(scene)
    kinds = _annotations(scene_type)
    for field in dataclasses.fields(scene):
        value, kind = getattr(scene, field.name), kinds[field.name]
        expect(_is_of(value, kind), field.name, repr(value), _kind(kind))


def check_name(name: str, value: Any, known: tuple[str, ...]) -> None:
    """Refuse an option that is none of the known names."""
    expect(isinstance(value, str) and value in known, name, repr(value), f"one of {', '.join(known)}")


def ends(value: Range) -> tuple[float, float]:
    """Least and greatest number of a range."""
    return value if isinstance(value, tuple) else (value, value)


def draw(value: Range, usual: Range, rng: np.random.Generator) -> float:
    """A number from the range ``value`` of an option whose default is ``usual``.

    Where the default is a range, one number is taken from ``rng`` even for a fixed value: a scene of which one option
    is fixed is in all else the one that is drawn without it.
    """
    if isinstance(value, tuple) or isinstance(usual, tuple):
        return float(rng.uniform(*ends(value)))
    return float(value)


def drawn(options: Any, name: str, rng: np.random.Generator) -> float:
    """A number from the range that is the field ``name`` of options; see :func:`draw`."""
    return draw(getattr(options, name), getattr(type(options), name), rng)


def least_and_most(name: str, value: Any) -> tuple[int, int]:
    """The range that a whole number or a pair of them stands for."""
    pair = (value, value) if np.ndim(value) == 0 else tuple(value)
    whole = len(pair) == 2 and all(is_whole(each) for each in pair)
    expect(whole and pair[0] <= pair[1], name, value, "a whole number or a pair of them (least, most)")
    return int(pair[0]), int(pair[1])


@functools.cache
def _annotations(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _is_of(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, tuple | list | np.ndarray):
            return False
        first, *others = typing.get_args(kind)
        entries = [first] * len(value) if others == [...] else [first, *others]
        return len(value) == len(entries) and all(map(_is_of, value, entries))
    if dataclasses.is_dataclass(kind):
        wanted = typing.cast(type, kind)
        each = _annotations(wanted)
        return isinstance(value, wanted) and all(_is_of(getattr(value, name), hint) for name, hint in each.items())
    if kind is float:  # its limits are another matter, and NaN is outside of all
        return _is_number(value) or isinstance(value, float | np.floating)
    if kind is bool:
        return isinstance(value, bool | np.bool_)
    return is_whole(value) if kind is int else isinstance(value, kind)


def _kind(kind: Any) -> str:
    if typing.get_origin(kind) is not tuple:
        return _KINDS.get(kind) or f"a {kind.__name__}"
    first, *others = typing.get_args(kind)
    if others == [...]:
        return f"a tuple of which each entry is {_kind(first)}"
    same = all(other == first for other in others)
    entries = f"each {_kind(first)}" if same else ", ".join(map(_kind, (first, *others)))
    return f"a tuple of {1 + len(others)} entries, {entries}"


def _is_number(value: Any) -> bool:
    """A real number that a float can hold."""
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    return real and -sys.float_info.max <= value <= sys.float_info.max
