"""Rollouts: seeded sample by sample, and refused before any work when malformed."""

import numpy as np
import pytest

import worldmodel
from worldmodel.sampling import PredictPerturb


@pytest.fixture(scope="module")
def model(pipeline_folder):
    return worldmodel.load(pipeline_folder, device="cpu")


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)


REFINE = PredictPerturb(plan=[(0.0, 0.5, 2)], threshold=0.0)


def test_shapes_counts_and_provenance(model, frames):
    rollout = model.rollout(frames, seeds=range(4), refine=REFINE, keep_latents=True, progress=False)
    assert rollout.video.shape == (4, 9, 32, 32, 3)
    assert rollout.video.dtype == np.uint8
    assert rollout.latents.shape == (4, 16, 3, 4, 4)
    planned = REFINE.nfe(model.backend.sigmas(4))
    assert planned > 4
    assert rollout.nfe.tolist() == [planned] * 4
    assert rollout.provenance["model"] == "random"
    assert len(rollout.provenance["weights_sha256"]) == 64
    assert rollout.provenance["refine"]["plan"] == [[0.0, 0.5, 2]]


def test_a_rollout_depends_on_its_own_seed_only(model, frames):
    options = {"refine": REFINE, "keep_latents": True, "progress": False}
    together = model.rollout(frames, seeds=[7, 8, 9, 10], **options)
    pairs = model.rollout(frames, seeds=[7, 8, 9, 10], batch_size=3, **options)
    alone = model.rollout(frames[2:3], seeds=[9], **options)
    np.testing.assert_allclose(pairs.latents, together.latents, atol=1e-4)
    np.testing.assert_allclose(alone.latents[0], together.latents[2], atol=1e-4)
    other = model.rollout(frames[2:3], seeds=[11], **options)
    assert np.abs(other.latents - alone.latents).mean() > 0.01


def test_float_frames_are_the_same_as_uint8(model, frames):
    one = model.rollout(frames[:1], seeds=[0], progress=False)
    other = model.rollout(frames[:1] / 255.0, seeds=[0], progress=False)
    np.testing.assert_array_equal(one.video, other.video)


def test_views_of_frames_are_taken(model, frames):
    flipped = model.rollout(frames[::-1, :, ::-1], seeds=range(4), batch_size=1, progress=False)
    plain = model.rollout(frames[::-1, :, ::-1].copy(), seeds=range(4), batch_size=1, progress=False)
    np.testing.assert_array_equal(flipped.video, plain.video)


@pytest.mark.parametrize("kind", ["uint8", "float"])
def test_frames_are_resized_only_when_asked_and_only_in_proportion(model, frames, kind):
    large = frames.repeat(3, axis=1).repeat(3, axis=2)  # what a pixel covers is one colour, so its mean is that
    large = large if kind == "uint8" else large / 255.0
    with pytest.raises(ValueError, match=r"frames: got shape \(4, 96, 96, 3\), .* pass resize=True to scale them"):
        model.start(large, seeds=range(4))
    np.testing.assert_array_equal(model.start(large, seeds=range(4), resize=True).frames[:, 0], frames)
    with pytest.raises(ValueError, match=r"frames: got shape \(4, 96, 48, 3\), .* crop to the proportions of that"):
        model.rollout(large[:, :, :48], seeds=range(4), resize=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: [f[0], f[1][:16]], "frames: got images of several sizes"),
        (lambda f: f[0], r"frames: got shape \(32, 32, 3\), expected \(B, 32, 32, 3\)"),
        (lambda f: f[:, :16], r"frames: got shape \(4, 16, 32, 3\)"),
        (lambda f: f[:0], r"frames: got shape \(0, 32, 32, 3\)"),
        (lambda f: f.astype(int), "frames: got dtype int64"),
        (lambda f: f.astype(np.float32), r"frames: got float values from 0 to 25\d"),
        (lambda f: np.where(f > 200, np.nan, f / 255.0), "frames: got NaN"),
    ],
)
def test_malformed_frames_are_refused(model, frames, change, message):
    with pytest.raises(ValueError, match=message):
        model.rollout(change(frames), seeds=range(4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": [1, 2]}, "seeds: got 2, expected 4"),
        ({"seeds": [1, 2, 3, -4]}, "seeds: got -4"),
        ({"seeds": 4}, "seeds: got 4, expected one integer"),
        ({"steps": 2.5}, "steps: got 2.5"),
        ({"refine": "yes"}, "refine: got 'yes'"),
        ({"solver": ["euler"]}, "solver: got"),
        ({"solver": "rk4"}, "solver: got 'rk4', expected one of euler"),
        ({"steps": -1}, "steps: got -1"),
        ({"steps": 0}, "steps: got 0"),
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"refine": PredictPerturb.from_steps([(2, 9, 1)])}, "steps: got window 2-9"),
    ],
)
def test_malformed_options_are_refused_before_any_work(model, frames, options, message, monkeypatch):
    def never(*_):
        raise AssertionError("encoded before the arguments were checked")

    monkeypatch.setattr(model.backend, "encode", never)
    with pytest.raises(ValueError, match=message):
        model.rollout(frames, **{"seeds": range(4)} | options)


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="model: got 'tiney', expected tiny, tiny-128, an existing pipeline folder"):
        worldmodel.load("tiney")
