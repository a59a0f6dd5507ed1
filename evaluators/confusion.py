"""Judged successes against true ones: sensitivity, specificity, false success, and the correction for them.

Two levels, never mixed: a judge against the simulator on rendered clips, and a model against the simulator on
generated clips.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np

from worldmodel.evaluators.comparisons import mcnemar
from worldmodel.evaluators.intervals import Interval, check_counts, wilson


@dataclass(frozen=True)
class Confusion:
    """Counts of clips; positive = success. Rates have Wilson's interval, and are nan where no clip is of their kind."""

    tp: int  # judged a success, and one
    fp: int  # judged a success, but a failure: false success
    fn: int  # judged a failure, but a success
    tn: int  # judged a failure, and one

    def __post_init__(self) -> None:
        """Refuse negative and fractional counts."""
        check_counts(tp=self.tp, fp=self.fp, fn=self.fn, tn=self.tn)

    @property
    def sensitivity(self) -> Interval:
        """TP / (TP + FN), the share of true successes that are seen."""
        return _rate(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> Interval:
        """TN / (TN + FP), the share of true failures that are seen."""
        return _rate(self.tn, self.tn + self.fp)

    @property
    def false_success(self) -> Interval:
        """FP / (FP + TN), the share of true failures that are called a success; 1 - specificity."""
        return _rate(self.fp, self.fp + self.tn)

    @property
    def judged_rate(self) -> Interval:
        """Success rate as judged."""
        return _rate(self.tp + self.fp, self.tp + self.fp + self.fn + self.tn)

    @property
    def true_rate(self) -> Interval:
        """Success rate in truth."""
        return _rate(self.tp + self.fn, self.tp + self.fp + self.fn + self.tn)

    @property
    def mcc(self) -> float:
        """Matthews correlation (TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN)); 0 where a factor is 0."""
        factors = (self.tp + self.fp) * (self.tp + self.fn) * (self.tn + self.fp) * (self.tn + self.fn)
        return (self.tp * self.tn - self.fp * self.fn) / sqrt(factors) if factors else 0.0

    @property
    def bias_p(self) -> float:
        """Exact McNemar p that the judged rate differs from the true one, from FP against FN."""
        return mcnemar(self.fp, self.fn)


def confusion(*, judged: np.ndarray, truth: np.ndarray) -> Confusion:
    """Count (n,) bool verdicts against (n,) bool outcomes of the same clips."""
    judged, truth = np.asarray(judged), np.asarray(truth)
    for name, array in (("judged", judged), ("truth", truth)):
        if array.dtype != np.bool_ or array.ndim != 1 or len(array) == 0:
            raise ValueError(f"{name}: got {array.dtype} of shape {array.shape}, expected bool (n >= 1,); one a clip")
    if len(judged) != len(truth):
        raise ValueError(f"judged: got {len(judged)} clips, expected {len(truth)} as in truth; judge the same clips")
    counts = (judged & truth, judged & ~truth, ~judged & truth, ~judged & ~truth)
    return Confusion(*(int(count.sum()) for count in counts))


def rogan_gladen(*, apparent: float, sensitivity: float, specificity: float) -> float:
    """Success rate corrected for the judge, (p + Sp - 1) / (Se + Sp - 1), cut to 0..1 (Rogan and Gladen 1978).

    A secondary number: sensitivity and specificity must come from clips like the ones judged.
    """
    given = {"apparent": apparent, "sensitivity": sensitivity, "specificity": specificity}
    for name, value in given.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name}: got {value}, expected a rate in 0..1; divide the count by the number of clips")
    if sensitivity + specificity <= 1:
        raise ValueError(
            f"sensitivity, specificity: got {sensitivity}, {specificity}, expected a sum above 1; "
            "a judge no better than chance cannot be corrected"
        )
    return min(1.0, max(0.0, (apparent + specificity - 1) / (sensitivity + specificity - 1)))


def _rate(count: int, total: int) -> Interval:
    return wilson(count, total) if total else Interval(nan, nan, nan)
