import base64
import json
import re
from html.parser import HTMLParser

import disc_scenes as scenes
import numpy as np
import pytest
from PIL import Image

from worldmodel.evaluators.controls import frozen, linear_extrapolation
from worldmodel.evaluators.free_fall import score_free_fall
from worldmodel.evaluators.panels import draw_panel, save_animation
from worldmodel.evaluators.report import pick_scenes, write_animation, write_report
from worldmodel.evaluators.results import ROWS, build_results, write_results
from worldmodel.evaluators.summary import headline, markdown_table
from worldmodel.evaluators.tracking import track

TRUTHS = [scenes.truth(drop, u) for drop, u in ((0.3, 20.2), (0.5, 30.4), (0.7, 40.1), (0.9, 33.3))]


def shifted(truth, du):
    centres = truth.camera.project(truth.position[:, 0])
    centres[1:, 0] += du
    return scenes.disc(centres)


def videos(refined, matched):
    rows = {
        "truth": [t.video for t in TRUTHS],
        "base": [shifted(t, 4.0) for t in TRUTHS],
        "euler_matched": [shifted(t, matched + 0.1 * i) for i, t in enumerate(TRUTHS)],
        "refined": [shifted(t, refined + 0.3 * i) for i, t in enumerate(TRUTHS)],
        "frozen": [frozen(t.video) for t in TRUTHS],
        "linear": [linear_extrapolation(t.video, t.mask) for t in TRUTHS],
    }
    return {name: np.stack(clips) for name, clips in rows.items()}


def results_of(clips):
    rows = {
        name: {
            "nfe": 34 if name == "refined" else 20,
            "seconds_per_clip": float("nan"),
            "scenes": [score_free_fall(video, truth).to_dict() for video, truth in zip(row, TRUTHS, strict=True)],
        }
        for name, row in clips.items()
    }
    provenance = {"model": "a <stub> & more", "settings": {"steps": 20}, "seeds": [0, 1, 2, 3]}
    return build_results(rows, range(4), TRUTHS, provenance, np.random.default_rng(0))


CLIPS = videos(refined=1.0, matched=3.0)
RESULTS = results_of(CLIPS)
MASKS = np.stack([t.mask[0] for t in TRUTHS])


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, RESULTS, CLIPS, MASKS)
    return path.read_text()


def test_page_needs_nothing_from_outside(page):
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
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


def test_page_shows_every_row_and_the_verdict(page):
    for name in CLIPS:
        assert ROWS[name] in page
    assert "Predict-and-Perturb beats Euler at the same number of model evaluations." in page
    assert "a &lt;stub&gt; &amp; more" in page
    assert not re.search(r"\bnan\b", re.sub(r"base64,[A-Za-z0-9+/=]+", "", page))


def test_pictures_are_inlined(page):
    pictures = re.findall(r"data:image/webp;base64,([A-Za-z0-9+/=]+)", page)
    assert len(pictures) == 3 * 4 * 2  # scenes, rows, animation and stills
    assert all(base64.b64decode(p)[:4] == b"RIFF" for p in pictures)


def test_scenes_are_picked_by_the_refined_error():
    assert pick_scenes(RESULTS) == {"Best": 0, "Median": 1, "Worst": 3}


def test_verdict_follows_the_interval():
    assert "beats" in headline(RESULTS)[0]
    assert "loses" in headline(results_of(videos(refined=3.0, matched=1.0)))[0]
    assert "does not beat" in headline(results_of(videos(refined=1.0, matched=1.3)))[0]


def test_results_are_strict_json_and_give_the_same_page(tmp_path, page):
    write_results(tmp_path / "results.json", RESULTS)

    def refuse(constant):
        raise AssertionError(constant)

    back = json.loads((tmp_path / "results.json").read_text(), parse_constant=refuse)
    assert back["rows"]["frozen"]["scenes"][0]["impact_time_ms"] is None
    assert len(back["rows"]["refined"]["scenes"]) == len(back["scenes"]) == 4
    write_report(tmp_path / "again.html", {**back, "rows": dict(back["rows"])}, CLIPS, MASKS)
    assert (tmp_path / "again.html").read_text() == page


def test_table_holds_the_pooled_numbers():
    errors = [scene["centroid_error_px"] for scene in RESULTS["rows"]["refined"]["scenes"]]
    cell = RESULTS["table"]["refined"]["error_px"]
    assert cell["value"] == pytest.approx(np.mean(errors)) and cell["low"] <= cell["value"] <= cell["high"]
    assert RESULTS["table"]["frozen"]["impact_bias_ms"]["n"] == 0


def test_animation_is_a_looping_gif_of_all_frames(tmp_path):
    from PIL import Image

    truth = TRUTHS[0]
    tracks = track(truth.video, truth.mask[0])
    panel = draw_panel(truth.video, tracks, (30, 32, 36), 128)
    save_animation(tmp_path / "strip.gif", {"MuJoCo": panel, "again": panel}, fps=8.0)
    with Image.open(tmp_path / "strip.gif") as image:
        assert image.is_animated and image.size == (256, 128 + 26)


def test_rows_of_other_scenes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="refined: got 3 scenes, expected 4"):
        write_report(tmp_path / "x.html", RESULTS, {**CLIPS, "refined": CLIPS["refined"][:3]}, MASKS)
    with pytest.raises(ValueError, match="expected 'refined' among them"):
        write_report(tmp_path / "x.html", RESULTS, {"truth": CLIPS["truth"]}, MASKS)
    rows = {"refined": {**RESULTS["rows"]["refined"], "scenes": []}}
    with pytest.raises(ValueError, match=r"rows\['refined'\]: got 0 scenes, expected 4"):
        build_results(rows, range(4), TRUTHS, {}, np.random.default_rng(0))


def test_the_markdown_table_prints_the_numbers_of_the_table():
    lines = markdown_table(RESULTS).splitlines()
    assert len(lines) == 2 + len(CLIPS)
    assert len({line.count("|") for line in lines}) == 1
    refined = next(line for line in lines if "Predict-and-Perturb" in line)
    value = RESULTS["table"]["refined"]["error_cm"]["value"]
    assert "| 34 | " in refined
    assert f"{value:.1f} [" in refined


def test_the_animation_shows_every_frame(tmp_path):
    write_animation(tmp_path / "median.gif", RESULTS, CLIPS, MASKS)
    with Image.open(tmp_path / "median.gif") as image:
        assert image.n_frames == len(TRUTHS[0])
