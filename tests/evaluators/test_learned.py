import importlib.util

import numpy as np
import pytest
import torch
from transformers import ViTConfig, ViTModel

from worldmodel.evaluators.learned import dino_scores, load_dino, load_lpips, lpips_distance

RNG = np.random.default_rng(0)
VIDEO = RNG.integers(0, 256, (20, 24, 24, 3)).astype(np.uint8)  # more than one batch
FROZEN = np.repeat(VIDEO[:1], 20, axis=0)


def mean_colour(pictures: torch.Tensor) -> torch.Tensor:
    return pictures.mean(dim=(2, 3))


def mean_step(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return (first - second).abs().mean(dim=(1, 2, 3), keepdim=True)


def coloured(*colours: tuple[int, int, int]) -> np.ndarray:
    return np.stack([np.full((8, 8, 3), colour, np.uint8) for colour in colours])


def test_consistency_and_distance_by_hand():
    video = coloured((255, 0, 0), (0, 255, 0), (255, 255, 0))  # cosines 0 | 0, then sqrt 1/2 | sqrt 1/2
    truth = coloured((255, 0, 0), (0, 255, 0), (0, 0, 255))  # distances 0 and 1
    score = dino_scores(video, truth, mean_colour)
    assert score == pytest.approx({"dino_consistency": np.sqrt(0.5) / 2, "dino_distance": 0.5})


def test_a_frozen_video_is_consistent_and_far_from_the_truth():
    video = coloured((255, 0, 0), (0, 255, 0), (0, 0, 255))
    frozen = np.repeat(video[:1], 3, axis=0)
    assert dino_scores(frozen, video, mean_colour) == pytest.approx({"dino_consistency": 1, "dino_distance": 1})
    assert dino_scores(video, video, mean_colour)["dino_distance"] == pytest.approx(0)


def test_lpips_is_the_mean_over_all_frames_but_the_given_one():
    other = VIDEO.astype(int)
    other[0] += 50
    other = np.clip(other, 0, 255).astype(np.uint8)
    assert lpips_distance(other, VIDEO, mean_step) == 0
    expected = np.abs(FROZEN[1:].astype(int) - VIDEO[1:]).mean() * 2 / 255
    assert lpips_distance(FROZEN, VIDEO, mean_step) == pytest.approx(expected)


def test_a_transformer_s_class_token_of_pictures_of_any_size(tmp_path):
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ViTModel(ViTConfig(image_size=224, patch_size=32, **small), add_pooling_layer=False).save_pretrained(tmp_path)
    features = load_dino(str(tmp_path))
    score = dino_scores(FROZEN, VIDEO, features)
    assert score["dino_consistency"] == pytest.approx(1) and score["dino_distance"] > 1e-4
    whole = features(torch.from_numpy(VIDEO).permute(0, 3, 1, 2).float() / 255).detach().double().numpy()
    unit = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    assert score["dino_distance"] == pytest.approx(1 - (unit[1:] @ unit[0]).mean(), abs=1e-6)


@pytest.mark.skipif(importlib.util.find_spec("lpips") is not None, reason="lpips is installed")
def test_without_its_package_lpips_says_what_to_install():
    with pytest.raises(ImportError, match="pip install lpips"):
        load_lpips()


def test_clips_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"video: got shape \(9, 24, 24, 3\), expected \(20, 24, 24, 3\)"):
        dino_scores(VIDEO[:9], VIDEO, mean_colour)
    with pytest.raises(ValueError, match="reference: got dtype float64"):
        lpips_distance(VIDEO, VIDEO / 255, mean_step)
