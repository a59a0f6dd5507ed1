"""MuJoCo scenes with full ground truth, registered with Gymnasium on import."""

import gymnasium as gym

gym.register(id="worldmodel/FreeFall-v0", entry_point="worldmodel.envs.free_fall:FreeFallEnv")
