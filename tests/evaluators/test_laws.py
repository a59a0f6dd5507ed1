"""Laws across clips from chosen landing times: what is grouped, what is left out, and what comes out."""

import numpy as np
import pytest

from worldmodel.evaluators.laws import FALLS, laws
from worldmodel.evaluators.report_laws import law_lines, section
from worldmodel.evaluators.results import plain

HEIGHTS = (0.3, 0.6, 0.9, 1.2)


def family(law, scenes, samples=1, title="free fall", kind=FALLS, failed=()):
    """A family with one row, in which ``law(scene, height, true time, sample)`` is the time that is seen."""
    described, clips = [], []
    for index, changes in enumerate(scenes):
        scene = {"gravity": 9.81, "scale": 1.0, "mass": 0.0, "support_height": 0.0, "height": HEIGHTS[index % 4]} | {
            "support": "none",
            "release": "none",
            **changes,
        }
        height = scene["height"] * scene["scale"]
        true = float(np.sqrt(2 * height / scene["gravity"]))
        described.append({"key": f"{index}", "scene": scene, "first_frame_sha256": f"{index % 4}"})
        for sample in range(samples):
            seen = law(scene, height, true, sample)
            score = {"true_landing_ms": 1000.0 * true, "impact_time_ms": None if seen is None else 1000.0 * seen}
            failure = "unreadable" if index in failed else None
            clips.append({"clip": index, "sample": sample, "failure": failure, "score": score})
    row = {"label": "a <model>", "clips": clips}
    return {
        "family": kind,
        "title": title,
        "clip": {"fps": 16.0, "frames": 33},
        "scenes": described,
        "rows": {"m": row},
    }


def found(*families, prior=None):
    (law,) = laws(families, [prior] * len(families), np.random.default_rng(0))
    return law["rows"]["m"]


def true_time(scene, height, true, sample):
    return true


def looks_alone(scene, height, true, sample):
    """A model that only sees the picture: as if size, mass and gravity were always the same."""
    return float(np.sqrt(2 * scene["height"] / 9.81))


SIZES = [{"scale": scale} for scale in (0.5, 1.0, 2.0) for _ in HEIGHTS]
MASSES = [{"mass": mass} for mass in (0.2, 1.0, 5.0) for _ in HEIGHTS]
GRAVITIES = [{"gravity": g} for g in (3.0, 9.81) for _ in HEIGHTS]


def test_the_true_times_obey_every_law():
    laws = found(family(true_time, SIZES), family(true_time, MASSES), family(true_time, GRAVITIES))
    assert laws["root_height"]["value"] == pytest.approx(0.5)
    assert laws["size"] == {"value": pytest.approx(0.5), "low": pytest.approx(0.5), "high": pytest.approx(0.5)} | {
        "n": 16,  # with the four of scale 1 under the earth's gravity, which are the same scenes
        "lost": 0,
    }
    assert laws["mass"]["value"] == pytest.approx(0.0) and laws["mass"]["n"] == 12
    effect = laws["effects"]["gravity"]
    assert effect["slope"]["value"] == pytest.approx(1.0) and effect["sign_accuracy"]["value"] == 1.0
    assert "distribution" not in laws


def test_a_model_that_knows_no_cause_has_no_effect():
    laws = found(family(looks_alone, SIZES), family(looks_alone, GRAVITIES))
    assert laws["size"]["value"] == pytest.approx(0.0)
    assert laws["effects"]["gravity"]["slope"]["value"] == pytest.approx(0.0)
    assert laws["effects"]["gravity"]["sign_accuracy"]["value"] == 0.0


def test_a_scene_that_leaves_the_mass_to_the_density_is_compared_by_what_it_weighs():
    masses = [{"mass": mass} for mass in (0.0, 5.0) for _ in HEIGHTS]
    described = family(true_time, masses)
    for scene in described["scenes"]:
        scene["outcome"] = {"mass_kg": scene["scene"]["mass"] or 0.3}
    law = found(described)["mass"]
    assert law["value"] == pytest.approx(0.0) and law["n"] == 2 * len(HEIGHTS)
    sizes = family(true_time, SIZES)
    for scene in sizes["scenes"]:
        scene["outcome"] = {"mass_kg": 0.3 * scene["scene"]["scale"] ** 3}
    assert found(sizes)["size"]["value"] == pytest.approx(0.5), "a larger thing of one density is heavier"


def test_a_model_for_which_mass_matters_fails_the_placebo():
    laws = found(family(lambda scene, height, true, sample: true * scene["mass"] ** -0.2, MASSES))
    assert laws["mass"]["value"] == pytest.approx(-0.2) and laws["mass"]["high"] < 0


def test_scenes_that_look_different_or_differ_in_more_than_the_cause_are_not_compared():
    mixed = family(true_time, [{"scale": 1.0, "friction": 0.1}, {}, {}, {}, {"scale": 2.0, "friction": 0.9}])
    assert "size" not in found(mixed)
    changed = family(true_time, SIZES)
    for number, scene in enumerate(changed["scenes"]):
        scene["first_frame_sha256"] = str(number)
    assert "size" not in found(changed)


def test_falls_that_are_held_hidden_or_not_seen_to_end_are_no_evidence():
    scenes = [{"release": "gripper"}, {"support": "ledge"}, {}, {}, {}, {}, {}, {}]
    laws = found(family(lambda scene, *_: None if scene["height"] == 1.2 else 0.4, scenes, failed=[4]))
    assert (laws["root_height"]["n"], laws["root_height"]["lost"]) == (3, 3)


def test_samples_of_a_clip_are_scored_as_one_distribution():
    rng = np.random.default_rng(1)

    def from_the_prior(scene, height, true, sample):
        return true * np.sqrt(rng.uniform(0.5, 2.0) / scene["scale"])

    # Sizes that were truly drawn from the prior, and a model that draws from it too.
    scenes = [{"scale": float(scale)} for scale in rng.uniform(0.5, 2.0, 200)]
    (honest,) = found(family(from_the_prior, scenes, samples=19), prior=(0.5, 2.0))["distribution"]
    assert abs(honest["skill"]) < 0.1
    assert honest["coverage"]["0.5"]["low"] < 0.5 < honest["coverage"]["0.5"]["high"]
    assert honest["coverage"]["0.9"]["low"] < 0.9 < honest["coverage"]["0.9"]["high"]
    (sure,) = found(family(looks_alone, scenes, samples=19), prior=(0.5, 2.0))["distribution"]
    assert sure["skill"] < -0.1 and sure["coverage"]["0.9"]["high"] < 0.1
    (alone,) = found(family(looks_alone, scenes, samples=2))["distribution"]
    assert alone["skill"] is None and alone["coverage"] == {"0.5": None, "0.9": None}
    assert alone["crps_s"]["value"] == pytest.approx(sure["crps_s"]["value"])


def test_other_families_have_no_laws_of_falling():
    assert laws([family(true_time, SIZES, kind="worldmodel/Maze-v0")], [None], np.random.default_rng(0)) == []


def test_they_are_printed_with_their_intervals_and_escaped():
    families = [family(true_time, SIZES, samples=3), family(true_time, MASSES, title="b & c")]
    (law,) = plain(laws(families, [(0.5, 2.0), None], np.random.default_rng(0)))
    page = section(law, {"m": "a <model>"})
    assert "free fall, b &amp; c" in page and "a &lt;model&gt;" in page and "<model>" not in page
    assert "0.500<small>0.500 … 0.500</small><small>48 videos</small>" in page
    assert "uniform, 0.5 to 2 times" in page
    lines = law_lines(law, {"m": "a <model>"})
    assert "Size 0.50 [0.50, 0.50]" in lines[1] and "Mass placebo 0.00" in lines[1] and "of 3 samples" in lines[1]
