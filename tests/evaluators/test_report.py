"""The page: complete, self-contained, the same from its JSON, and without an error in a browser."""

import base64
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from worldmodel.envs.free_fall import FreeFallEnv
from worldmodel.evaluators.report import write_report
from worldmodel.evaluators.report_picks import pick_failures, pick_others, pick_scenes
from worldmodel.evaluators.report_scenes import others, watch, write_animation
from worldmodel.parts import Part, open_parts
from worldmodel.scoring import evaluate_stores
from worldmodel.storage import EpisodeStore
from worldmodel.storage.video_files import encode_h264

KEYS = ["a", "b", "c", "d"]
BROKEN = "c"  # whose video of the row "foreign" cannot be read
FRAMES = 9


def shifted(video, pixels):
    """The video, from the second frame on moved to the right."""
    return np.concatenate([video[:1], np.roll(video[1:], pixels, axis=2)])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A truth store with one clip whose object is never seen again, arrays of three rows, a folder of files."""
    root = tmp_path_factory.mktemp("inputs")
    env = FreeFallEnv(image_size=48, num_frames=FRAMES, fps=16.0)
    truths = {key: env.record(seed=2_000_000 + number) for number, key in enumerate(KEYS)}
    first = truths["a"]
    store = EpisodeStore.create(root / "truth", "truth", settings={"env": "worldmodel/FreeFall-v0"})
    for seed, (key, truth) in enumerate(truths.items()):
        store.write_truth(key, truth, seed=seed)
    unseen = first.segmentation * (np.arange(FRAMES) == 0)[:, None, None]
    store.write_truth("unseen", replace(first, segmentation=unseen.astype(np.uint8)), seed=9)
    rows = {}
    for name, shift in {"base": 6, "euler_matched": 4, "refined": 1}.items():
        videos = {key: shifted(truth.video, shift + i) for i, (key, truth) in enumerate(truths.items())}
        np.savez(root / f"{name}.npz", **videos, unseen=first.video)
        rows[name] = root / f"{name}.npz"
    (root / "foreign").mkdir()
    for key, truth in {**truths, "unseen": first}.items():
        content = b"" if key == BROKEN else encode_h264(shifted(truth.video, -2), truth.fps)
        (root / "foreign" / f"{key}.mp4").write_bytes(content)
    return root / "truth", {**rows, "foreign": root / "foreign"}


@pytest.fixture(scope="module")
def report(inputs, tmp_path_factory):
    truth, rows = inputs
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["worldmodel", "evaluate", "a <stub> & more"])
        return evaluate_stores(truth, rows, tmp_path_factory.mktemp("report") / "out")


@pytest.fixture(scope="module")
def page(report):
    return report.read_text()


@pytest.fixture(scope="module")
def results(report):
    return json.loads((report.parent / "results.json").read_text())


@pytest.fixture(scope="module")
def family(results):
    return results["families"][0]


def without_pictures(page):
    return re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)


def test_page_needs_nothing_from_outside(page):
    assert "http" not in without_pictures(page)
    assert not re.search(r"<(script|link|iframe)\b", page)
    for source in re.findall(r'(?:src="|url\()([^")]{0,40})', page):
        assert source.startswith("data:image/webp;base64,")


def test_page_is_well_formed(page):
    class Balance(HTMLParser):
        open_tags: list[str] = []

        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "img"):
                self.open_tags.append(tag)

        def handle_startendtag(self, tag, attrs):
            pass

        def handle_endtag(self, tag):
            assert self.open_tags.pop() == tag

    parser = Balance()
    parser.feed(page)
    assert parser.open_tags == []


def test_page_shows_every_row_the_verdict_and_what_was_lost(page, family):
    for row in family["rows"].values():
        assert row["label"] in page
    assert "Predict-and-Perturb beats Euler at the same number of model evaluations." in page
    assert "1 video could not be judged." in page and "c.mp4: got an unreadable video" in page
    assert "1 clip discarded for all rows" in page and "got no frame with the object in view" in page
    assert not re.search(r"\b(nan|None)\b", without_pictures(page))


def test_text_from_outside_is_escaped(page):
    assert "a &lt;stub&gt; &amp; more" in page and "<stub>" not in page


def test_pictures_are_inlined_once(page, family):
    pictures = re.findall(r"data:image/webp;base64,([A-Za-z0-9+/=]+)", page)
    assert all(base64.b64decode(picture)[:4] == b"RIFF" for picture in pictures)
    large, small = pick_scenes(family).values(), [clip for clip, _ in pick_failures(family)]
    broken = KEYS.index(BROKEN)
    shown = len(large) + len(small)
    assert len(pictures) == shown * 5 - (list(large) + small).count(broken)
    assert len(page) < 2_000_000


def test_clips_are_picked_by_the_focus_row_and_failures_by_the_worst(family):
    assert pick_scenes(family) == {"Best": 0, "Median": 1, "Worst": 3}
    assert pick_failures(family)[0] == (KEYS.index(BROKEN), "foreign")


def test_the_clips_that_are_not_picked_can_be_watched_too(family, inputs, page):
    assert pick_others(family) == [] and "Watch the other" not in page
    many = {**family, "scenes": family["scenes"] * 5, "rows": dict(family["rows"])}
    for name, row in family["rows"].items():
        clips = [{**entry, "clip": entry["clip"] + 4 * copy} for copy in range(5) for entry in row["clips"]]
        many["rows"][name] = {**row, "clips": clips}
    left = pick_others(many)
    picked = {*pick_scenes(many).values(), *(clip for clip, _ in pick_failures(many))}
    assert sorted([*left, *picked]) == list(range(20))
    (part,) = open_parts(*inputs, None, "no")
    folded = others(many, part, "f0")
    assert f"Watch the other {len(left)} clips" in folded
    assert all(f'id="f0-{clip}"' in folded for clip in left)


def test_a_failed_video_is_charged_as_the_worst_of_its_clip(family):
    clip = KEYS.index(BROKEN)
    row = family["rows"]["foreign"]
    assert row["failures"] == 1
    failed = row["clips"][clip]
    beside = [r["clips"][clip]["score"] for name, r in family["rows"].items() if name not in ("foreign", "truth")]
    for name, metric in family["metrics"].items():
        found = [score[name] for score in beside if score[name] is not None]
        if metric["better"] == "none" or not found:
            continue
        worst = min(found) if metric["better"] == "higher" else max(map(abs, found))
        value = failed["score"][name]
        assert value <= worst if metric["better"] == "higher" else abs(value) >= worst, name
    assert failed["score"]["centroid_error_px"] == pytest.approx(family["clip"]["diagonal_px"])
    assert all(entry["failure"] is None and len(entry["sha256"]) == 64 for entry in row["clips"] if entry != failed)


def test_discarded_clips_are_in_no_number(family):
    assert [each["key"] for each in family["discards"]] == ["unseen"]
    assert [scene["key"] for scene in family["scenes"]] == KEYS
    assert all(len(row["clips"]) == len(KEYS) for row in family["rows"].values())


def test_the_json_gives_the_same_page(results, page, inputs, tmp_path):
    write_report(tmp_path / "again.html", results, open_parts(*inputs, None, "no"))
    assert (tmp_path / "again.html").read_text() == page


def test_sources_must_be_those_of_the_families(results, tmp_path):
    with pytest.raises(ValueError, match="sources: got 0, expected 1, one a family"):
        write_report(tmp_path / "x.html", results, [])
    assert not list(tmp_path.iterdir())


def test_plots_are_files_that_need_no_style_sheet(report):
    plots = {path.name for path in (report.parent / "plots").iterdir()}
    names = ("skill", "differences", "error-over-time", "distribution")
    assert plots == {f"free-fall-{name}.svg" for name in names}
    for path in (report.parent / "plots").iterdir():
        text = path.read_text()
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(" not in text and "Predict-and-Perturb" in text


class Unsure(Part):
    """The same part with an uncertainty map for every frame of its videos."""

    def read(self, name, key, sample, truth):
        clip = super().read(name, key, sample, truth)
        return clip if name == "truth" else replace(clip, uncertainty=np.linspace(0, 1, 5 * 64).reshape(5, 8, 8))


def test_uncertainty_is_drawn_where_it_was_recorded(family, page, inputs):
    (part,) = open_parts(*inputs, None, "no")
    cards = watch(family, Unsure(**vars(part)), "f0")
    assert "uncertainty" not in page
    assert cards.count('aria-label="Predict-and-Perturb: uncertainty"') == 3
    assert cards.count("; lower film: uncertainty") == 3 * 4


def test_the_animation_shows_every_frame(family, inputs, tmp_path):
    write_animation(tmp_path / "median.gif", family, open_parts(*inputs, None, "no")[0])
    with Image.open(tmp_path / "median.gif") as image:
        assert image.n_frames == FRAMES
        assert image.size == (5 * 240, 240 + 26)


PROBE = """<script>
addEventListener("load", () => {
  const films = [...document.querySelectorAll(".film")];
  const moved = films.filter(film => getComputedStyle(film).animationName === "f0");
  document.body.dataset.films = films.length + " " + moved.length;
  document.body.dataset.wide = document.documentElement.scrollWidth > innerWidth;
  console.error("the probe reports");
});
</script></body>"""


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs a chromium binary (apt-get install chromium)")
def test_a_browser_opens_it_without_an_error(page, tmp_path):
    (tmp_path / "probed.html").write_text(page.replace("</body>", PROBE))
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    flags += "--disable-component-update --disable-sync --window-size=1200,2400 --enable-logging=stderr --dump-dom"
    command = ["chromium", *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", str(tmp_path / "probed.html")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in run.stderr.splitlines() if "CONSOLE" in line]
    assert len(console) == 1 and "the probe reports" in console[0], "nothing but the probe speaks"
    assert "Predict-and-Perturb beats Euler" in run.stdout
    films, moved = re.search(r'data-films="(\d+) (\d+)"', run.stdout).groups()
    assert int(films) == int(moved) > 20
    assert 'data-wide="false"' in run.stdout, "nothing sticks out of the page"
