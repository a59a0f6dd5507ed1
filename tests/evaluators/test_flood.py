"""The judge of floods against MuJoCo, against closed forms, and on clips that must fail."""

import dataclasses
import json

import numpy as np
import pytest

from worldmodel.envs.traversal import GraphTraversalEnv
from worldmodel.evaluators import controls
from worldmodel.evaluators.certificate import certify
from worldmodel.evaluators.faults import zooming
from worldmodel.evaluators.flood import EVALUATOR, score_flood
from worldmodel.evaluators.traversal import evaluator_for
from worldmodel.evaluators.water import Parts, dry_plate, fill_times, graph_parts, water_masks, wet_shares
from worldmodel.evaluators.water_flow import fed_discs, front_speeds, jumps, kept_wet, outside
from worldmodel.storage.video_files import through_h264
from worldmodel.traversal_controls import spill

SEEDS = (0, 1, 2, 3)
FRAME = 1.0 / 16.0


@pytest.fixture(scope="module")
def clips():
    tree, graph = (
        GraphTraversalEnv(image_size=64, task="flood", kind=kind, num_frames=81) for kind in ("tree", "graph")
    )
    made = [(tree if seed % 2 else graph).record(seed=seed) for seed in SEEDS]
    tree.close()
    graph.close()
    return made


@pytest.fixture(scope="module")
def scores(clips):
    """Kind of clip -> the score of each scene's."""
    rng = np.random.default_rng(0)
    made = []
    for clip, other in zip(clips, clips[1:] + clips[:1], strict=True):
        video, mask = clip.video, clip.mask
        made.append(
            {
                "replay": video,
                "h264": through_h264(video, clip.fps),
                "frozen": controls.frozen(video),
                "half_speed": controls.half_speed(video),
                "vanish": controls.vanish(video, mask),
                "teleport": controls.teleport(video, mask, rng),
                "reversed": controls.reversed_after_first(video),
                "shuffled": controls.shuffled_after_first(video, rng),
                "other_seed": controls.other_seed(video, other.video),
                "spill": spill(clip),
                "zooming": zooming(video),
            }
        )
    return {kind: [score_flood(each[kind], clip) for each, clip in zip(made, clips, strict=True)] for kind in made[0]}


def flooded(clip, times):
    """The clip with each part of the graph full of water from ``times`` (parts,) s on, and dry rims."""
    parts, (plate, water) = graph_parts(clip), dry_plate(clip)
    labels = parts.labels
    frames = []
    for time in clip.time:
        full = np.append(False, times <= time)
        wet = full[labels]
        frames.append(np.where(wet[..., None] & (labels > 0)[..., None], water, plate))
    frames[0] = clip.video[0]
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def line(pieces=3):
    """Three discs in a row, joined by channels of so many pieces, each part a pixel in one row."""
    count = 3 + 2 * pieces
    order = [0, *range(3, 3 + pieces), 1, *range(3 + pieces, count), 2]
    labels = np.array([[part + 1 for part in order]])
    channels = (np.arange(3, 3 + pieces), np.arange(3 + pieces, count))
    middles = (np.arange(pieces) * 0.1, np.arange(pieces) * 0.1)
    return Parts(labels > 0, labels, channels, count, np.ones(count, int), middles), order


EDGES = ((0, 1), (1, 2))


def arrival(order, seconds):
    """Fill times of parts that fill one after the other."""
    times = np.zeros(len(order))
    times[order] = seconds * np.arange(len(order))
    return times


def test_a_part_is_filled_when_half_of_it_is_wet_and_stays_so():
    time = np.arange(6) * 0.5
    shares = np.array(
        [
            [0.0, 0.0, 1.0, 0.0, 0.0],
            [0.2, 0.6, 1.0, 0.0, 0.0],
            [0.4, 0.0, 1.0, 0.0, 0.0],
            [0.8, 0.0, 1.0, 0.0, 0.0],
            [1.0, 0.0, 1.0, 0.0, 0.4],
            [1.0, 0.0, 1.0, 1.0, 0.9],
        ]
    )
    filled = fill_times(shares, time)
    assert filled[0] == pytest.approx(1.0 + 0.5 * 0.1 / 0.4)  # between frames the share grows evenly
    assert filled[1] == np.inf  # one frame is a flicker
    assert filled[2] == 0.0
    assert filled[3] == pytest.approx(2.25)  # holds to the end of the clip
    assert filled[4] == pytest.approx(2.1)


def test_discs_are_fed_from_the_start_through_channels_only():
    parts, order = line()
    none = np.zeros(2)
    times = arrival(order, 0.1)
    fed, ways = fed_discs(times, parts, EDGES, start=0, least=none, slack=0.05)
    assert fed.all()
    assert ways == {0: (0, 1), 1: (1, 2)}
    np.testing.assert_allclose(front_speeds(times, parts, ways), 1.0)  # pieces 0.1 m apart, filled 0.1 s apart
    from_the_far_end = arrival(order[::-1], 0.1)
    assert fed_discs(from_the_far_end, parts, EDGES, 2, none, 0.05)[0].all()
    assert fed_discs(from_the_far_end, parts, EDGES, 0, none, 0.05)[0].tolist() == [True, False, False]


@pytest.mark.parametrize("part", [1, 4])
def test_what_never_fills_feeds_nothing(part):
    parts, order = line()
    times = arrival(order, 0.1)
    times[part] = np.inf
    assert fed_discs(times, parts, EDGES, 0, np.zeros(2), 0.05)[0].tolist() == [True, False, False]
    assert not fed_discs(np.full(len(order), np.inf), parts, EDGES, 0, np.zeros(2), 0.05)[0][1:].any()


def test_water_that_is_everywhere_at_once_was_not_fed():
    parts, order = line()
    at_once = np.where(np.arange(len(order)) == 0, 0.0, 0.1)
    assert fed_discs(at_once, parts, EDGES, 0, np.full(2, 0.4), 0.1)[0].tolist() == [True, False, False]


def test_water_that_appears_far_from_all_other_has_jumped():
    wet = np.zeros((4, 5, 40), bool)
    wet[:, 1:4, :5] = True
    wet[1:, 1:4, 5:9] = True  # 4 px on
    wet[2:, 1:4, 20:24] = True  # 12 px on
    wet[3, 0, 39] = True  # too small
    np.testing.assert_array_equal(jumps(wet, reach=6.0, least=4.0), [0, 0, 1, 0])
    np.testing.assert_array_equal(jumps(wet, reach=20.0, least=4.0), [0, 0, 0, 0])
    back = wet[[0, 2, 0, 2]]
    np.testing.assert_array_equal(jumps(back, reach=6.0, least=4.0), [0, 1, 0, 0])  # it had been there


def test_pixels_that_dry_are_not_kept():
    wet = np.ones((3, 1, 10), bool)
    damp = wet.copy()
    damp[1, 0, :2] = False
    np.testing.assert_allclose(kept_wet(wet, damp), [1.0, 0.8, 0.8])
    wet[1:, 0, 5:] = False  # paler, but not dry
    np.testing.assert_allclose(kept_wet(wet, damp), [1.0, 0.8, 0.8])


def test_water_is_outside_beyond_the_margin():
    floor = np.zeros((1, 10), bool)
    floor[0, :4] = True
    found = outside(np.ones((2, 1, 10), bool), floor, 2.0)
    np.testing.assert_array_equal(found[1, 0], np.arange(10) >= 6)


@pytest.mark.parametrize("size", [64, 128])
def test_fill_times_are_mujocos(size):
    env = GraphTraversalEnv(image_size=size, task="flood", kind="graph", num_frames=65)
    clip = env.record(seed=6)
    env.close()
    parts = graph_parts(clip)
    wet, _ = water_masks(clip.video, clip)
    times = fill_times(wet_shares(wet, parts), clip.time)
    true = fill_times(wet_shares(clip.mask, parts), clip.time)
    in_time = true < clip.time[-1] - 3 * FRAME
    assert in_time.sum() > 20
    assert np.abs(times - true)[in_time].max() < FRAME
    others = [k for k in range(len(clip.scene["nodes"])) if k != clip.scene["start"] and in_time[k]]
    arrived, filled = (np.array(clip.outcome[name])[others] for name in ("node_arrival", "node_filled"))
    assert (times[others] >= arrived - 0.02).all()
    assert (times[others] <= filled + FRAME).all()
    iou = (wet & clip.mask).sum(axis=(1, 2)) / (wet | clip.mask).sum(axis=(1, 2))
    assert iou.mean() > (0.88 if size == 64 else 0.94)


def test_the_well_is_dried_out_of_the_plate(clips):
    for clip in clips:
        plate, water = dry_plate(clip)
        assert water[2] > water[0] + 100.0
        assert (plate[..., 2] <= plate[..., 0] + 10.0).all()  # nothing is blue
        assert np.abs(plate[clip.maps["node"] == 1].mean() - plate[clip.maps["node"] == 2].mean()) < 12.0


def test_the_true_flood_is_valid_and_measured_right(clips, scores):
    for clip, score in zip(clips, scores["replay"], strict=True):
        assert score.valid
        assert score.valid_last_frame
        assert score.valid_any_frame
        assert score.coverage == score.order == score.structure == 1.0
        assert score.spill == score.teleports == 0
        assert score.monotone > 0.998
        assert score.fill_time_error_s < 0.25 * FRAME
        assert score.tau_b > 0.9
        assert score.front_speed_m_s == pytest.approx(clip.scene["flood_speed"], rel=0.12)
        assert score.true_success == clip.success


def test_h264_does_not_cost_validity(scores):
    assert all(score.valid for score in scores["h264"])


@pytest.mark.parametrize("kind", ["frozen", "vanish", "teleport", "reversed", "shuffled", "other_seed", "spill"])
def test_no_control_is_valid(scores, kind):
    assert not any(score.valid or score.valid_last_frame for score in scores[kind])


def test_each_control_fails_by_its_own_test(scores):
    assert all(score.coverage == score.order == 0.0 for score in scores["frozen"])
    assert all(score.first_fault_frame is None for score in scores["frozen"])
    assert all(score.spill > 0.3 and score.coverage == score.order == 1.0 for score in scores["spill"])
    assert all(score.monotone < 0.1 and score.coverage_last_frame == 0.0 for score in scores["vanish"])
    assert all(score.teleports + 100.0 * score.spill > 1.0 for score in scores["teleport"])
    assert all(score.order == 0.0 and score.teleports > 0 for score in scores["reversed"])
    assert all(not score.registered and score.structure < 0.5 for score in scores["other_seed"])
    assert all(score.monotone < 0.5 for score in scores["shuffled"])


def test_all_declarations_hold(scores):
    plain = {kind: [score.to_dict() for score in each] for kind, each in scores.items()}
    json.dumps(plain)
    failed = [each for each in certify("flood", EVALUATOR.metrics, plain, np.random.default_rng(0)) if not each.holds]
    assert not failed


def test_a_flood_painted_part_by_part_in_the_true_order_is_in_order_and_in_a_random_one_is_not(clips):
    clip = clips[1]
    parts = graph_parts(clip)
    true = fill_times(wet_shares(clip.mask, parts), clip.time)
    true[clip.scene["start"]] = 0.0
    painted = score_flood(flooded(clip, true), clip)
    assert painted.coverage == painted.order == 1.0
    assert painted.teleports == 0
    mixed = true.copy()
    others = np.flatnonzero(np.isfinite(true) & (np.arange(len(true)) != clip.scene["start"]))
    mixed[others] = np.random.default_rng(0).permutation(true[others])
    shuffled = score_flood(flooded(clip, mixed), clip)
    assert shuffled.coverage == 1.0
    assert shuffled.order < 0.5
    assert shuffled.teleports > 0
    assert not shuffled.valid
    assert shuffled.tau_b < 0.7


def test_blank_blue_and_instant_floods_fail(clips):
    clip = clips[0]
    blank = score_flood(np.zeros_like(clip.video), clip)
    assert blank.coverage == blank.water_iou == blank.structure == 0.0
    blue = np.broadcast_to(np.rint(dry_plate(clip)[1]).astype(np.uint8), clip.video.shape).copy()
    blue[0] = clip.video[0]
    everywhere = score_flood(blue, clip)
    assert everywhere.coverage == 1.0
    assert everywhere.spill > 1.0
    assert everywhere.order == 0.0
    at_once = np.concatenate([clip.video[:1], clip.video[-1:].repeat(len(clip) - 1, axis=0)])
    instant = score_flood(at_once, clip)
    assert instant.coverage == instant.coverage_last_frame == 1.0
    assert instant.spill == instant.order == 0.0
    assert instant.teleports > 0
    assert not any(score.valid_any_frame for score in (blank, everywhere, instant))


def test_any_frame_forgives_what_comes_after_and_last_frame_does_not(clips):
    clip = min(clips, key=lambda each: max(each.outcome["edge_filled"] + each.outcome["node_filled"]))
    dried = clip.video.copy()
    dried[-6:] = np.rint(dry_plate(clip)[0]).astype(np.uint8)
    score = score_flood(dried, clip)
    assert score.valid_any_frame
    assert not score.valid
    assert score.coverage == 1.0
    assert score.coverage_last_frame == 0.0


def test_the_evaluator_is_found_by_the_scene_and_lacking_fields_are_refused(clips):
    clip = clips[0]
    assert evaluator_for(clip) is EVALUATOR
    scene = {name: value for name, value in clip.scene.items() if name != "flood_speed"}
    with pytest.raises(ValueError, match=r"^truth\.scene: got no flood_speed, expected the fields nodes, edges"):
        score_flood(clip.video, dataclasses.replace(clip, scene=scene))
    with pytest.raises(ValueError, match=r"^truth\.maps: got node, expected node and edge, or wall"):
        score_flood(clip.video, dataclasses.replace(clip, maps={"node": clip.maps["node"]}))
    with pytest.raises(ValueError, match=r"^video: got shape .* expected .* as in truth"):
        score_flood(clip.video[:, ::2], clip)
