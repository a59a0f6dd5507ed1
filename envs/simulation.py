"""N scenes of one family, stepped together by MuJoCo's batch and read through their sensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch

from worldmodel.envs.family import Family, Memory, Readings, Signals

# In the order of their bits, which is the order in which MuJoCo packs them.
_COMMANDS = {
    "ctrl": mujoco.mjtState.mjSTATE_CTRL,
    "xfrc_applied": mujoco.mjtState.mjSTATE_XFRC_APPLIED,
    "eq_active": mujoco.mjtState.mjSTATE_EQ_ACTIVE,
    "mocap_pos": mujoco.mjtState.mjSTATE_MOCAP_POS,
    "mocap_quat": mujoco.mjtState.mjSTATE_MOCAP_QUAT,
}
# What goes on by itself; MuJoCo packs it before all that is commanded.
_COURSE = int(
    mujoco.mjtState.mjSTATE_TIME
    | mujoco.mjtState.mjSTATE_QPOS
    | mujoco.mjtState.mjSTATE_QVEL
    | mujoco.mjtState.mjSTATE_ACT
    | mujoco.mjtState.mjSTATE_HISTORY
    | mujoco.mjtState.mjSTATE_WARMSTART
)
KINEMATICS = {"position": 3, "quaternion": 4, "velocity": 3, "angular_velocity": 3}


@dataclass(frozen=True)
class Snapshot:
    """One simulation between two frames; nothing in it is changed by going on from it, so it can be forked."""

    scene: Any
    model: mujoco.MjModel
    state: np.ndarray  # (S,) MuJoCo's integration state
    frame: int  # since the reset
    memory: dict[str, np.ndarray]  # running values of the family
    signals: dict[str, np.ndarray]
    observation: dict[str, np.ndarray]


class Simulation:
    """The state of ``num`` scenes; a scene's course does not depend on the others or on ``threads``.

    Args:
        family: what is simulated.
        num: number of simulations.
        fps: frames, and actions, per second.
        threads: physics threads, 0 for one a core.

    Attributes:
        scenes: the scene of each simulation, None before its first reset.
        models: the model of each simulation.
        frame: (num,) frames since the reset.
        signals: name to (num, ...), of the current frames.
        observation: name to (num, ...), of the current frames.
        batch: MuJoCo's batch of states.
    """

    def __init__(self, family: Family, num: int, *, fps: float, threads: int = 1) -> None:
        self.family, self.num, self.fps = family, num, float(fps)
        self.substeps = math.ceil(1.0 / (fps * family.max_timestep) - 1e-9)
        self.timestep = 1.0 / (fps * self.substeps)
        model = self.compile(family.sampler(np.random.default_rng(0)))
        self.batch = Batch(model, num, threads)
        self.models = [model] * num
        self._columns = {
            model.sensor(i).name: slice(int(model.sensor_adr[i]), int(model.sensor_adr[i] + model.sensor_dim[i]))
            for i in range(model.nsensor)
        }
        self._sensordata = self.batch.bind("sensordata")
        # Made once: new memory of this size costs the system more than copying into it.
        sizes = {"sensordata": model.nsensordata, _COURSE: mujoco.mj_stateSize(model, _COURSE)}
        self._record = {name: np.empty((num, self.substeps + 1, size)) for name, size in sizes.items()}
        self.scenes: list[Any] = [None] * num
        self.frame = np.zeros(num, np.int64)
        self.signals: Signals = {}
        self.observation: dict[str, np.ndarray] = {}
        self._memory: Memory = {}

    def compile(self, scene: Any) -> mujoco.MjModel:
        """The model of a scene with sensors on its objects."""
        self.family.check(scene)
        spec = self.family.build(scene)
        spec.option.timestep = self.timestep
        for name in self.family.objects:
            for label, kind, of in (
                ("position", mujoco.mjtSensor.mjSENS_FRAMEPOS, mujoco.mjtObj.mjOBJ_BODY),
                ("quaternion", mujoco.mjtSensor.mjSENS_FRAMEQUAT, mujoco.mjtObj.mjOBJ_XBODY),
                ("velocity", mujoco.mjtSensor.mjSENS_FRAMELINVEL, mujoco.mjtObj.mjOBJ_BODY),
                ("angular_velocity", mujoco.mjtSensor.mjSENS_FRAMEANGVEL, mujoco.mjtObj.mjOBJ_BODY),
            ):
                spec.add_sensor(name=f"{label} of {name}", type=kind, objtype=of, objname=name)
        return spec.compile()

    def reset(self, scenes: Sequence[Any], ids: np.ndarray | None = None) -> None:
        """Start the given scenes in the simulations ``ids`` (all if None)."""
        ids = self._rows(ids)
        models = self._compile_all(scenes)  # refuses a scene before anything is changed
        for index, scene, model in zip(ids, scenes, models, strict=True):
            self.scenes[index], self.models[index] = scene, model
        self.batch.set_models(self.models)
        self.batch.reset(ids.astype(np.int32), keyframe=0 if models[0].nkey else -1)
        self.frame[ids] = 0
        _assign(self._memory, ids, self.num, _stack([self.family.memory(scene) for scene in scenes]))
        self._measure(ids, np.zeros((len(ids), 0, self._sensordata.shape[1])))

    def step(self, actions: np.ndarray | None = None, ids: np.ndarray | None = None) -> None:
        """Advance the simulations ``ids`` (all if None) by one frame under actions (n, A).

        Raises:
            ValueError: MuJoCo found a simulation unstable; all of them stay where they were.
        """
        ids = self._rows(ids)
        memory = self._recall(ids)
        changed, control = dict(memory), {}
        before = self.batch.state.copy()
        if actions is not None:
            commands = self.family.command(np.array(actions), changed, self.substeps)  # it may remember them
            control = self._control(commands, ids)
        try:
            steps = self._advance(control, ids)
        except Exception:
            self.batch.state[:] = before
            self.batch.forward()
            raise
        self._keep(ids, memory, changed)
        self.frame[ids] += 1
        self._measure(ids, steps)

    def save(self, index: int = 0) -> Snapshot:
        """Simulation ``index`` as it is now."""
        tables = (self._memory, self.signals, self.observation)
        memory, signals, observation = ({name: each[index].copy() for name, each in table.items()} for table in tables)
        state, frame = self.batch.state[index].copy(), int(self.frame[index])
        return Snapshot(self.scenes[index], self.models[index], state, frame, memory, signals, observation)

    def load(self, snapshots: Sequence[Snapshot], ids: np.ndarray | None = None) -> None:
        """Go on from snapshots of this family in the simulations ``ids`` (all if None), bit for bit."""
        ids = self._rows(ids)
        for index, each in zip(ids, snapshots, strict=True):
            self.scenes[index], self.models[index] = each.scene, each.model
        self.batch.set_models(self.models)
        self.batch.state[ids] = [each.state for each in snapshots]
        self.batch.forward(ids.astype(np.int32))
        self.frame[ids] = [each.frame for each in snapshots]
        for name, table in (("memory", self._memory), ("signals", self.signals), ("observation", self.observation)):
            _assign(table, ids, self.num, _stack([getattr(each, name) for each in snapshots]))

    def objects(self) -> dict[str, np.ndarray]:
        """Pose and velocity (num, N, 3 or 4) of all objects at the current frames."""
        return {
            label: np.stack(
                [self._sensordata[:, self._columns[f"{label} of {name}"]] for name in self.family.objects], axis=1
            )
            for label in KINEMATICS
        }

    def time(self) -> np.ndarray:
        """Seconds (num,) since the reset."""
        return self.batch.bind("time").copy()

    def info(self, index: int) -> dict[str, Any]:
        """Everything known of one simulation at its frame; scripted policies decide by it."""
        everything = self.objects() | self.signals
        return {
            **{name: _own(value[index]) for name, value in everything.items()},
            "time": float(self.batch.bind("time")[index]),
            "is_success": bool(self.signals["success"][index]),
        }

    def _rows(self, ids: np.ndarray | None) -> np.ndarray:
        """``ids`` in their order, all of them if None."""
        if ids is None:
            return np.arange(self.num)
        rows = np.asarray(ids)
        if (np.diff(rows) <= 0).any():
            raise ValueError(f"ids: got {rows.tolist()}, expected simulations in their order, each once; sort them")
        return rows

    def _compile_all(self, scenes: Sequence[Any]) -> list[mujoco.MjModel]:
        threads = min(self.batch.nthread, len(scenes))
        if threads < 2:
            return [self.compile(scene) for scene in scenes]
        with ThreadPoolExecutor(threads) as pool:  # MuJoCo's compiler lets other threads run
            return list(pool.map(self.compile, scenes))

    def _advance(self, control: dict[str, Any], ids: np.ndarray) -> np.ndarray:
        """Go on by one frame; what the sensors said (n, substeps, D) in each physics step of it.

        Sensors speak of the state at the beginning of a step. So that they speak of the frame's end, one step more is
        made and taken back: evaluating that state alone would load every model from memory once more.
        """
        everything = len(ids) == self.num
        record = self.batch.rollout(
            self.substeps + 1,
            record=tuple(self._record),
            ids=None if everything else ids.astype(np.int32),
            out=self._record if everything else None,
            **control,
        )
        self._check_time(ids)
        course = record[_COURSE]
        self.batch.state[ids, : course.shape[2]] = course[:, -2]
        return record["sensordata"][:, :-1]

    def _check_time(self, ids: np.ndarray) -> None:
        """A simulation that becomes unstable is stopped by MuJoCo, and without a word would show a standstill."""
        expected = (self.frame[ids] + 1) / self.fps + self.timestep
        standing = self.batch.bind("time")[ids] < expected - 0.5 * self.timestep
        if standing.any():
            index = ids[standing.argmax()]
            raise ValueError(
                f"scene: got one that becomes unstable in simulation {index} before frame {self.frame[index] + 1}, "
                "expected finite accelerations; change its options"
            )

    def _measure(self, ids: np.ndarray, before: np.ndarray) -> None:
        memory = self._recall(ids)
        changed = dict(memory)
        readings = Readings(self.time()[ids], self._sensordata[ids], before, self._columns, self.timestep)
        signals = self.family.measure(readings, changed)
        self._keep(ids, memory, changed)
        _assign(self.signals, ids, self.num, signals)
        _assign(self.observation, ids, self.num, self.family.observe(readings, changed, signals))

    def _recall(self, ids: np.ndarray) -> Memory:
        """Read-only memory of the simulations ``ids``, not copied where these are all."""
        if len(ids) == self.num:
            return dict(self._memory)
        rows = {name: value[ids] for name, value in self._memory.items()}
        for value in rows.values():
            value.flags.writeable = False
        return rows

    def _keep(self, ids: np.ndarray, memory: Memory, changed: Memory) -> None:
        """Remember what a family has assigned; constants, which can be large tables, stay where they are."""
        new = {name: value for name, value in changed.items() if value is not memory.get(name)}
        _assign(self._memory, ids, self.num, new)

    def _control(self, commands: dict[str, np.ndarray], ids: np.ndarray) -> dict[str, Any]:
        """Write the commands that are held into the state; those of each physics step as the rollout takes them."""
        unknown = set(commands) - set(_COMMANDS)
        if unknown:
            raise ValueError(f"command: got {sorted(unknown)}, expected {', '.join(_COMMANDS)}; see Family.command")
        parts, bits = [], 0
        for name, bit in _COMMANDS.items():
            if name not in commands:
                continue
            value, field = np.asarray(commands[name], np.float64), self.batch.bind(name)
            if value.ndim == field.ndim:
                field[ids] = value
                continue
            parts.append(value.reshape(len(ids), self.substeps, -1))
            bits |= int(bit)
        if not parts:
            return {}
        control = np.empty((len(ids), self.substeps + 1, sum(part.shape[2] for part in parts)))
        np.concatenate(parts, axis=2, out=control[:, :-1])
        control[:, -1] = control[:, -2]
        return {"control": control, "control_spec": bits}


def _own(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value.item()


def _stack(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    return {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}


def _assign(table: dict[str, np.ndarray], ids: np.ndarray, num: int, rows: dict[str, np.ndarray]) -> None:
    """Write rows (n, ...) of each entry into a table of (num, ...) arrays, made at need.

    The arrays in a table are replaced and never changed, so that what was handed out stays as it is.
    """
    for name, value in rows.items():
        if len(ids) == num:
            whole = np.array(value)
        else:
            whole = table[name].copy() if name in table else np.zeros((num, *value.shape[1:]), value.dtype)
            whole[ids] = value
        whole.flags.writeable = False
        table[name] = whole
