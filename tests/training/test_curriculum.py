"""The embedded model's data: every source can be recorded, and trained on together."""

import pytest

from worldmodel.training.clip_sets import domains_of, read_clip_sets
from worldmodel.training.curriculum import EMBEDDED, collect_all


def test_a_share_of_everything_makes_sets_of_two_robots(tmp_path):
    collect_all(
        tmp_path, [s for s in EMBEDDED if s.name in ("maze", "grasp_perturbed", "flood")], share=1e-9, image_size=32
    )
    sets = {each.name: each for each in read_clip_sets(tmp_path)}
    assert sorted(sets) == ["flood", "grasp_perturbed", "maze"]
    assert sets["maze"].video.shape == (1, 49, 32, 32, 3)
    assert [domain.name for domain in domains_of(list(sets.values()))] == ["fetch", "ball"]
    assert sets["flood"].actions is None


def test_training_seeds_stay_away_from_those_of_validation_and_tests():
    assert all(source.seed + source.episodes < 1_000_000 for source in EMBEDDED)


def test_the_share_is_checked(tmp_path):
    with pytest.raises(ValueError, match="share: got 2"):
        collect_all(tmp_path, share=2)
