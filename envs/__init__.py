"""MuJoCo scenes with full ground truth, registered with Gymnasium on import."""

import os
import sys

import gymnasium as gym

# Without a display MuJoCo would look for one all the same; this must stand before its import.
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    os.environ.setdefault("MUJOCO_GL", "egl")

_MODULES = {
    "FreeFall": "free_fall",
    "Grasp": "grasp",
    "GraphTraversal": "traversal",
    "Maze": "maze",
    "Room": "room",
}
for _name, _module in _MODULES.items():
    gym.register(
        id=f"worldmodel/{_name}-v0",
        entry_point=f"worldmodel.envs.{_module}:{_name}Env",
        vector_entry_point=f"worldmodel.envs.{_module}:{_name}VectorEnv",
    )
for _name in ("GraphTraversal", "Grasp", "Maze"):
    gym.register(
        id=f"worldmodel/Imagined{_name}-v0",
        entry_point="worldmodel.envs.imagined:ImaginedEnv",
        vector_entry_point="worldmodel.envs.imagined_vector:ImaginedVectorEnv",
        kwargs={"starts": f"worldmodel/{_name}-v0"},
        nondeterministic=True,  # equal up to float rounding on a GPU
    )
