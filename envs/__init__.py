"""MuJoCo scenes with full ground truth, registered with Gymnasium on import."""

import os
import sys

import gymnasium as gym

# Without a display MuJoCo would look for one all the same; this must stand before its import.
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    os.environ.setdefault("MUJOCO_GL", "egl")

gym.register(id="worldmodel/FreeFall-v0", entry_point="worldmodel.envs.free_fall:FreeFallEnv")
