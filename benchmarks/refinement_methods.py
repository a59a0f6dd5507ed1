"""The methods of benchmarks/refinement_study.py, and the rule by which their settings are chosen.

Every method but the base takes 15 evaluations a clip; Restart and best-of-N, which do not divide it, a little less.
Settings are chosen one stage after the other by the lowest mean centroid error on tuning scenes; what the held-out
scenes say has no part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from worldmodel.sampling import PredictPerturb, Quantile, budget
from worldmodel.sampling.controls import Restart
from worldmodel.sampling.plan import Planned
from worldmodel.sampling.refine import KEEP_VARIANCE

BASE_STEPS = 10
NFE = 15  # 1.5 times the base, as in the paper's tables
CANDIDATES = 2  # of best-of-N: each takes its share of the evaluations, one of it for its own score
WINDOWS = ((0.0, 0.1), (0.1, 0.2), (0.2, 0.35), (0.35, 0.55), (0.55, 0.95), (0.05, 0.35))
ITERATIONS = (2,)  # over the widest of them, with fewer steps the more iterations
THRESHOLDS = (0.25, Quantile(0.5))
TEMPERATURES = (0.0, 0.25, KEEP_VARIANCE, 1.0)  # without noise at all, too
ETAS = (0.5, 1.0)
RESTARTS = ((0.05, 0.35, 1), (0.35, 0.95, 1))

Schedule = Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Method:
    """One way to sample."""

    name: str  # of its folder
    label: str
    sigmas: tuple[float, ...]
    solver: str = "euler"
    refine: Planned | None = None
    candidates: int = 1

    def describe(self) -> dict[str, Any]:
        """Everything that its clips depend on beside the model, scenes and seeds, JSON-ready."""
        refine = None if self.refine is None else self.refine.describe()
        levels = [round(sigma, 6) for sigma in self.sigmas]
        return {"sigmas": levels, "solver": self.solver, "refine": refine, "candidates": self.candidates}


def first_stage(schedule: Schedule) -> list[Method]:
    """Where and how often to refine without a mask; the SDE's noise; where and how often to restart."""
    base = schedule(BASE_STEPS)
    plain = [
        _refined(f"plain {start:g}-{end:g}", *budget(NFE, base, PredictPerturb([(start, end, 1)], threshold=0.0)))
        for start, end in WINDOWS
    ]
    plain += [
        _refined(
            f"plain {WINDOWS[-1][0]:g}-{WINDOWS[-1][1]:g} x{k}",
            *budget(NFE, schedule, PredictPerturb([(*WINDOWS[-1], k)], threshold=0.0)),
        )
        for k in ITERATIONS
    ]
    sde = [Method(f"sde {eta:g}", f"SDE, eta {eta:g}", _levels(schedule(NFE)), solver=f"sde:eta={eta}") for eta in ETAS]
    return plain + sde + [_restart(window, schedule) for window in RESTARTS]


def second_stage(errors: Mapping[str, float], first: Sequence[Method]) -> list[Method]:
    """Thresholds at the two best plans of the first stage, and the temperature that keeps the variance at the best."""
    plans = ranked(errors, first, "plain")[:2]
    masked = [
        _changed(method, f"masked {method.name[6:]} tau {_short(threshold)}", threshold=threshold)
        for method in plans
        for threshold in THRESHOLDS
    ]
    return [*masked, _with_temperature(plans[0], KEEP_VARIANCE)]


def third_stage(errors: Mapping[str, float], second: Sequence[Method]) -> list[Method]:
    """Temperatures of the best masked plan."""
    best = ranked(errors, [each for each in second if "T " not in each.name], "masked")[0]
    return [_with_temperature(best, temperature) for temperature in TEMPERATURES]


def compared(errors: Mapping[str, float], tuned: Sequence[Method], schedule: Schedule) -> dict[str, Method]:
    """The methods to compare on held-out scenes, by row; each tuned one at its best settings."""
    cold = [method for method in tuned if "T " not in method.name]
    plain, masked = ranked(errors, cold, "plain")[0], ranked(errors, cold, "masked")[0]
    keeping = [method for method in tuned if f"T {KEEP_VARIANCE}" in method.name]
    tempered = ranked(errors, [method for method in tuned if method not in keeping], "masked")[0]
    return {
        "base": Method("base", f"Euler, {BASE_STEPS} steps (base)", _levels(schedule(BASE_STEPS))),
        "euler": Method("euler", f"Euler, {NFE} steps", _levels(schedule(NFE))),
        "unipc": Method("unipc", f"UniPC, {NFE} steps", _levels(schedule(NFE)), solver="unipc"),
        "sde": ranked(errors, cold, "sde")[0],
        "restart": ranked(errors, cold, "restart")[0],
        "plain": plain,
        "masked": masked,
        **({} if tempered == masked else {"tempered": tempered}),
        "keep_variance": ranked(errors, keeping)[0],
        "candidates": Method(
            "candidates",
            f"Best of {CANDIDATES}",
            _levels(schedule(NFE // CANDIDATES - 1)),
            candidates=CANDIDATES,
        ),
    }


def ranked(errors: Mapping[str, float], methods: Sequence[Method], kind: str = "") -> list[Method]:
    """The methods of a kind, the lowest error first."""
    return sorted((each for each in methods if each.name.startswith(kind)), key=lambda each: errors[each.name])


def _refined(name: str, sigmas: np.ndarray, refine: PredictPerturb | None) -> Method:
    assert refine is not None
    return Method(name, f"P&P, {name}", _levels(sigmas), refine=refine)


def _changed(method: Method, name: str, **changes: Any) -> Method:
    assert isinstance(method.refine, PredictPerturb)
    return replace(method, name=name, label=f"P&P, {name}", refine=replace(method.refine, **changes))


def _with_temperature(method: Method, temperature: float | str) -> Method:
    return _changed(method, f"{method.name} T {temperature}", temperature=temperature)


def _restart(window: tuple[float, float, int], schedule: Schedule) -> Method:
    refine, steps = Restart([window]), NFE
    while refine.nfe(schedule(steps)) > NFE:
        steps -= 1
    name = f"restart {window[0]:g}-{window[1]:g} x{window[2]}"
    return Method(name, name.capitalize(), _levels(schedule(steps)), refine=refine)


def _levels(sigmas: np.ndarray) -> tuple[float, ...]:
    return tuple(float(sigma) for sigma in sigmas)


def _short(threshold: float | Quantile) -> str:
    return f"q{threshold.q:g}" if isinstance(threshold, Quantile) else f"{threshold:g}"
