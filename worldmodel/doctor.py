"""What this machine can run: versions, devices, renderer, weights, and how to install the rest.

Needs nothing beyond the base install; every other package is imported by name and may be
missing or broken.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from worldmodel.backends.checksum import CARD, SHIPPED, check_card, weights_hash

# extra -> (import name, distribution); "" is the base install
PACKAGES: dict[str, tuple[tuple[str, str], ...]] = {
    "": (("numpy", "numpy"), ("tqdm", "tqdm"), ("tyro", "tyro"), ("zarr", "zarr")),
    "models": (
        ("torch", "torch"),
        ("diffusers", "diffusers"),
        ("transformers", "transformers"),
        ("safetensors", "safetensors"),
        ("accelerate", "accelerate"),
    ),
    "sim": (
        ("mujoco", "mujoco"),
        ("gymnasium", "gymnasium"),
        ("gymnasium_robotics", "gymnasium-robotics"),
        ("networkx", "networkx"),
    ),
    "eval": (
        ("av", "av"),
        ("cv2", "opencv-python"),
        ("scipy", "scipy"),
        ("PIL", "pillow"),
        ("skimage", "scikit-image"),
    ),
    "train": (("peft", "peft"), ("pyarrow", "pyarrow")),
}

# What MuJoCo's EGL renderer and opencv-python load; alternatives are separated by "|".
LIBRARIES = (
    "libEGL.so.1",
    "libEGL_mesa.so.0|libEGL_nvidia.so.0",
    "libGL.so.1",
    "libglib-2.0.so.0",
    "libgthread-2.0.so.0",
    "libxcb.so.1",
)
LIBRARY_PACKAGES = "libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri libglib2.0-0 libxcb1"

_RENDER = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><light pos='0 0 3'/><geom size='1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 32, 32)
renderer.update_scene(data)
assert renderer.render().max() > 0, "the frame is black"
from OpenGL import GL
print(GL.glGetString(GL.GL_RENDERER).decode())
"""


@dataclass(frozen=True)
class Check:
    """One line of the report; ``fix`` is the command that repairs what is not ok."""

    group: str
    name: str
    ok: bool
    found: str
    fix: str = ""
    required: bool = True  # for `worldmodel demo`


def report() -> list[Check]:
    """Every check, in reading order."""
    packages = [_package(*names, extra) for extra, group in PACKAGES.items() for names in group]
    weights = [check for folder in SHIPPED.values() for check in _weights(folder)]
    return [*_python(), *packages, *_devices(), _libraries(), _renderer(), *weights, _compiler()]


def main() -> int:
    """Print the report and the commands that repair it; 0 when the demo can run, 1 otherwise."""
    checks = report()
    group = ""
    for check in checks:
        if check.group != group:
            group = check.group
            print(group)
        state = "ok" if check.ok else "MISSING" if check.required else "absent"
        print(f"  {state:<8} {check.name:<14} {check.found}")
    needed = [check for check in checks if not check.ok and check.required]
    _print_fixes("To run `worldmodel demo`, run:", needed)
    _print_fixes("Optional:", [check for check in checks if not check.ok and not check.required])
    if not needed:
        print("Everything for `worldmodel demo` is there.")
    return 1 if needed else 0


def install_command(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'worldmodel[{extra}]'"


def missing_libraries() -> list[str]:
    """Shared libraries of ``LIBRARIES`` that the loader does not find; always empty off Linux."""
    if sys.platform != "linux":
        return []
    return [names for names in LIBRARIES if not any(map(_loads, names.split("|")))]


def apt_command(packages: str = LIBRARY_PACKAGES) -> str:
    """The command, to be run as root, that installs Debian packages; by default those of ``LIBRARIES``."""
    return f"apt-get update -qq && apt-get install -qq -y --no-install-recommends {packages}"


def _print_fixes(title: str, checks: list[Check]) -> None:
    if checks:
        print(title)
    for fix in dict.fromkeys(check.fix for check in checks):
        print(f"  {fix}")


def _apt(packages: str = LIBRARY_PACKAGES) -> str:
    command = apt_command(packages)
    return command if os.geteuid() == 0 else f"sudo sh -c '{command}'"


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _python() -> list[Check]:
    found = f"{platform.python_version()} ({sys.executable})"
    old = sys.version_info < (3, 11)
    return [
        Check("versions", "python", not old, found, "install Python 3.11 or newer"),
        Check("versions", "worldmodel", True, f"{_version('worldmodel')} ({Path(__file__).parent})"),
    ]


def _version(distribution: str, default: str = "version unknown") -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return default


def _package(module: str, distribution: str, extra: str) -> Check:
    """Imports the package, because one that is installed can still miss a system library."""
    install = install_command(extra) if extra else f"pip install {distribution}"
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        return Check("versions", distribution, False, f"not installed: {error}", install)
    except Exception as error:  # a package that breaks on import is a finding, not a failure of the report
        found = f"{_version(distribution)}, but importing it fails: {type(error).__name__}: {error}"
        fix = _apt() if missing_libraries() else install
        return Check("versions", distribution, False, found, fix)
    # cv2 also comes as opencv-python-headless, which has other metadata.
    return Check("versions", distribution, True, _version(distribution, getattr(imported, "__version__", "unknown")))


def _devices() -> list[Check]:
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    cpu = f"{cores} cores, {gib:.0f} GiB memory, {_bfloat16_units()}"
    return [Check("devices", "cpu", True, cpu), *(Check("devices", "cuda", True, gpu) for gpu in _gpus())]


def _bfloat16_units() -> str:
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return "bf16 units unknown"
    units = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags]
    return f"bf16 in hardware ({', '.join(units)})" if units else "no bf16 in hardware: float32 is faster"


def _gpus() -> list[str]:
    try:
        torch = importlib.import_module("torch")
        properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    except Exception as error:  # no torch, or a driver that does not answer
        return [f"unknown: torch does not tell ({error})"]
    gpus = [f"{each.name}, {each.total_memory / 2**30:.0f} GiB" for each in properties]
    return gpus or ["none: models run on the CPU"]


def _libraries() -> Check:
    missing = missing_libraries()
    found = f"not found: {', '.join(missing)}" if missing else "EGL, GL and GLib found"
    return Check("renderer", "libraries", not missing, found, _apt())


def _renderer() -> Check:
    """Renders one frame in a process of its own, so that a crash of the driver is reported."""
    backend = os.environ.get("MUJOCO_GL", "egl")
    try:
        done = subprocess.run(
            [sys.executable, "-c", _RENDER],
            env={**os.environ, "MUJOCO_GL": backend},
            capture_output=True,
            text=True,
            timeout=120,
        )
        worked, said = done.returncode == 0, done.stdout if done.returncode == 0 else done.stderr
        problem = f"exit status {done.returncode}"
    except subprocess.TimeoutExpired:
        worked, said, problem = False, "", "no frame within 120 s"
    last = (said.strip().splitlines() or ["no message"])[-1]
    if worked:
        return Check("renderer", f"MUJOCO_GL={backend}", True, f"renders 32x32 on {last}")
    return Check("renderer", f"MUJOCO_GL={backend}", False, f"{problem}: {last}", _renderer_fix(backend))


def _renderer_fix(backend: str) -> str:
    if importlib.util.find_spec("mujoco") is None:
        return install_command("sim")
    if backend != "egl":
        return "export MUJOCO_GL=egl"
    return _apt()


def _weights(folder: Path) -> list[Check]:
    """Presence, size and hash of every weight file of a model inside the package, and whether its card states them."""
    in_clone = (folder.parents[2] / ".git").exists()
    fix = f"git checkout -- '{folder}'" if in_clone else "pip install --force-reinstall --no-deps worldmodel"
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        return [Check("weights", folder.name, False, f"no *.safetensors in {folder}", fix)]
    checks = [_weight_file(file, f"{folder.name}/{file.parent.relative_to(folder)}", fix) for file in files]
    return [*checks, _card(folder, files, fix)] if all(check.ok for check in checks) else checks


def _weight_file(file: Path, name: str, fix: str) -> Check:
    problem = _truncation(file)
    if problem:
        return Check("weights", name, False, f"{file}: {problem}", fix)
    return Check("weights", name, True, f"{file.stat().st_size / 1e6:.1f} MB, sha256 {weights_hash([file])}")


def _card(folder: Path, files: list[Path], fix: str) -> Check:
    """What loading checks too."""
    try:
        check_card(folder, weights_hash(files), required=True)
    except ValueError as error:
        return Check("weights", f"{folder.name}/{CARD}", False, str(error), fix)
    return Check("weights", f"{folder.name}/{CARD}", True, "describes these weights")


def _truncation(file: Path) -> str:
    """What is wrong with a safetensors file by its own header, or ""."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(length) if 8 + length <= size else b""
    try:
        tensors = {key: value for key, value in json.loads(header).items() if key != "__metadata__"}
        expected = 8 + length + max(value["data_offsets"][1] for value in tensors.values())
    except (ValueError, KeyError, TypeError):
        return f"got {size} bytes without a safetensors header"
    return "" if size == expected else f"got {size} bytes, expected {expected}"


def _compiler() -> Check:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    found = compiler or "no C++ compiler: torch.compile, and so `worldmodel train`, needs one"
    fix = _apt("g++")
    return Check("tools", "c++", compiler is not None, found, fix, required=False)


if __name__ == "__main__":
    raise SystemExit(main())
