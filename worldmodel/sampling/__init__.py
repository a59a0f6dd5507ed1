"""Solvers and test-time refinement of flow models. Tensors in, tensors out."""

from worldmodel.sampling.refine import PredictPerturb
from worldmodel.sampling.sample import sample
from worldmodel.sampling.schedules import flow_sigmas, karras_sigmas
from worldmodel.sampling.solvers import SOLVERS

__all__ = ["SOLVERS", "PredictPerturb", "flow_sigmas", "karras_sigmas", "sample"]
