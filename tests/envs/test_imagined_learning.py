"""Learners of other people's train on imagined environments as they are."""

import numpy as np
import torch
from gymnasium.wrappers import FlattenObservation, RecordEpisodeStatistics, TransformObservation
from known_models import painted
from stable_baselines3 import PPO

from worldmodel.envs.imagined import ImaginedEnv
from worldmodel.envs.imagined_vector import ImaginedVectorEnv
from worldmodel.envs.imagined_wrappers import SingleSteps

GRAPH = "worldmodel/GraphTraversal-v0"


def way(chunk):
    return -float(chunk.signals["distance_to_goal"][-1])


def test_stable_baselines3_trains_on_chunks_and_on_single_steps():
    model = painted(size=48)
    for wrap in (lambda env: env, SingleSteps):
        env = RecordEpisodeStatistics(wrap(ImaginedEnv(model, GRAPH, horizon=16, reward=way, nodes=4)))
        learner = PPO("MultiInputPolicy", env, n_steps=8, batch_size=8, n_epochs=1, device="cpu", seed=0)
        before = [each.detach().clone() for each in learner.policy.parameters()]
        learner.learn(8)
        assert any(not torch.equal(a, b) for a, b in zip(before, learner.policy.parameters(), strict=True))


def test_a_loop_in_the_style_of_cleanrl_trains_on_the_vector_environment():
    envs = ImaginedVectorEnv(4, painted(size=48), GRAPH, horizon=16, reward=way, nodes=4)
    n, width = envs.single_action_space.shape
    mean = torch.nn.Linear(4, n * width)
    log_std = torch.nn.Parameter(torch.full((n * width,), -1.0))
    optimiser = torch.optim.Adam([*mean.parameters(), log_std], lr=1e-2)
    observation, _ = envs.reset(seed=0)
    losses = []
    for _ in range(4):
        chosen = torch.distributions.Normal(
            mean(torch.tensor(observation["agent_pos"], dtype=torch.float32)), log_std.exp()
        )
        sampled = chosen.sample()
        actions = sampled.clamp(-0.6, 0.6).reshape(4, n, width).numpy()
        observation, reward, terminated, truncated, _ = envs.step(actions)
        advantage = torch.tensor(reward - reward.mean(), dtype=torch.float32)
        loss = -(chosen.log_prob(sampled).sum(dim=1) * advantage).mean()
        optimiser.zero_grad(), loss.backward(), optimiser.step()
        losses.append(loss.item())
        assert terminated.shape == truncated.shape == (4,)
    assert np.isfinite(losses).all()


def test_common_wrappers_fit():
    env = ImaginedEnv(painted(size=48), GRAPH, horizon=16, reward=way, nodes=4)
    seen = TransformObservation(env, lambda each: {"agent_pos": each["agent_pos"]}, None)
    seen.observation_space = type(env.observation_space)({"agent_pos": env.observation_space["agent_pos"]})
    flat = FlattenObservation(seen)
    observation, _ = flat.reset(seed=0)
    assert flat.observation_space.contains(observation)
