"""Whether a judge is good enough, from its verdicts."""

import pytest

from worldmodel.evaluators.certificate_page import text_table, write_page
from worldmodel.evaluators.certified_judge import OUTCOMES, certify_judge
from worldmodel.evaluators.results import plain


def verdicts(tp, fn, tn, fp):
    def clips(count, judged, true):
        return count * [
            {"attempt": "a", "judged": dict.fromkeys(OUTCOMES, judged), "true": dict.fromkeys(OUTCOMES, true)}
        ]

    return clips(tp, True, True) + clips(fn, False, True) + clips(tn, False, False) + clips(fp, True, False)


def test_rates_and_their_intervals():
    declared, judge = certify_judge("grasp", verdicts(tp=200, fn=0, tn=98, fp=2))
    sensitivity, specificity = judge["outcomes"]["success"].values()
    assert sensitivity["value"] == 1.0 and specificity["value"] == 0.98
    assert sensitivity["clopper_pearson"] == pytest.approx([0.025 ** (1 / 200), 1.0])
    assert specificity["wilson"] == pytest.approx([0.9300, 0.9945], abs=1e-4)
    assert [each.holds for each in declared] == [True, True]
    assert [(each.metric, each.above, each.below, each.n) for each in declared] == [
        ("judge_sensitivity", "replay", "0.98", 200),
        ("judge_specificity", "replay", "0.98", 100),
    ]


def test_a_judge_that_is_wrong_too_often_fails():
    declared, judge = certify_judge("grasp", verdicts(tp=97, fn=3, tn=97, fp=3))
    assert [each.holds for each in declared] == [False, False]
    assert judge["attempts"] == {"a": {"clips": 200, "right": 194}}


def test_without_clips_of_a_kind_nothing_is_certified():
    declared, _ = certify_judge("grasp", verdicts(tp=50, fn=0, tn=0, fp=0))
    assert [each.holds for each in declared] == [True, False]


def test_the_rates_are_printed_and_on_the_page(tmp_path):
    declared, judge = certify_judge("grasp", verdicts(tp=200, fn=0, tn=97, fp=3))
    why = {"family": "flood", "metric": "m", "above": "replay", "below": "frozen", "why": "it is black"}
    document = plain(
        {
            "scenes": 100,
            "drawn": {"grasp": 203, "maze": 100},
            "declarations": [each.to_dict() for each in declared],
            "withdrawn": [why],
            "judges": {"grasp": judge},
            "tables": {},
        }
    )
    text = text_table(document)
    assert "judge of grasp: sensitivity 200 of 200 = 1.0000 (Wilson 0.9812 to 1.0000" in text
    assert "FAILS: grasp, judge_specificity: replay not below 0.98" in text
    assert "not declared: flood, m: replay above frozen: it is black" in text
    assert "grasp: 203 scenes drawn" in text and "maze: 100 scenes" not in text
    write_page(tmp_path / "page.html", document)
    page = (tmp_path / "page.html").read_text()
    assert "more scenes were drawn" in page and "grasp 203" in page and "maze 100" not in page
    assert "1 of 2 fail" in page and "97 of 100: 0.970" in page and "it is black" in page
