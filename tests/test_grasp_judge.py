"""Grasps played for the judge: a success and a failure from one first frame, and MuJoCo's word beside the judge's."""

from worldmodel.envs.grasp_policies import FAILURES
from worldmodel.evaluators.certified_judge import OUTCOMES
from worldmodel.grasp_judge import judged_attempts


def test_each_scene_succeeds_and_fails_and_the_judge_sees_it():
    seed = 5 * len(FAILURES) + FAILURES.index("slip")
    verdicts = judged_attempts(seed, image_size=64)
    assert list(verdicts) == ["replay", "h264"]
    for rows in verdicts.values():
        assert [row["attempt"] for row in rows] == ["expert", "slip"]
        assert [row["true"]["success"] for row in rows] == [True, False]
        assert [row["judged"]["success"] for row in rows] == [True, False]
        assert all(row["judged"].keys() == row["true"].keys() == set(OUTCOMES) for row in rows)
        assert rows[1]["true"]["contact"] and rows[1]["judged"]["contact"]


def test_all_failures_have_their_turn():
    assert len(FAILURES) == 8 and "expert" not in FAILURES
