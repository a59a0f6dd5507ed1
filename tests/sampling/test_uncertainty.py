"""The mask: its norm and threshold by hand, quantiles, pinned places, and what a recording keeps."""

import numpy as np
import pytest
import torch
from known_flows import SHAPE, RandomDenoiser, start

from worldmodel.sampling import PredictPerturb, Quantile, Record, flow_sigmas, overlay, sample
from worldmodel.sampling.uncertainty import accumulate, below_threshold, disagreement, share


def test_disagreement_is_the_mean_over_channels():
    before = torch.zeros(1, 4, 1, 1, 2)
    x0 = torch.tensor([[1.0, 0.0], [-2.0, 0.0], [0.0, 0.5], [3.0, 0.5]]).view(1, 4, 1, 1, 2)
    assert disagreement(x0, before).flatten().tolist() == [1.5, 0.25]


def test_a_place_at_the_threshold_is_uncertain():
    uncertainty = torch.tensor([0.1, 0.25, 0.3]).view(1, 1, 3)
    certain = below_threshold(uncertainty, 0.25, torch.ones(1, 1, 3, dtype=torch.bool))
    assert certain.flatten().tolist() == [True, False, False]


@pytest.mark.parametrize("q", [0.0, 0.25, 0.5, 1.0])
def test_a_quantile_makes_that_share_of_each_sample_certain(q):
    uncertainty = start((3, 1, 2, 4, 5)).abs() * torch.tensor([1.0, 10.0, 1e-3]).view(3, 1, 1, 1, 1)
    free = torch.ones_like(uncertainty, dtype=torch.bool)
    certain = below_threshold(uncertainty, Quantile(q), free)
    assert share(certain, free).tolist() == pytest.approx([q] * 3)
    for row in range(3):
        inside, outside = uncertainty[row][certain[row]], uncertainty[row][~certain[row]]
        assert not len(inside) or not len(outside) or inside.max() < outside.min()


def test_quantiles_leave_pinned_places_out():
    uncertainty = torch.arange(8.0).view(1, 1, 8)
    free = torch.arange(8).view(1, 1, 8) >= 4
    certain = below_threshold(uncertainty, Quantile(0.5), free)
    assert certain.flatten().tolist() == [False] * 4 + [True, True, False, False]


def test_a_quantile_carries_over_to_another_latent_scale_and_a_threshold_does_not():
    def scaled(factor: float):
        inner = RandomDenoiser()
        return lambda x, sigma: factor * inner(x, sigma)

    def masks(threshold, factor: float) -> np.ndarray:
        record = Record(maps=True)
        refine = PredictPerturb.from_steps([(0, 0, 1)], threshold=threshold)  # at t = 0 the network sees noise alone
        sample(scaled(factor), start(), flow_sigmas(4), refine=refine, callback=record)
        return record.iterations[0].mask

    assert (masks(Quantile(0.3), 1.0) == masks(Quantile(0.3), 7.0)).all()
    assert (masks(0.2, 1.0) != masks(0.2, 7.0)).any()


def test_accumulation_by_hand():
    before, now = torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])
    assert accumulate("certain", now, before).tolist() == [True, True, True, False]
    assert accumulate("uncertain", now, before).tolist() == [True, False, False, False]
    assert accumulate(None, now, before).tolist() == now.tolist()


def test_the_frozen_set_grows_under_certain_and_shrinks_under_uncertain():
    for rule, grows in (("certain", True), ("uncertain", False)):
        record = Record(maps=True)
        refine = PredictPerturb.from_steps([(1, 1, 4)], threshold=0.3, accumulate=rule, stop_fraction=None)
        sample(RandomDenoiser(), start(), flow_sigmas(4), refine=refine, callback=record)
        pairs = list(zip(record.iterations[:-1], record.iterations[1:], strict=True))
        assert len(pairs) == 3
        for earlier, later in pairs if grows else [(b, a) for a, b in pairs]:
            assert not (earlier.mask & ~later.mask).any()
        assert any((a.mask != b.mask).any() for a, b in pairs)


def test_certain_places_keep_their_sample_and_their_prediction():
    states = []
    refine = PredictPerturb.from_steps([(1, 1, 1)], threshold=0.3)
    for change in (refine, None):
        sample(RandomDenoiser(), start(), flow_sigmas(4), refine=change, callback=states.append)
    refined, plain = states[1], states[5]
    certain = refined["refinement"][0]["certain"].expand(SHAPE)
    assert 0.05 < certain.float().mean() < 0.95
    for name in ("x", "x0"):
        assert torch.equal(refined[name][certain], plain[name][certain])
        assert (refined[name][~certain] != plain[name][~certain]).float().mean() > 0.99


class HalfPinned:
    """Two of four frames are given; predictions elsewhere follow the sample."""

    pinned = torch.zeros(2, 1, 4, 5, 6, dtype=torch.bool)
    pinned[:, :, :2] = True
    given = 3.0

    def __call__(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        return torch.where(self.pinned, self.given, x)


@pytest.mark.parametrize("solver", ["euler", "heun", "unipc", "dpmpp_2m", "sde"])
@pytest.mark.parametrize("threshold", [0.0, 0.5, Quantile(0.5)])
def test_pinned_places_are_exact_and_take_no_part(solver, threshold):
    record, predictions = Record(maps=True), []

    def watch(state: dict) -> None:
        record(state)
        predictions.append(state["x0"])

    refine = PredictPerturb.from_steps([(1, 2, 3)], threshold=threshold, stop_fraction=0.99)
    z = sample(HalfPinned(), start((2, 4, 4, 5, 6)), flow_sigmas(5), solver=solver, refine=refine, callback=watch)
    pinned = HalfPinned.pinned.expand_as(z)
    assert (z[pinned] == 3.0).all()
    assert all((x0[pinned] == 3.0).all() for x0 in predictions)
    for found in record.iterations:
        assert (found.map[:, :2] == 0).all(), "nothing is uncertain there"
        np.testing.assert_allclose(found.certain, found.mask[:, 2:].mean(axis=(1, 2, 3)), rtol=1e-6)
        np.testing.assert_allclose(found.uncertainty, found.map[:, 2:].mean(axis=(1, 2, 3), dtype=float), rtol=2e-3)


def test_a_sample_with_everything_pinned_stops_at_once():
    denoise = HalfPinned()
    denoise.pinned = torch.ones(2, 1, 4, 5, 6, dtype=torch.bool)
    denoise.pinned[1, :, 2:] = False
    record = Record()
    refine = PredictPerturb.from_steps([(0, 0, 4)], threshold=1e-6)
    sample(denoise, start((2, 4, 4, 5, 6)), flow_sigmas(3), refine=refine, callback=record)
    assert record.nfe.tolist() == [3 + 1, 3 + 4]


def test_a_record_counts_and_keeps_numbers_only_unless_asked():
    record, spent = Record(), []
    refine = PredictPerturb.from_steps([(1, 2, 3)], threshold=0.3, stop_fraction=0.5)

    def watch(state: dict) -> None:
        record(state)
        spent.append(state["evaluations"].numpy())

    sample(RandomDenoiser(), start(), flow_sigmas(5), solver="heun", refine=refine, callback=watch)
    assert (record.nfe == np.sum(spent, axis=0)).all()
    assert {(found.step, found.iteration) for found in record.iterations} <= {(s, k) for s in (1, 2) for k in (1, 2, 3)}
    inner = sum(found.active.astype(int) for found in record.iterations)
    assert (record.nfe == 9 + inner).all(), "Heun takes 9 in 5 steps, and each active iteration one"
    assert all(found.mask is None and found.map is None for found in record.iterations)
    assert all(found.certain.shape == (4,) for found in record.iterations)


def test_overlay_colours_the_frames_that_a_latent_frame_stands_for():
    video = np.full((1, 9, 16, 16, 3), 90, np.uint8)
    maps = np.zeros((1, 3, 2, 2), bool)
    maps[0, 1, 0, 1] = True  # frames 1 to 4, upper right
    drawn = overlay(video, maps, colour=(255, 0, 0))
    changed = (drawn != video).any(axis=-1)[0]
    expected = np.zeros((9, 16, 16), bool)
    expected[1:5, :8, 8:] = True
    assert (changed == expected).all()
    assert drawn[0, 1, 0, 15].tolist() == [200, 30, 30]


def test_overlay_scales_values_by_the_largest_or_as_told():
    video, maps = np.zeros((1, 1, 4, 8, 3), np.uint8), np.array([[[[0.5, 1.0]]]])
    assert overlay(video, maps, colour=(90, 0, 0))[0, 0, 0, [0, 7], 0].tolist() == [30, 60]
    assert overlay(video, maps, top=2.0, colour=(90, 0, 0))[0, 0, 0, [0, 7], 0].tolist() == [15, 30]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (9, [0, 1, 1, 1, 1, 2, 2, 2, 2]),  # a whole clip
        (7, [0, 1, 1, 1, 1, 2, 2]),  # its end was cut
        (12, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]),  # a later piece, without a first frame
    ],
)
def test_overlay_of_pieces_of_a_rollout(frames, expected):
    maps = np.arange(3.0).reshape(1, 3, 1, 1)
    drawn = overlay(np.zeros((1, frames, 2, 2, 3), np.uint8), maps, colour=(90, 0, 0), frames_per_latent=4)
    assert (drawn[0, :, 0, 0, 0] // 30).tolist() == expected
    with pytest.raises(ValueError, match="maps: got 3 latent frames for 10"):
        overlay(np.zeros((1, 10, 2, 2, 3), np.uint8), maps, frames_per_latent=4)


@pytest.mark.parametrize(
    ("video", "maps", "message"),
    [
        (np.zeros((1, 9, 8, 8, 3)), np.zeros((1, 3, 1, 1)), "video: got float64"),
        (np.zeros((1, 9, 8, 8, 3), np.uint8), np.zeros((2, 3, 1, 1)), r"maps: got shape \(2, 3, 1, 1\)"),
        (np.zeros((1, 9, 8, 8, 3), np.uint8), np.zeros((1, 4, 1, 1)), "maps: got 4 latent frames for 9"),
        (np.zeros((1, 9, 8, 8, 3), np.uint8), np.zeros((1, 1, 1, 1)), "maps: got shape"),
    ],
)
def test_overlays_that_do_not_fit_are_refused(video, maps, message):
    with pytest.raises(ValueError, match=message):
        overlay(video, maps)


@pytest.mark.parametrize("q", [-0.1, 1.1, float("nan"), "half", True])
def test_malformed_quantiles_are_refused(q):
    with pytest.raises(ValueError, match="q: got"):
        Quantile(q)
