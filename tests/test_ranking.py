"""Policies in MuJoCo and in a world whose predictions are known, from the same starts."""

import numpy as np
import pytest
from known_models import painted, random_robots

from worldmodel.graded import GradedPolicy
from worldmodel.ranking import MUJOCO, Outcome, agreement, credited, graded, lines, rank, save, summarise

WIDE = {"nodes": 3, "channel_width": 0.1, "node_radius": 0.1}


class Broken:
    def reset(self):
        pass

    def infer(self, observation):
        raise RuntimeError("no arm")


@pytest.fixture(scope="module")
def outcomes():
    policies = graded((0.0, 1.0)) | {"broken": lambda family, scene, n, seed: Broken()}
    return rank(
        painted(num_frames=17, scenes={"worldmodel/GraphTraversal-v0": WIDE | {"nodes": 9}}),
        "worldmodel/GraphTraversal-v0",
        policies,
        scenes=3,
        seed=0,
        num_frames=49,
        rows={"one": {"steps": 1}, "two": {"steps": 2}},
        batch_size=5,
        options={"nodes": 3},
        progress=False,
    )


def test_every_policy_is_played_in_every_world_from_the_same_scenes(outcomes):
    assert len(outcomes) == 3 * 3 * 4
    assert {each.world for each in outcomes} == {MUJOCO, "judge on MuJoCo", "one", "two"}


def test_a_broken_policy_fails_alone(outcomes):
    broken = [each for each in outcomes if each.policy == "broken"]
    assert all(each.error == "RuntimeError: no arm" and not any(each.stages.values()) for each in broken)
    assert not any(each.error for each in outcomes if each.policy != "broken")


def test_an_expert_succeeds_in_both_worlds_and_the_judge_sees_it(outcomes):
    for world in (MUJOCO, "judge on MuJoCo", "one", "two"):
        expert = [each.stages["success"] for each in outcomes if each.policy == "skill 1" and each.world == world]
        assert expert == [True] * 3


def test_stages_are_seen_in_every_frame_of_mujoco():
    """What is held long enough and let go before the chunk ends was held."""

    class DropAtOnce(GradedPolicy):
        def infer(self, observation):
            actions = super().infer(observation)["actions"]
            if self._time > 1.2:
                actions[8:, 3] = 0.1
            return {"actions": actions}

    policies = {"drop": lambda family, scene, n, seed: DropAtOnce(family, scene, n)}
    model = random_robots(size=64, num_frames=17)
    told = rank(
        model, "worldmodel/Grasp-v0", policies, scenes=1, num_frames=33, rows={"m": {"steps": 1}}, progress=False
    )
    true, judged = (next(each for each in told if each.world == world) for world in (MUJOCO, "judge on MuJoCo"))
    assert true.stages == judged.stages == dict.fromkeys(("reach", "lift", "hold", "success"), True)


def test_the_summary_says_it_all(outcomes, tmp_path):
    summary = summarise(outcomes)
    assert summary["scenes"] == 3 and summary["policies"]["broken"][MUJOCO]["errors"] == 3
    assert summary["worlds"]["one"]["stages"]["success"]["tp"] >= 3
    assert any("skill 1" in line and "1.00" in line for line in lines(summary))
    assert save(outcomes, summary, tmp_path / "deep" / "rank.json").read_text().startswith("{")


def test_agreement_of_known_rates():
    true = np.array([0.0, 0.2, 0.4, 0.6, 0.8])
    found = agreement(0.5 * true, true)
    assert found["pearson"]["value"] == pytest.approx(1.0) and found["spearman"]["value"] == pytest.approx(1.0)
    assert found["mmrv"] == 0.0 and found["calibration"]["slope"] == pytest.approx(2.0)
    assert found["calibration"]["bias"] == pytest.approx(-0.2)
    assert agreement(np.zeros(5), true)["pearson"] is None


def test_false_successes_are_those_of_true_failures():
    cases = [("a", 0, True, False), ("a", 1, False, False), ("b", 0, True, True), ("b", 1, False, True)]
    outcomes = [Outcome(MUJOCO, p, s, {"success": true}) for p, s, _, true in cases]
    outcomes += [Outcome("model", p, s, {"success": seen}) for p, s, seen, _ in cases]
    stage = summarise(outcomes)["worlds"]["model"]["stages"]["success"]
    assert (stage["tp"], stage["fp"], stage["fn"], stage["tn"]) == (1, 1, 1, 1)
    assert stage["false_success"]["value"] == 0.5 and stage["mcc"] == 0.0


def test_only_what_came_before_a_fault_is_credited():
    success = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]], bool)
    legal = np.array([[1, 1, 1, 0], [1, 0, 1, 1], [1, 1, 1, 1]], bool)
    assert credited({"success": success, "legal": legal}, "success").tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("model", "env", "options", "message"),
    [
        (painted, "worldmodel/Grasp-v0", {}, "differ from those given"),
        (painted, "worldmodel/GraphTraversal-v0", {"scenes": 0}, "at least 1"),
        (random_robots, "worldmodel/FreeFall-v0", {}, "takes no actions"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_played(model, env, options, message):
    with pytest.raises(ValueError, match=message):
        rank(model(), env, graded((1.0,)), **{"scenes": 1, "progress": False, **options})


def test_skill_is_a_share():
    with pytest.raises(ValueError, match="0 to 1"):
        GradedPolicy(None, None, 1, skill=2.0)
