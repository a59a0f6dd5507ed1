"""Policies in MuJoCo and in a world whose predictions are known, from the same starts."""

import numpy as np
import pytest
from known_models import painted, random_robots

from worldmodel.commands import judging
from worldmodel.envs.grasp import Grasp
from worldmodel.graded import GradedPolicy
from worldmodel.ranking import MUJOCO, Outcome, agreement, credited, graded, lines, load, rank, save, summarise

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


class Scribbler(GradedPolicy):
    """Blackens what it sees."""

    def infer(self, observation):
        for value in observation.values():
            value[:] = 0
        return {"actions": np.zeros((self.n, 2))}


class Unready(GradedPolicy):
    """Is ready once."""

    resets = 0

    def reset(self):
        Unready.resets += 1
        if Unready.resets > 2:  # of which one is its own, when it is made
            raise OSError("no link")
        super().reset()


class Late(GradedPolicy):
    """An expert that breaks once it has arrived."""

    def infer(self, observation):
        if self._time > 1.5:
            raise RuntimeError("too hot")
        return super().infer(observation)


@pytest.fixture(scope="module")
def odd():
    kinds = {"scribbler": Scribbler, "unready": Unready, "late": Late}
    makers = {
        name: lambda family, scene, n, seed, kind=kind: kind(family, scene, n, seed=seed)
        for name, kind in kinds.items()
    }
    model = painted(num_frames=17, scenes={"worldmodel/GraphTraversal-v0": WIDE})
    told = rank(
        model,
        "worldmodel/GraphTraversal-v0",
        makers | graded((1.0,)),
        scenes=2,
        num_frames=49,
        rows={"one": {"steps": 1}, "two": {"steps": 2}},
        progress=False,
    )
    return {name: [each for each in told if each.policy == name] for name in (*kinds, "skill 1")}


def test_what_a_policy_does_to_its_frames_is_not_seen_by_others(odd):
    assert not any(each.error for each in odd["scribbler"])
    assert all(each.stages["success"] for each in odd["skill 1"]) and len(odd["skill 1"]) == 8


def test_a_reset_that_raises_fails_its_own_episodes(odd):
    failed = [each for each in odd["unready"] if each.error]
    assert {each.error for each in failed} == {"OSError: no link"} and len(failed) in (6, 7)
    assert not any(any(each.stages.values()) for each in failed)


def test_who_breaks_after_a_success_has_failed_in_every_world(odd):
    assert {each.world for each in odd["late"]} == {MUJOCO, "judge on MuJoCo", "one", "two"}
    assert all(each.error == "RuntimeError: too hot" for each in odd["late"])
    assert not any(any(each.stages.values()) for each in odd["late"])


def test_errors_and_latency_are_told(odd):
    summary = summarise([each for outcomes in odd.values() for each in outcomes])
    told = lines(summary)
    assert (
        "late: episodes failed by an error: 2 of 2 (MuJoCo), 2 of 2 (one), 2 of 2 (two); the first: "
        + ("RuntimeError: too hot")
        in told
    )
    assert not any(line.startswith("skill 1: ") for line in told)
    calls = [second for each in odd["skill 1"] for second in each.seconds]
    assert len(calls) == 2 * 3 * 3  # scenes, chunks, and worlds in which it is asked
    p50, p95 = (1e3 * np.percentile(calls, q) for q in (50, 95))
    assert next(line for line in told if line.startswith("skill 1 ")).endswith(f" {p50:.1f}, {p95:.1f}")
    assert summary["policies"]["skill 1"]["one"]["latency"]["calls"] == 6.0
    assert summary["policies"]["skill 1"]["judge on MuJoCo"]["latency"] is None


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
    path = save(outcomes, summary, tmp_path / "deep" / "rank.json")
    assert load(path) == outcomes and summarise(load(path)) == summary


def played(successes, starts=10):
    """Episodes (n, S) of which as many are successes."""
    return np.arange(starts) < np.array(successes)[:, None]


def test_agreement_of_known_rates():
    true, seen = played([0, 2, 4, 6, 8]), played([0, 1, 2, 3, 4])
    found = agreement(seen, true)
    assert found["pearson"]["value"] == pytest.approx(1.0) and found["spearman"]["value"] == pytest.approx(1.0)
    assert found["mmrv"]["value"] == 0.0 and found["calibration"]["slope"] == pytest.approx(2.0)
    assert found["calibration"]["bias"] == pytest.approx(-0.2)
    assert agreement(played([0] * 5), true)["pearson"] is None


def test_intervals_know_that_starts_were_drawn():
    """Rates on a line have an interval of no width over policies, and one over the ten starts behind them."""
    found = agreement(played([0, 1, 2, 3, 4]), played([0, 2, 4, 6, 8]))
    assert found["pearson_fisher"]["low"] == pytest.approx(1.0)
    assert found["pearson"]["low"] < 0.95 and found["spearman"]["low"] < 0.95
    assert found["bootstrap"]["draws"] == 2000 and found["bootstrap"]["left_out"] > 0
    assert found == agreement(played([0, 1, 2, 3, 4]), played([0, 2, 4, 6, 8]))


def test_the_lines_say_which_intervals_they_are():
    names, true, seen = "abcd", played([1, 4, 6, 9]), played([2, 3, 7, 8])
    outcomes = [
        Outcome(world, name, start, {"success": bool(rows[row, start])})
        for world, rows in ((MUJOCO, true), ("m", seen))
        for row, name in enumerate(names)
        for start in range(10)
    ]
    summary = summarise(outcomes)
    r, told = summary["worlds"]["m"]["pearson"], lines(summary)
    assert next(line for line in told if line.startswith("Pearson r *")).endswith(
        f"{r['value']:.2f} [{r['low']:.2f}, {r['high']:.2f}]"
    )
    assert any("2000 bootstrap draws of the 10 starts" in line and line.endswith(" (m)") for line in told)


@pytest.mark.parametrize("starts", [1, 2])
def test_one_policy_is_told_without_a_ranking(starts):
    outcomes = [Outcome(w, "a", s, {"success": True}) for w in (MUJOCO, "m") for s in range(starts)]
    assert next(line for line in lines(summarise(outcomes)) if line.startswith("MMRV")).endswith(" -")


def test_one_start_is_told_without_intervals():
    outcomes = [Outcome(w, p, 0, {"success": p > "b"}) for w in (MUJOCO, "m") for p in "abcd"]
    told = lines(summarise(outcomes))
    assert next(line for line in told if line.startswith("Pearson r *")).endswith(" 1.00")
    assert next(line for line in told if line.startswith("MMRV *")).endswith(" 0.000")
    assert not any("bootstrap" in line for line in told)


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


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"m": {"steps": 0}}, "steps"),
        ({"m": {}, "n": {"solver": "guess"}}, "solver"),
        ({"m": {"refine": 3}}, "refine"),
        ({"m": {"stop": 3}}, "stop"),
        ({"m": {"horizon": 3}}, "horizon, expected options among handover"),
        ({MUJOCO: {}}, "choose another"),
    ],
)
def test_rows_are_refused_before_anything_is_played(rows, message):
    made = []

    def maker(*given):
        made.append(given)
        return Broken()

    with pytest.raises(ValueError, match=message):
        rank(painted(), "worldmodel/GraphTraversal-v0", {"a": maker}, scenes=1, rows=rows, progress=False)
    assert not made


@pytest.mark.parametrize("skill", [2.0, -0.1, float("nan")])
def test_skill_is_a_share(skill):
    with pytest.raises(ValueError, match="0 to 1"):
        GradedPolicy(None, None, 1, skill=skill)
    with pytest.raises(ValueError, match="0 to 1"):
        graded((0.5, skill))


def test_a_failure_by_another_physics_is_no_script():
    with pytest.raises(ValueError, match="script: got 'slip', which is another physics and no other motion"):
        GradedPolicy(Grasp(), None, 1, script="slip")


def test_a_skill_given_twice_is_refused():
    with pytest.raises(ValueError, match="each once"):
        graded((0.5, 1.0, 0.5))


def test_the_command_refuses_first_and_saves_what_it_says(tmp_path, capsys):
    out = tmp_path / "rank.json"
    for choices, message in (
        ({"skills": (1.5,)}, "skill: got 1.5"),
        ({"policies": "os"}, "module:function"),
        ({"out": tmp_path}, "expected a file"),
    ):
        with pytest.raises(ValueError, match=message):
            judging.rank(**{"model": "nowhere", "out": out, **choices})
    judging.rank(scenes=1, skills=(1.0,), num_frames=9, steps=1, out=out)
    assert {each.policy for each in load(out)} == {"skill 1"}
    assert f"ranking: {out}" in capsys.readouterr().out
