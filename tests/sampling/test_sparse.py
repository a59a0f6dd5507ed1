"""Sparse refinement: what it leaves unchanged, what it does not evaluate, and what it reports."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from known_flows import SHAPE, RandomDenoiser, start

from worldmodel.backends.cosmos25 import Cosmos25Backend
from worldmodel.noise import KeyedNoise
from worldmodel.sampling import (
    PredictPerturb,
    Quantile,
    Record,
    SparsePredictPerturb,
    budget,
    flow_sigmas,
    preset,
    sample,
)
from worldmodel.sampling.sparse import grown

WINDOWS = [(1, 3, 4), (5, 5, 1)]


class PlaceByPlace(RandomDenoiser):
    """No place looks at another, so that leaving some out changes nothing; the last frame may be given."""

    def __init__(self, pinned=None):
        super().__init__()
        self.pinned = pinned
        self.computed, self.remembered = [], 0

    def __call__(self, x, sigma):
        x0 = super().__call__(x, sigma)
        return x0 if self.pinned is None else torch.where(self.pinned, 0.5, x0)

    def remember(self, x, sigma):
        self.remembered += 1
        return self(x, sigma), sigma

    def partial(self, x, sigma, places, memory):
        assert memory == sigma
        self.computed.append(places)
        return torch.where(places, self(x, sigma), torch.nan).nan_to_num(99.0), places


class Neighbours(PlaceByPlace):
    """Every place looks at the mean of its frame: what is left out is remembered."""

    def remember(self, x, sigma):
        self.remembered += 1
        return self(x, sigma), x.clone()

    def __call__(self, x, sigma):
        return super().__call__(x + x.mean(dim=(-1, -2), keepdim=True), sigma)

    def partial(self, x, sigma, places, memory):
        memory.copy_(torch.where(places, x, memory))
        self.computed.append(places)
        return torch.where(places, self(memory, sigma), 99.0), places


def run(refine, denoise=None, **options):
    """The sample, the record and the denoiser of one run."""
    denoise, record = denoise or PlaceByPlace(), Record(maps=True)
    return sample(denoise, start(), flow_sigmas(8), refine=refine, callback=record, **options), record, denoise


def both(threshold, **options):
    """Dense and sparse settings that differ in nothing else."""
    dense = PredictPerturb.from_steps(WINDOWS, threshold=threshold)
    return dense, SparsePredictPerturb.of(dense, **options)


@pytest.mark.parametrize("solver", ["euler", "heun", "unipc", "dpmpp_2m", "sde"])
@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.3, float("inf")])
def test_where_places_are_independent_it_is_the_published_procedure_in_every_solver(threshold, solver):
    dense, sparse = both(threshold)
    z, record, _ = run(dense, solver=solver)
    ours, sparse_record, _ = run(sparse, solver=solver)
    torch.testing.assert_close(ours, z)
    assert sparse_record.nfe.tolist() == record.nfe.tolist()
    for one, other in zip(sparse_record.iterations, record.iterations, strict=True):
        assert (one.mask == other.mask).all()
        assert (one.cost <= other.cost).all()


@pytest.mark.parametrize("halo", [0, 2])
@pytest.mark.parametrize("settled", [0.0, 1.0])
def test_with_every_place_uncertain_it_is_the_published_procedure(halo, settled):
    dense, sparse = both(0.0, halo=halo, settled=settled)
    z, record, _ = run(dense, Neighbours())
    ours, sparse_record, _ = run(sparse, Neighbours())
    torch.testing.assert_close(ours, z)
    np.testing.assert_allclose(sparse_record.effective_nfe, record.nfe)


def test_the_first_iteration_is_whole_and_the_others_evaluate_what_is_uncertain_and_free():
    pinned = torch.zeros(4, 1, 3, 5, 6, dtype=torch.bool)
    pinned[:, :, -1] = True
    _, record, denoise = run(both(0.3)[1], PlaceByPlace(pinned))
    assert denoise.remembered == 4, "one whole evaluation at each refined step, kept for the partial ones"
    first = [each for each in record.iterations if each.iteration == 1]
    later = [each for each in record.iterations if each.iteration > 1]
    assert all((each.cost == 1).all() for each in first)
    assert len(later) == len(denoise.computed) > 5
    masks = {(each.step, each.iteration): torch.from_numpy(each.mask).unsqueeze(1) for each in record.iterations}
    for each, computed in zip(later, denoise.computed, strict=True):
        running = torch.from_numpy(each.active).view(-1, 1, 1, 1, 1)
        assert torch.equal(computed, ~masks[each.step, each.iteration - 1] & ~pinned & running)
        np.testing.assert_allclose(each.cost, computed.flatten(1).double().mean(dim=1))


def test_frozen_places_keep_their_sample_and_prediction_to_the_bit():
    refine = SparsePredictPerturb.from_steps([(1, 1, 3)], threshold=0.3, stop_fraction=None)
    states, plain = [], []
    sample(Neighbours(), start(), flow_sigmas(4), refine=refine, callback=states.append)
    sample(Neighbours(), start(), flow_sigmas(4), callback=plain.append)
    masks = [found["certain"] for found in states[1]["refinement"]]
    assert 0.05 < masks[0].float().mean() < 0.95
    assert all((later | ~earlier).all() for earlier, later in pairwise(masks))
    frozen = masks[0].expand(SHAPE)
    for name in ("x", "x0"):
        assert torch.equal(states[1][name][frozen], plain[1][name][frozen])
        assert (states[1][name] != plain[1][name])[~frozen].float().mean() > 0.5


def test_effective_evaluations_count_parts_as_parts():
    _, record, denoise = run(both(0.3)[1])
    whole = 8 + denoise.remembered
    parts = sum(computed.flatten(1).double().mean(dim=1) for computed in denoise.computed)
    np.testing.assert_allclose(record.effective_nfe, whole + parts.numpy())
    assert (record.effective_nfe < record.nfe).all()
    dense = run(both(0.3)[0])[1]
    assert (dense.effective_nfe == dense.nfe).all()


@pytest.mark.parametrize("threshold", [0.3, Quantile(0.6)])
@pytest.mark.parametrize("options", [{}, {"settled": 0.5}, {"settled": 0.25, "halo": 1}, {"stop_fraction": None}])
def test_a_sample_does_not_depend_on_its_batch(threshold, options):
    refine = SparsePredictPerturb.from_steps(WINDOWS, threshold=threshold, **options)
    seeds, x = [3, 1, 4, 15], start()
    together, record = Neighbours(), Record()
    z = sample(together, x, flow_sigmas(8), refine=refine, noise=KeyedNoise(seeds), callback=record)
    for row, seed in enumerate(seeds):
        alone, own = Neighbours(), Record()
        one = sample(alone, x[row : row + 1], flow_sigmas(8), refine=refine, noise=KeyedNoise([seed]), callback=own)
        torch.testing.assert_close(one, z[row : row + 1], rtol=1e-5, atol=1e-6)
        assert own.nfe[0] == record.nfe[row]
        np.testing.assert_allclose(own.effective_nfe[0], record.effective_nfe[row])


def test_settled_places_are_those_whose_prediction_moved_little_since_the_step_before():
    refine = SparsePredictPerturb(threshold=0.4, settled=0.5)
    before = torch.zeros(1, 2, 1, 1, 4)
    x0 = torch.tensor([[0.1, 0.3, 0.9, 0.9], [0.1, 0.2, 0.9, 0.9]]).view(1, 2, 1, 1, 4)
    free = torch.tensor([True, True, True, False]).view(1, 1, 1, 1, 4)
    assert refine.first_places(x0, before, free).flatten().tolist() == [False, True, True, False]
    assert torch.equal(refine.first_places(x0, None, free), free), "nothing is known in the first step"
    dense_first = SparsePredictPerturb(threshold=0.4)
    assert torch.equal(dense_first.first_places(x0, before, free), free)
    quantile = SparsePredictPerturb(threshold=Quantile(0.9), settled=0.7)
    assert quantile.first_places(x0, before, free).flatten().tolist() == [False, False, True, False]


def test_settled_places_are_not_evaluated_in_iteration_one_and_stay_as_they_are():
    refine = SparsePredictPerturb.from_steps([(4, 4, 1)], threshold=0.3, settled=0.1, stop_fraction=None)
    states, plain, denoise = [], [], Neighbours()
    sample(denoise, start(), flow_sigmas(8), refine=refine, callback=states.append)
    sample(Neighbours(), start(), flow_sigmas(8), callback=plain.append)
    moved = (plain[4]["x0"] - plain[3]["x0"]).abs().mean(dim=1, keepdim=True)
    assert denoise.remembered == 1, "the prediction before iteration 1"
    (computed,) = denoise.computed
    assert torch.equal(computed, moved >= 0.1 * 0.3)
    assert 0.05 < computed.float().mean() < 0.95
    settled = ~computed.expand(SHAPE)
    assert torch.equal(states[4]["x0"][settled], plain[4]["x0"][settled])
    assert states[4]["refinement"][0]["cost"].tolist() == computed.flatten(1).double().mean(dim=1).tolist()


def test_a_halo_is_a_box_around_each_place_of_its_own_sample():
    mask = torch.zeros(2, 1, 3, 5, 6, dtype=torch.bool)
    mask[1, 0, 0, 2, 3] = True
    assert torch.equal(grown(mask, 0), mask)
    for halo in (1, 2):
        expected = torch.zeros_like(mask)
        expected[1, 0, : 1 + halo, 2 - halo : 3 + halo, max(0, 3 - halo) : 4 + halo] = True
        assert torch.equal(grown(mask, halo), expected)


def test_a_halo_comes_nearer_to_the_published_procedure():
    dense, _, _ = run(both(0.3)[0], Neighbours())
    errors = [(run(both(0.3, halo=halo)[1], Neighbours())[0] - dense).norm() for halo in (0, 1, 6)]
    assert errors[0] > errors[1] > errors[2]


def test_nothing_is_evaluated_once_nothing_can_change():
    refine = SparsePredictPerturb.from_steps([(0, 0, 6)], threshold=float("inf"), stop_fraction=None)
    z, record, denoise = run(refine)
    assert denoise.calls == 8 + 1
    assert record.nfe.tolist() == [9] * 4
    assert torch.equal(z, run(None)[0])


def test_settings_carry_over_and_survive_scaling():
    sparse = SparsePredictPerturb.of(preset("cosmos-57"), halo=1, settled=0.25)
    assert sparse.threshold == 0.5
    assert sparse.nfe(flow_sigmas(35)) == preset("cosmos-57").nfe(flow_sigmas(35)) == 57
    sigmas, scaled = budget(30, flow_sigmas, sparse.in_time(flow_sigmas(35)))
    assert isinstance(scaled, SparsePredictPerturb)
    assert (scaled.halo, scaled.settled, scaled.nfe(sigmas)) == (1, 0.25, 30)
    assert scaled.describe()["method"] == "SparsePredictPerturb"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate": "uncertain"}, "accumulate: got 'uncertain', expected 'certain'"),
        ({"accumulate": None}, "accumulate: got None, expected 'certain'"),
        ({"halo": -1}, "halo: got -1, expected whole places"),
        ({"halo": 0.5}, "halo: got 0.5"),
        ({"halo": True}, "halo: got True"),
        ({"settled": -0.1}, "settled: got -0.1, expected 0 to 1"),
        ({"settled": 1.5}, "settled: got 1.5"),
        ({"threshold": -1.0}, "threshold: got -1.0"),
    ],
)
def test_malformed_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SparsePredictPerturb(**options)


def test_a_denoiser_that_cannot_evaluate_a_part_is_refused_before_any_evaluation():
    denoise = RandomDenoiser()
    with pytest.raises(ValueError, match=r"denoise: got RandomDenoiser, expected one with remember and partial"):
        sample(denoise, start(), flow_sigmas(8), refine=both(0.3)[1])
    assert denoise.calls == 0


def test_a_partial_answer_is_checked_like_a_full_one():
    class Broken(PlaceByPlace):
        def partial(self, x, sigma, places, memory):
            return torch.full_like(x, torch.nan), places

    with pytest.raises(ValueError, match=r"denoise: got NaN or infinity at step 1"):
        run(both(0.3)[1], Broken())


@pytest.mark.parametrize("solver", ["euler", "unipc"])
def test_a_cosmos_pipeline_is_refined_sparsely(pipeline_folder, solver):
    backend = Cosmos25Backend.from_folder(pipeline_folder)
    given = torch.randn(3, 16, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    x = KeyedNoise(range(3)).initial(given.new_empty(3, 16, 3, 4, 4))

    def z(refine):
        record = Record()
        return sample(backend.denoiser(given), x, flow_sigmas(6), solver=solver, refine=refine, callback=record), record

    dense, sparse = (each.from_steps([(1, 3, 3)], threshold=0.0) for each in (PredictPerturb, SparsePredictPerturb))
    torch.testing.assert_close(z(sparse)[0], z(dense)[0], rtol=1e-4, atol=1e-5)
    refined, record = z(SparsePredictPerturb.from_steps([(1, 3, 3)], threshold=Quantile(0.7), stop_fraction=None))
    assert torch.equal(refined[:, :, :1], given)
    costs = np.array([each.cost for each in record.iterations])
    assert (costs[::3] == 1).all()
    assert (costs[1::3] < 1).any()
    np.testing.assert_allclose(np.round(costs * 12), costs * 12, atol=1e-6)  # whole tokens, of which there are 12
