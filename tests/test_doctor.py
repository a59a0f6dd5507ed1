"""`worldmodel doctor`: the report, and what it says of things that are missing or broken."""

from __future__ import annotations

import hashlib
import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from safetensors.numpy import save_file

from worldmodel import doctor
from worldmodel.backends.checksum import SHIPPED


def _import_without(module: str, error: Exception) -> Callable[[str], ModuleType]:
    real = importlib.import_module

    def importer(name: str) -> ModuleType:
        if name == module:
            raise error
        return real(name)

    return importer


def test_report_covers_versions_devices_renderer_and_weights() -> None:
    checks = {check.name: check for check in doctor.report()}
    assert {"python", "worldmodel", "torch", "mujoco", "opencv-python", "cpu", "cuda", "libraries"} <= set(checks)
    assert checks["torch"].ok and checks["torch"].found[0].isdigit()
    assert any(check.group == "weights" for check in checks.values())
    renderer = next(check for name, check in checks.items() if name.startswith("MUJOCO_GL="))
    assert renderer.ok, renderer.found


def test_main_prints_fixes_and_tells_by_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = doctor.Check("versions", "numpy", True, "2.4.6")
    absent = doctor.Check("tools", "c++", False, "no compiler", "install g++", required=False)
    bad = doctor.Check("versions", "mujoco", False, "not installed", doctor.install_command("sim"))
    monkeypatch.setattr(doctor, "report", lambda: [good, absent])
    assert doctor.main() == 0
    assert "install g++" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "report", lambda: [good, bad])
    assert doctor.main() == 1
    assert "pip install 'worldmodel[sim]'" in capsys.readouterr().out


def test_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        importlib, "import_module", _import_without("cv2", ModuleNotFoundError("No module named 'cv2'"))
    )
    check = doctor._package("cv2", "opencv-python", "eval")
    assert not check.ok
    assert check.fix == "pip install 'worldmodel[eval]'"


def test_package_without_its_library_names_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ImportError("libGL.so.1: cannot open shared object file")
    monkeypatch.setattr(importlib, "import_module", _import_without("cv2", error))
    monkeypatch.setattr(doctor, "LIBRARIES", ("libGL.so.1|libsurely-absent.so.9", "libsurely-absent.so.9"))
    check = doctor._package("cv2", "opencv-python", "eval")
    assert "libGL.so.1" in check.found
    assert "apt-get install" in check.fix
    assert not doctor._libraries().ok


def test_runs_on_the_base_install() -> None:
    code = (
        "import sys\n"
        "extras = ['torch', 'diffusers', 'transformers', 'safetensors', 'accelerate', 'mujoco', 'gymnasium', 'cv2',\n"
        "          'scipy', 'PIL']\n"
        "sys.modules.update(dict.fromkeys(extras))\n"
        "from worldmodel.doctor import main\n"
        "sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    for extra in ("models", "sim", "eval"):
        assert f"pip install 'worldmodel[{extra}]'" in done.stdout


def test_renderer_failure_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "no-such-backend")
    check = doctor._renderer()
    assert not check.ok
    assert check.fix == "export MUJOCO_GL=egl"


def test_renderer_crash_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_RENDER", "import os; os.abort()")
    check = doctor._renderer()
    assert not check.ok
    assert "exit status -6" in check.found


def test_weights_are_measured_and_truncation_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "worldmodel" / "backends" / "tiny"
    (folder / "vae").mkdir(parents=True)
    assert "no *.safetensors" in doctor._weights(folder)[0].found
    file = folder / "vae" / "model.safetensors"
    save_file({"weight": np.zeros((16, 16), np.float32)}, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    (folder / "README.md").write_text(f"- weights: SHA-256 `{digest}`\n")
    whole, card = doctor._weights(folder)
    assert whole.ok and whole.name == "tiny/vae" and digest in whole.found
    assert card.ok and card.name == "tiny/README.md"
    (folder / "README.md").unlink()
    assert "got no hash of the weights in README.md" in doctor._weights(folder)[1].found
    file.write_bytes(file.read_bytes()[:-1])
    (cut,) = doctor._weights(folder)
    assert not cut.ok and "expected" in cut.found
    file.write_bytes(b"version https://git-lfs")
    assert "without a safetensors header" in doctor._weights(folder)[0].found


def test_whole_weights_that_the_card_does_not_describe_are_found(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SHIPPED["tiny"], tmp_path / "worldmodel" / "backends" / "tiny"))
    assert all(check.ok for check in doctor._weights(folder))
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    *files, card = doctor._weights(folder)
    assert all(check.ok for check in files) and not card.ok
    assert "got weights of SHA-256" in card.found and card.fix
