"""The certificate on metrics whose worth is known."""

import numpy as np
import pytest

from worldmodel.evaluators.certificate import certify
from worldmodel.evaluators.metrics import Metric

N = 60


def scores(**values):
    """Kind of clip -> scores of N scenes; a number stands for itself plus a little noise."""
    rng = np.random.default_rng(0)
    return {
        kind: [{"m": None if value is None else float(value + 0.1 * rng.normal())} for _ in range(N)]
        for kind, value in values.items()
    }


def metric(better="lower", ranks=(("replay", "frozen"),)):
    return Metric("m", "M", "px", "mean", better, "a number", ranks)


def checked(metric, clips):
    found = certify("a family", [metric], clips, np.random.default_rng(0))
    return {(each.above, each.below, each.strict): each for each in found}


@pytest.mark.parametrize(("better", "replay", "frozen"), [("lower", 1, 5), ("higher", 5, 1), ("zero", 0, -5)])
def test_what_ranks_as_declared_holds(better, replay, frozen):
    (only,) = checked(metric(better), scores(replay=replay, frozen=frozen)).values()
    assert only.holds and only.strict and only.n == N
    assert only.low > 0 and only.difference == pytest.approx(4 if better != "zero" else 4.9, abs=0.2)


@pytest.mark.parametrize("frozen", [1.0, 0.5])
def test_a_metric_that_a_frozen_clip_wins_or_ties_fails(frozen):
    (only,) = checked(metric(), scores(replay=1.0, frozen=frozen)).values()
    assert not only.holds


def test_no_control_may_beat_the_replay_though_nothing_declares_it():
    clips = scores(replay=1.0, frozen=5.0, vanish=0.2, h264=0.5)
    found = checked(metric(), {**clips, "teleport": clips["replay"]})
    assert not found["replay", "vanish", False].holds
    assert found["replay", "teleport", False].holds, "a tie is allowed where nothing is declared"
    assert ("replay", "h264", False) not in found, "a ceiling is no control"


def test_what_prints_alike_is_alike():
    clips = scores(replay=1.0)
    clips["vanish"] = [{"m": each["m"] - 0.004} for each in clips["replay"]]
    clips["teleport"] = [{"m": each["m"] - 0.006} for each in clips["replay"]]
    found = checked(metric(ranks=()), clips)
    assert found["replay", "vanish", False].holds and not found["replay", "teleport", False].holds


def test_several_clips_of_one_scene_are_one_witness():
    clips = scores(replay=1.0, frozen=1.03)
    alone = certify("a family", [metric()], clips, np.random.default_rng(0))[0]
    together = certify("a family", [metric()], clips, np.random.default_rng(0), scenes=np.arange(N) // 6)[0]
    assert (alone.n, together.n) == (N, N // 6)
    assert together.difference == alone.difference


def test_what_only_describes_is_not_checked():
    assert not checked(metric("none", ()), scores(replay=1.0, frozen=0.0))


def test_a_number_that_does_not_exist_counts_as_the_worst():
    clips = scores(replay=1.0, frozen=None, vanish=5.0)
    found = checked(metric(ranks=(("replay", "frozen"), ("replay", "vanish"))), clips)
    assert not found["replay", "frozen", True].holds, "without any number of the control there is nothing to tell apart"
    some = dict(clips)
    some["frozen"] = [{"m": 9.0 if i % 2 else None} for i in range(N)]
    assert checked(metric(), some)["replay", "frozen", True].holds


def test_a_number_that_no_clip_has_claims_nothing_but_what_is_declared_fails():
    clips = scores(replay=None, frozen=None)
    assert not checked(metric(ranks=()), clips)
    (only,) = checked(metric(), clips).values()
    assert only.n == 0 and not only.holds


def test_a_vanished_replay_does_not_pass():
    (only,) = checked(metric(), scores(replay=None, frozen=5.0)).values()
    assert not only.holds


def test_scenes_without_a_clip_are_left_out():
    clips = scores(replay=1.0, ghost_lift=5.0)
    clips["ghost_lift"][: N // 2] = [None] * (N // 2)
    (only,) = checked(metric(ranks=(("replay", "ghost_lift"),)), clips).values()
    assert only.holds and only.n == N // 2


def test_a_few_scenes_that_agree_by_chance_do_not_certify():
    rng = np.random.default_rng(1)
    clips = {kind: [{"m": float(rng.normal())} for _ in range(N)] for kind in ("replay", "frozen")}
    assert not checked(metric(), clips)["replay", "frozen", True].holds


def test_clips_that_were_not_scored_are_refused():
    with pytest.raises(ValueError, match="scores: got none of 'frozen'"):
        certify("a family", [metric()], scores(replay=1.0), np.random.default_rng(0))


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="ranks: got standing"):
        metric(ranks=(("replay", "standing"),))
    with pytest.raises(ValueError, match="better: got 'none'"):
        metric("none")
