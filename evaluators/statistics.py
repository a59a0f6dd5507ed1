"""Every statistic of the tables in one place; each random one takes the generator it uses.

| Need | Function | In |
|---|---|---|
| interval of a rate | `wilson`; `clopper_pearson` for 0 or n successes | intervals.py |
| interval over scenes | `bootstrap_mean`, `bootstrap_median`, `bootstrap_iqm` | intervals.py |
| same rows under two models | `pair_by_scene_and_seed` | comparisons.py |
| paired numbers | `paired_difference`: mean, median, Hodges-Lehmann shift, Wilcoxon p | comparisons.py |
| paired successes | `mcnemar` | comparisons.py |
| successes on different scenes | `boschloo` | comparisons.py |
| several tests in one table | `holm` | comparisons.py |
| one number from many | `iqm`, `pass_at_k`, `skill` | aggregates.py |
| judge or model against the simulator | `confusion`, `rogan_gladen` | confusion.py |
| success rates of n policies against a reference | `rank_agreement`: `pearson`, `kendall_tau_b`, `mmrv` | ranking.py |
| the same from the same starts, with intervals over the starts | `agreement_over_starts` | ranking.py |
| many futures of one scene | `crps`, `central_coverage` | ensembles.py |
| how many scenes | `scenes_for_mean_difference`, `scenes_for_mcnemar`, `scenes_for_half_width` | power.py |
"""

from worldmodel.evaluators.aggregates import iqm, pass_at_k, skill
from worldmodel.evaluators.comparisons import (
    PairedDifference,
    boschloo,
    hodges_lehmann,
    holm,
    mcnemar,
    pair_by_scene_and_seed,
    paired_difference,
)
from worldmodel.evaluators.confusion import Confusion, confusion, rogan_gladen
from worldmodel.evaluators.ensembles import central_coverage, crps
from worldmodel.evaluators.intervals import (
    RESAMPLES,
    Z95,
    Interval,
    bootstrap_iqm,
    bootstrap_mean,
    bootstrap_median,
    clopper_pearson,
    wilson,
)
from worldmodel.evaluators.power import (
    mcnemar_power,
    mean_difference_power,
    scenes_for_half_width,
    scenes_for_mcnemar,
    scenes_for_mean_difference,
)
from worldmodel.evaluators.ranking import (
    RankAgreement,
    StartsAgreement,
    agreement_over_starts,
    fisher_interval,
    kendall_tau_b,
    mmrv,
    pearson,
    rank_agreement,
)

__all__ = [
    "RESAMPLES",
    "Z95",
    "Confusion",
    "Interval",
    "PairedDifference",
    "RankAgreement",
    "StartsAgreement",
    "agreement_over_starts",
    "bootstrap_iqm",
    "bootstrap_mean",
    "bootstrap_median",
    "boschloo",
    "central_coverage",
    "clopper_pearson",
    "confusion",
    "crps",
    "fisher_interval",
    "hodges_lehmann",
    "holm",
    "iqm",
    "kendall_tau_b",
    "mcnemar",
    "mcnemar_power",
    "mean_difference_power",
    "mmrv",
    "pair_by_scene_and_seed",
    "paired_difference",
    "pass_at_k",
    "pearson",
    "rank_agreement",
    "rogan_gladen",
    "scenes_for_half_width",
    "scenes_for_mcnemar",
    "scenes_for_mean_difference",
    "skill",
    "wilson",
]
