"""Settings that must hold before numpy, torch and MuJoCo are imported, the ``gpu`` marker, and who runs what when."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # known_models, for the tests of every folder
os.environ.setdefault("MUJOCO_GL", "egl")
# The models of the tests are small: more threads cost more than they bring, and test processes share the cores. Workers
# inherit what the process that starts them was given, so theirs is set anew.
os.environ["OMP_NUM_THREADS"] = (
    str(max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])))
    if "PYTEST_XDIST_WORKER_COUNT" in os.environ
    else os.environ.get("OMP_NUM_THREADS", str(min(4, os.cpu_count() or 1)))
)

import pytest


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in a hook of the same name
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU; keep a file's tests in one process, but for notebooks, which take longest and go first."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.path.stem != "test_notebooks")
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    wanted = [item for item in items if "gpu" in item.keywords]
    if wanted and not _has_gpu():
        for item in wanted:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU, and torch finds none"))


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def pipeline_folder(tmp_path_factory):
    """A random pipeline in the layout of the embedded one, small enough for any test."""
    import torch
    from diffusers import AutoencoderKLWan, CosmosTransformer3DModel

    from worldmodel.backends.cosmos25 import Recipe
    from worldmodel.training.tiny import save_pipeline

    torch.manual_seed(0)
    transformer = CosmosTransformer3DModel(
        in_channels=17,
        out_channels=16,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        mlp_ratio=2.0,
        text_embed_dim=8,
        adaln_lora_dim=4,
        max_size=(8, 16, 16),
        rope_scale=(1.0, 1.0, 1.0),
        concat_padding_mask=False,
        extra_pos_embed_type=None,
    )
    vae = AutoencoderKLWan(
        base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    recipe = Recipe("random", (32, 32), 9, 16.0, steps=4)
    return save_pipeline(tmp_path_factory.mktemp("pipelines") / "random", transformer, vae, recipe)


@pytest.fixture(scope="session")
def robot_folder(tmp_path_factory):
    """A random pipeline of the embedded kind that takes the actions of the ball and of the Fetch gripper."""
    import torch
    from diffusers import AutoencoderKLWan

    from worldmodel.backends.cosmos25_action_network import ActionCosmosTransformer3DModel
    from worldmodel.backends.domains import Domain
    from worldmodel.backends.recipe import Recipe
    from worldmodel.envs.ball import velocity_commands
    from worldmodel.envs.grasp import GraspEnv
    from worldmodel.training.tiny import save_pipeline
    from worldmodel.training.transformer import TINY_TRANSFORMER

    torch.manual_seed(0)
    small = {"num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 16, "mlp_ratio": 2.0}
    transformer = ActionCosmosTransformer3DModel(**{**TINY_TRANSFORMER, **small})
    vae = AutoencoderKLWan(
        base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    ball, fetch = velocity_commands(0.6, 16.0), GraspEnv().action_spec
    domains = (
        Domain("ball", ball, (0, 1), ((-0.5, 0.5),) * 2),
        Domain("fetch", fetch, (2, 3, 4, 5), ((-0.04, 0.04),) * 3 + ((0.0, 0.1),)),
    )
    recipe = Recipe("robots", (32, 32), 9, 16.0, steps=2, domains=domains)
    return save_pipeline(tmp_path_factory.mktemp("pipelines") / "robots", transformer, vae, recipe)
