"""Steps a second of many imagined environments in one batch, against as many single ones.

    python benchmarks/imagined.py                  # a random network of the embedded model's size
    python benchmarks/imagined.py --model tiny --envs 8 --bf16

Medians of several rounds on the same machine; a step is a chunk of 16 frames.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bf16 import check_bf16

import worldmodel
from worldmodel.envs.imagined import ImaginedEnv
from worldmodel.envs.imagined_vector import ImaginedVectorEnv

GRAPH = "worldmodel/GraphTraversal-v0"


def embedded_size() -> Any:
    """A random model of the embedded one's size: 64 x 64 px, chunks of 16 frames."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from known_models import random_robots

    return random_robots(size=64, num_frames=17, whole=True)


def main() -> None:
    """Read the arguments and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None)
    parser.add_argument("--envs", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=None, help="sampling steps")
    parser.add_argument("--bf16", action="store_true", help="imagine in bf16, where the CPU multiplies it")
    arguments = parser.parse_args()
    check_bf16(arguments.bf16)
    with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bf16):
        compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    """Print the table."""
    model = (
        embedded_size()
        if arguments.model is None
        else worldmodel.load(arguments.model, "cpu" if arguments.bf16 else None)
    )
    print(f"{'envs':>5s}{'single ones, steps/s':>24s}{'one batch, steps/s':>22s}{'ratio':>8s}")
    for count in arguments.envs:
        shared = {"horizon": 10**6, "steps": arguments.steps, "nodes": 4}
        singles = [ImaginedEnv(model, GRAPH, **shared) for _ in range(count)]
        many = ImaginedVectorEnv(count, model, GRAPH, **shared)
        for index, env in enumerate(singles):
            env.reset(seed=index)
        many.reset(seed=0)
        actions = many.action_space.sample()
        apart, together = [], []
        for _ in range(arguments.rounds):
            began = time.perf_counter()
            for env, action in zip(singles, actions, strict=True):
                env.step(action)
            between = time.perf_counter()
            many.step(actions)
            apart.append(between - began)
            together.append(time.perf_counter() - between)
        one, other = count / np.median(apart), count / np.median(together)
        print(f"{count:5d}{one:24.2f}{other:22.2f}{other / one:8.2f}")


if __name__ == "__main__":
    main()
