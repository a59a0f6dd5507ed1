"""Solvers and test-time refinement of flow models. Tensors in, tensors out."""

from worldmodel.sampling.budget import budget, planned_nfe
from worldmodel.sampling.presets import PRESETS, preset
from worldmodel.sampling.record import Record, overlay
from worldmodel.sampling.refine import PredictPerturb
from worldmodel.sampling.sample import sample
from worldmodel.sampling.schedules import flow_sigmas, karras_sigmas
from worldmodel.sampling.solvers import SDE, SOLVERS, DPMSolver2M, Euler, Heun, Solver, UniPC, as_solver
from worldmodel.sampling.sparse import SparsePredictPerturb
from worldmodel.sampling.uncertainty import Quantile

__all__ = [
    "PRESETS",
    "SDE",
    "SOLVERS",
    "DPMSolver2M",
    "Euler",
    "Heun",
    "PredictPerturb",
    "Quantile",
    "Record",
    "Solver",
    "SparsePredictPerturb",
    "UniPC",
    "as_solver",
    "budget",
    "flow_sigmas",
    "karras_sigmas",
    "overlay",
    "planned_nfe",
    "preset",
    "sample",
]
