"""The command line: help for every command, and one line for what goes wrong."""

import subprocess
import sys

import pytest

from worldmodel.cli import main


def run(*arguments, before=""):
    code = f"import sys\nsys.argv = {['worldmodel', *arguments]!r}\n{before}\nfrom worldmodel.cli import main\nmain()"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "command", ["demo", "collect", "show", "rollout", "evaluate", "certify", "rank", "train", "convert", "doctor"]
)
def test_every_command_explains_itself(command):
    result = run(command, "--help")
    assert result.returncode == 0
    assert command in result.stdout


def test_a_missing_package_gets_the_command_that_installs_it():
    result = run("demo", before="sys.modules['torch'] = None")
    assert result.returncode == 1
    assert "pip install 'worldmodel[models]'" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_name_that_is_no_picture_is_refused_before_a_model_is_loaded():
    result = run("doctor", "--model", "nowhere", "--out", "sweep.jpg")
    assert result.returncode == 1
    assert "out: got 'sweep.jpg', expected a name that ends in .png" in result.stderr


def test_an_interrupt_is_one_line_that_says_how_to_go_on():
    before = "import worldmodel.doctor\ndef stop(): raise KeyboardInterrupt\nworldmodel.doctor.main = stop"
    result = run("doctor", before=before)
    assert result.returncode == 1
    assert "run the same command to go on" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--further"], "further: got it without start"),
        (["--further", "--start", "b", "--retrain-autoencoder"], "further: got it with retrain_autoencoder"),
        (["--further", "--start", "b", "--lora-rank", "4"], "lora_rank: got what has no part in it"),
        (["--further", "--start", "b", "--schedule", "cpu"], "schedule: got what has no part in it"),
        (["--start", "b", "--effort", "0.5", "--often", "maze=3"], "effort, often: got what has no part in it"),
        (["--steps", "9", "--resize"], "steps, resize: got what has no part in it"),
        (["--start", "b", "--retrain-autoencoder", "--batch", "9"], "batch: got what has no part in it"),
        (["--further", "--start", "b", "--conditions", "num_frames=9"], "conditions: got what has no part in it"),
        (["--start", "b", "--enlarge", "2", "--schedule", "cpu"], "schedule: got what has no part in it"),
        (["--start", "b", "--enlarge", "2", "--further"], "enlarge: got what has no part in it"),
        (["--enlarge", "2"], "enlarge: got 2 without start"),
        (["--start", "nowhere"], "start: got 'nowhere', expected tiny, tiny-128, an existing pipeline folder"),
    ],
)
def test_train_refuses_options_that_it_would_not_heed(tmp_path, monkeypatch, options, message):
    paths = ["--data", str(tmp_path), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["worldmodel", "train", *paths, *options])
    with pytest.raises(SystemExit) as ended:  # of which Python prints the words, and nothing else
        main()
    assert message in ended.value.code
