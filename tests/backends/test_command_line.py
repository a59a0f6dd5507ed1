"""A released model from the command line: what it is told there is what it is told in Python."""

import numpy as np
import tiny_predict

import worldmodel
from worldmodel import cli
from worldmodel.backends.cosmos25_released import default_negative_prompt
from worldmodel.backends.text import ship_prompt
from worldmodel.collect import collect
from worldmodel.storage import EpisodeStore

PROMPT = "a ball falls on a table"


def test_prompt_guidance_and_size_reach_the_model(tmp_path):
    folder = tiny_predict.save(tiny_predict.pipeline(), tmp_path / "released")
    for seed, prompt in enumerate((PROMPT, default_negative_prompt())):
        ship_prompt(folder, prompt, tiny_predict.embeddings(seed))
    truth = collect(tmp_path / "truth", episodes=2, image_size=32, num_frames=9)
    cli.rollout(
        truth.path,
        tmp_path / "out",
        str(folder),
        steps=2,
        prompt=PROMPT,
        guidance=2.0,
        conditions=("image_size=[32,32]", "num_frames=9"),
        device="cpu",
        guardrail="none",
        memory=("slicing",),
        seed=5,
    )
    rolled = EpisodeStore.open(tmp_path / "out").read_rollout(truth.keys())
    assert rolled.provenance["prompt"] == PROMPT and rolled.provenance["guidance_scale"] == 3.0
    assert rolled.provenance["running"]["memory"] == ["slicing"]
    model = worldmodel.load(folder, "cpu", guardrail="none")
    model = model.conditioned(prompt=PROMPT, guidance=2.0, image_size=(32, 32), num_frames=9)
    first = np.stack([truth.array(key, "video").data[0] for key in truth.keys()])  # noqa: SIM118  no dict
    expected = model.rollout(first, seeds=rolled.seeds, steps=2, progress=False)
    assert np.array_equal(rolled.seeds, [5, 6])
    assert np.abs(expected.video.astype(int) - rolled.video).max() <= 1
