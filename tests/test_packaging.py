"""What ships, under which names, and how cheap the import is."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = {  # for the repository's readers
    ROOT / "envs" / "README.md",
    *(ROOT / "envs" / "pictures").iterdir(),
    ROOT / "evaluators" / "README.md",
}
SOURCES = {"worldmodel": "worldmodel", "envs": "worldmodel/envs", "evaluators": "worldmodel/evaluators"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy, so that nothing is left in the tree or picked up from an earlier build."""
    source, out = tmp_path_factory.mktemp("source") / "tree", tmp_path_factory.mktemp("wheel")
    skip = shutil.ignore_patterns(".*", "build", "dist", "runs", "data", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=skip)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", out, source]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("worldmodel-*.whl"))


def _run(code: str, *arguments: str) -> str:
    # -I: neither the working directory nor PYTHONPATH may help.
    done = subprocess.run([sys.executable, "-I", "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_file_ships_under_its_import_name(wheel: Path) -> None:
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        f"{target}/{file.relative_to(ROOT / folder)}"
        for folder, target in SOURCES.items()
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file not in DOCUMENTS
    }
    assert shipped == expected


def test_nothing_lands_beside_the_package(wheel: Path) -> None:
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"worldmodel"}


def test_licence_and_command_ship(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    text = {
        name.split(".dist-info/")[1]: archive.read(name).decode() for name in archive.namelist() if "-info/" in name
    }
    assert "Apache License" in text["licenses/LICENSE"]
    assert "License-Expression: Apache-2.0" in text["METADATA"]
    assert "worldmodel = worldmodel.cli:main" in text["entry_points.txt"]


def test_mapped_packages_import_from_the_wheel(wheel: Path) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import worldmodel.evaluators as e; print(e.__file__)"
    assert _run(code, str(wheel)) == f"{wheel}/worldmodel/evaluators/__init__.py"


def test_mapped_packages_import_from_the_checkout() -> None:
    assert _run("import worldmodel.evaluators as e; print(e.__file__)") == str(ROOT / "evaluators" / "__init__.py")


def test_import_is_cheap() -> None:
    heavy = "{'torch', 'diffusers', 'transformers', 'mujoco', 'gymnasium', 'cv2', 'zarr', 'scipy'}"
    assert _run(f"import sys, worldmodel; print(sorted({heavy} & set(sys.modules)))") == "[]"


def test_constraints_pin_every_requirement_once() -> None:
    pins = [line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().split()]
    assert len(pins) == len(set(pins))
    requirements = _run("import importlib.metadata as m; print(*m.requires('worldmodel'), sep='\\n')").splitlines()
    names = {requirement.split(">=")[0].split("[")[0].lower() for requirement in requirements} - {"worldmodel"}
    assert names <= set(pins)
