"""Rollouts longer than a chunk: the same whether looped over, streamed, batched or forked, and refused before work."""

import dataclasses
import itertools
import tracemalloc

import numpy as np
import pytest
import torch

import worldmodel
from worldmodel.handover import HANDOVERS
from worldmodel.rollout import Rollout, in_sequence
from worldmodel.sampling import PredictPerturb
from worldmodel.state import join
from worldmodel.stopping import StopRule
from worldmodel.storage import EpisodeStore
from worldmodel.videos import RolloutStore

REFINE = PredictPerturb(plan=[(0.0, 0.5, 2)], threshold=0.2)
NEW = 8  # frames of a chunk of 9 after one given frame


@pytest.fixture(scope="module")
def model(pipeline_folder):
    return worldmodel.load(pipeline_folder, device="cpu")


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)


def roll(model, frames, **options):
    return model.rollout(frames, **{"seeds": range(len(frames)), "progress": False, "keep_latents": True} | options)


def test_a_rollout_is_a_loop_over_step(model, frames):
    whole = roll(model, frames, horizon=3 * NEW, refine=REFINE)
    state, pieces = model.start(frames, seeds=range(3)), []
    for chunk in range(3):
        assert (state.chunk, state.time) == (chunk, chunk * NEW)
        state, piece = model.step(state, refine=REFINE)
        pieces.append(piece)
    looped = in_sequence(pieces)
    np.testing.assert_array_equal(looped.video, whole.video[:, 1:])
    np.testing.assert_array_equal(looped.latents, whole.latents[:, :, 1:])
    np.testing.assert_array_equal(looped.nfe, whole.nfe)
    assert whole.video.shape == (3, 1 + 3 * NEW, 32, 32, 3)


def test_a_refined_rollout_keeps_where_the_model_disagreed_with_itself(model, frames, tmp_path):
    whole = roll(model, frames, horizon=2 * NEW, refine=REFINE)
    maps = whole.uncertainty_maps
    assert maps.shape == (3, whole.latents.shape[2], *whole.latents.shape[3:]) and maps.dtype == np.float16
    assert (maps[:, 0] == 0).all() and (maps[:, 1:].reshape(3, -1).max(axis=1) > 0).all()
    alone = roll(model, frames[1:2], seeds=[1], horizon=2 * NEW, refine=REFINE)
    np.testing.assert_allclose(alone.uncertainty_maps[0], maps[1], atol=2e-3)
    assert roll(model, frames).uncertainty_maps is None
    store = EpisodeStore.create(tmp_path / "rollouts", "rollout")
    for index in range(3):
        store.write_rollout(f"{index}", whole, index)
    np.testing.assert_array_equal(store.read_rollout().uncertainty_maps, maps)
    clip = RolloutStore(tmp_path / "rollouts", store.keys()).read("2")
    np.testing.assert_array_equal(clip.uncertainty, maps[2])


def test_the_first_chunk_is_a_rollout_of_one_chunk(model, frames):
    np.testing.assert_array_equal(roll(model, frames, horizon=2 * NEW).video[:, :9], roll(model, frames).video)


@pytest.mark.parametrize("handover", HANDOVERS)
def test_every_chunk_begins_with_what_it_was_handed(model, frames, handover, monkeypatch):
    """The given latents are in every denoiser call and in the result, exactly, under refinement too."""
    given, denoiser = [], model.backend.denoiser

    def recorded(latents, *rest, **more):
        given.append(latents)
        return denoiser(latents, *rest, **more)

    monkeypatch.setattr(model.backend, "denoiser", recorded)
    state = model.start(frames, seeds=range(3))
    state, first = model.step(state, handover=handover, refine=REFINE)
    way = HANDOVERS[handover]
    handed = state.frames.copy()
    assert handed.shape[1] == way.frames(model.backend)
    np.testing.assert_array_equal(handed, first.video[:, -handed.shape[1] :])
    state, second = model.step(state, handover=handover, refine=REFINE)
    kept = first.latents[:, :, -way.latents :]
    pictures = handed[:, : 1 + 4 * (way.encoded - 1)] if way.encoded else handed[:, :0]
    encoded = model.backend.encode(pictures).numpy() if way.encoded else kept[:, :, :0]
    np.testing.assert_array_equal(given[1].numpy(), np.concatenate([encoded, kept[:, :, way.encoded :]], axis=2))
    assert second.video.shape[1] == 9 - handed.shape[1]
    assert second.latents.shape[2] == 3 - way.latents


def test_ways_of_handing_over_differ(model, frames):
    videos = [roll(model, frames, horizon=2 * NEW, tail="cut", handover=name).video for name in HANDOVERS]
    for one, other in itertools.combinations(videos, 2):
        assert np.abs(one.astype(int) - other).max() > 3


def test_a_sample_does_not_depend_on_its_batch_at_any_chunk(model, frames):
    together = roll(model, frames, horizon=2 * NEW)
    alone = roll(model, frames[1:2], seeds=[1], horizon=2 * NEW)
    pairs = roll(model, frames, horizon=2 * NEW, batch_size=2)
    np.testing.assert_allclose(alone.latents[0], together.latents[1], atol=1e-4)
    np.testing.assert_allclose(pairs.latents, together.latents, atol=1e-4)


def test_chunks_draw_noise_of_their_own(model, frames):
    """From the same frame, chunk 1 is another sample than chunk 0."""
    state = model.start(frames, seeds=range(3))
    _, first = model.step(state)
    _, second = model.step(dataclasses.replace(state, chunk=1))
    assert np.abs(first.latents - second.latents).mean() > 0.01


def test_the_first_fork_goes_on_as_the_sample_would_and_the_others_do_not(model, frames):
    state, _ = model.step(model.start(frames, seeds=range(3)))
    _, own = model.step(state)
    forked = model.fork(state, 3)
    assert len(forked) == 9
    _, ways = model.step(forked)
    np.testing.assert_allclose(ways.latents[::3], own.latents, atol=1e-4)
    for sample in range(3):
        mine = ways.latents[3 * sample : 3 * sample + 3]
        assert all(np.abs(mine[a] - mine[b]).mean() > 0.01 for a, b in ((0, 1), (0, 2), (1, 2)))


def test_forks_of_forks_are_all_different(model, frames):
    state = model.start(frames[:1], seeds=[5])
    once = model.fork(state, 2)
    later, _ = model.step(once)
    twice = model.fork(later, 2)
    assert twice.lineages == ((), ((1, 1),), ((1, 0),), ((1, 0), (1, 1)))
    _, ways = model.step(dataclasses.replace(twice, frames=np.repeat(later.frames[:1], 4, axis=0)))
    assert len({way.tobytes() for way in ways.latents}) == 4


def test_a_stream_gives_the_frames_of_the_rollout_chunk_by_chunk(model, frames):
    whole = roll(model, frames, horizon=2 * NEW + 3, tail="cut")
    pieces = list(model.stream(frames, seeds=range(3), horizon=2 * NEW + 3, tail="cut"))
    assert [piece.video.shape[1] for piece in pieces] == [9, 8, 3]
    np.testing.assert_array_equal(in_sequence(pieces).video, whole.video)


def test_several_given_frames_come_back_first(model, frames):
    clip = roll(model, frames).video[:, :5]
    rollout = roll(model, clip)
    assert rollout.video.shape[1] == 9
    np.testing.assert_allclose(rollout.latents[:, :, :2], model.backend.encode(clip).numpy(), atol=1e-5)


def test_a_stop_rule_ends_what_disagrees_with_itself(model, frames):
    measured = roll(model, frames, horizon=3 * NEW, stop=StopRule(np.inf))
    assert measured.uncertainty.shape == (3, 3)
    assert (measured.ends == 25).all(), "an infinite limit only measures"
    order = np.sort(measured.uncertainty[:, 0])
    limit = float(order[:2].mean())  # the two least certain first chunks are too much
    stopped = roll(model, frames, horizon=3 * NEW, stop=StopRule(limit))
    ended = measured.uncertainty[:, 0] > limit
    assert ended.sum() == 2
    assert (stopped.ends[ended] == 1).all(), "the given frame is all that is vouched for"
    plain = roll(model, frames, horizon=3 * NEW)
    np.testing.assert_array_equal(stopped.video[ended, :9], plain.video[ended, :9])
    assert (stopped.video[ended, 9:] == stopped.video[ended, 8:9]).all(), "no chunk is imagined after the end"
    assert np.isnan(stopped.uncertainty[ended, 1:]).all()
    per_chunk = plain.nfe[0] // 3 + 1
    assert (stopped.nfe[ended] == per_chunk).all()
    lasts = ~ended & (measured.uncertainty[:, 1] <= limit)
    assert (stopped.ends[lasts] >= 17).all()


def test_ended_samples_can_be_left_out_but_not_forked(model, frames):
    state, _ = model.step(model.start(frames, seeds=range(3)), stop=StopRule(0.0))
    assert state.ended.all()
    with pytest.raises(ValueError, match="state: got samples that have all ended"):
        model.step(state)
    with pytest.raises(ValueError, match=r"state: got samples \[0, 1, 2\], which have ended"):
        model.fork(state, 2)


def test_a_long_rollout_is_written_while_it_is_imagined(model, frames, tmp_path, monkeypatch):
    """More frames than a shard holds; the store has the whole rollout and the process never does."""
    monkeypatch.setattr("worldmodel.storage.rollout_stream.SHARD_FRAMES", 10)
    options = {"seeds": range(3), "horizon": 3 * NEW, "stop": StopRule(np.inf)}
    store = EpisodeStore.create(tmp_path / "rollouts", "rollout")
    streams = [store.stream_rollout(f"{index}", 25) for index in range(3)]
    for piece in model.stream(frames, **options):
        for index, stream in enumerate(streams):
            stream.append(piece, index)
            assert sum(len(part) for part in stream._video._waiting) < 10
    assert store.keys() == []
    for stream in streams:
        stream.close()
    read, whole = store.read_rollout(), model.rollout(frames, progress=False, **options)
    for name in ("video", "nfe", "seeds", "ends", "uncertainty"):
        np.testing.assert_array_equal(getattr(read, name), getattr(whole, name))
    assert len(list((tmp_path / "rollouts" / "0" / "video").glob("c.*"))) == 3


def test_a_stream_keeps_no_frames_of_the_chunks_that_it_has_written(tmp_path):
    store, size = EpisodeStore.create(tmp_path, "rollout"), 128

    def kept(chunks):
        stream = store.stream_rollout(f"{chunks}", chunks * 16)
        tracemalloc.start()
        for _ in range(chunks):
            video = np.zeros((2, 16, size, size, 3), np.uint8)
            stream.append(Rollout(video=video, fps=16.0, seeds=np.arange(2), nfe=np.zeros(2, np.int64)), 1)
        del video
        used = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        stream.close()
        return used

    kept(8)  # what is imported and cached
    assert kept(40) < 16 * size * size * 3, "40 chunks, all of them written, leave less than one of them"
    assert store.read_rollout(["40"]).video.shape == (1, 640, size, size, 3)


def test_what_is_no_number_ends_a_rollout(model, frames, monkeypatch):
    monkeypatch.setattr(StopRule, "uncertainty", lambda *_: torch.tensor([0.1, float("nan"), 0.1]))
    assert roll(model, frames, stop=StopRule(0.5)).ends.tolist() == [9, 1, 9]


def test_states_of_another_model_or_another_chunk_are_refused_before_any_work(model, frames, monkeypatch):
    state = model.start(frames, seeds=range(3))
    after, _ = model.step(state)
    with pytest.raises(ValueError, match=r"states: got chunks \[0, 1\], expected one and the same"):
        join([state, after])
    assert len(join([after, after])) == 6
    monkeypatch.setattr(model.backend, "encode", lambda *_: pytest.fail("encoded before the state was checked"))
    monkeypatch.setattr(model.backend, "denoiser", lambda *_, **__: pytest.fail("asked before the state was checked"))
    for change, message in (
        ({"frames": frames[:, None, :16]}, r"state: got frames \(3, 1, 16, 32, 3\)"),
        ({"frames": np.repeat(frames[:, None], 9, axis=1)}, r"state: got frames \(3, 9, 32, 32, 3\)"),
        ({"latents": np.zeros((3, 7, 1, 4, 4), np.float32)}, "state: got latents .* it is another model's"),
    ):
        with pytest.raises(ValueError, match=message):
            model.step(dataclasses.replace(state, **change))
    with pytest.raises(ValueError, match="state: got ndarray, expected what start"):
        model.step(frames)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon: got 0, expected a whole number"),
        ({"horizon": 2.0}, "horizon: got 2.0"),
        ({"horizon": 9}, "horizon: got 9 frames, expected 8 or 16, whole chunks; .* tail='cut'"),
        ({"horizon": 5}, "horizon: got 5 frames, expected 8, whole chunks"),
        ({"tail": "zeros"}, "tail: got 'zeros', expected one of refuse, cut"),
        ({"handover": "video"}, "handover: got 'video', expected one of frame, latent, frames"),
        ({"stop": 0.3}, "stop: got 0.3, expected a StopRule"),
    ],
)
def test_malformed_options_are_refused_before_any_work(model, frames, options, message, monkeypatch):
    monkeypatch.setattr(model.backend, "encode", lambda *_: pytest.fail("encoded before the arguments were checked"))
    with pytest.raises(ValueError, match=message):
        roll(model, frames, **options)
    with pytest.raises(ValueError, match=message):
        model.stream(frames, seeds=range(3), **options)


@pytest.mark.parametrize("given", [0, 2, 9])
def test_a_number_of_given_frames_that_is_no_whole_latent_is_refused(model, frames, given):
    clip = np.repeat(frames[:, None], given, axis=1)
    with pytest.raises(ValueError, match=f"frames: got {given} given frames, expected 1, 5"):
        roll(model, clip)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"limit": -1.0}, "limit: got -1"), ({"limit": "x"}, "limit"), ({"limit": 1.0, "sigma": 1.0}, "sigma: got 1.0")],
)
def test_malformed_stop_rules_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        StopRule(**options)
