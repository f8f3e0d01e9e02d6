"""The page of an evaluation: every figure is there, whatever things are called, and nothing is fetched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report.parsed import NASTY, Page

import fpve
from fpve.records import ClassScore, Evaluation, Mistake, ReliabilityBin, RiskPoint
from fpve.report.evaluation import write_evaluation

EVALUATION = Evaluation(
    label="kind",
    head="knn",
    protocol="leave-one-out",
    accuracy=0.811,
    accuracy_low=0.712,
    accuracy_high=0.913,
    accuracy_without_prefix=0.614,
    balanced_accuracy=0.715,
    balanced_accuracy_low=0.616,
    balanced_accuracy_high=0.817,
    macro_f1=0.718,
    naive_accuracy=0.919,
    naive_accuracy_without_prefix=0.621,
    calibration_error=0.022,
    votes_calibration_error=0.123,
    reliability=(ReliabilityBin(0.324, 0.25, 4), ReliabilityBin(0.926, 0.927, 1028)),
    log_loss=0.529,
    without_votes=0.031,
    risk_coverage=(RiskPoint(1.0, 0.811, 0.1326), RiskPoint(0.9504, 0.833, 0.4347)),
    rows=1032,
    voters=1035,
    clusters=1036,
    rows_without_neighbours=2,
    k=37,
    weights="softmax",
    temperature=0.00853,
    prior_score=0.438,
    sharpness=1.25,
    image_weight=0.65,
    mode="balanced",
    centred=True,
    classes=(ClassScore("bird", 0.639, 0.541, 0.542, 1002), ClassScore("cat", 0.443, 0.544, 0.445, 30)),
    confusion=((946, 54), (14, 16)),
    mistakes=(
        Mistake("pets/05.png", "bird", "cat", 0.847, (("pets/06.png", "cat", 0.748), ("pets/07.png", "bird", 0.649))),
    ),
    warnings=("the prefix of 212 images contains their kind",),
)


def written(path: Path, evaluation: Evaluation, store: fpve.Store, **options: dict[str, Evaluation]) -> Page:
    """The page of an evaluation, which needs nothing else."""
    write_evaluation(path / "page.html", evaluation, store, **options)
    page = Page.read(path / "page.html")
    page.assert_self_contained(scripts=1)
    return page


def test_every_figure_stands_in_the_page(tmp_path: Path, store: fpve.Store) -> None:
    """Shares are shown in percent, counts in full, and what a model was given with three digits."""
    page = written(tmp_path, EVALUATION, store)
    assert page.texts("title")[0] == "kind: 81.1 % right"
    shown = page.text
    assert page.texts("p", "soft")[0] == (
        "1,032 images, each predicted by the votes of its 37 nearest neighbours. All other images vote, except copies "
        "of the picture and images with the same prefix."
    )
    assert page.texts("dl", "figures")[0] == (
        "accuracy 81.1 % 71.2 to 91.3 % balanced accuracy 71.5 % 61.6 to 81.7 % macro F1 71.8 % "
        "calibration error 2.2 % images 1,032 in 2 classes"
    )
    for text in (
        "Expect 81.1 % for new pictures that come with a prefix as these do, and 61.4 % for those that come without",
        "The naive figure is 10.8 points higher",
        "takes part in predicting it. Naive: only the image itself is left out.",
        "query with its prefix 81.1 % 71.2 to 91.3 % 91.9 %",
        "query without its prefix 61.4 % 62.1 %",
        "differ by 2.2 % on average; before calibration by 12.3 %",
        "32.4 % 25.0 % 4",
        "92.6 % 92.7 % 1,028",
        "Abstain below 0.434 and 95.0 % are answered, 83.3 % of them right.",
        "0.132 100 % 81.1 %",
        "0.434 95.0 % 83.3 %",
        "bird 1,002 63.9 % 54.1 % 54.2 %",
        "cat 30 44.3 % 54.4 % 44.5 %",
        "bird cat 54 5.4 %",
        "cat bird 14 46.7 %",
        "84.7 % sure",
    ):
        assert text in shown, text
    facts = dict(zip(page.texts("dt")[5:], (text for text in page.texts("dd")[5:]), strict=True))
    assert facts == {
        "label": "kind",
        "classifier": "k-NN",
        "protocol": "leave-one-out",
        "rows that were predicted": "1,032",
        "images that vote": "1,035",
        "clusters of tied rows": "1,036",
        "neighbours that vote, k": "37",
        "weight of a vote": "softmax",
        "temperature": "0.00853",
        "score of the prior": "0.438",
        "sharpness": "1.25",
        "image weight A": "0.65",
        "fusion": "balanced",
        "centred": "yes",
        "rows without a neighbour": "2",
        "rows without a vote for their class": "3.1 %",
        "calibration error": "2.2 %",
        "… before calibration": "12.3 %",
        "log loss": "0.529",
    }
    assert page.texts("section", "warnings") == [
        "Before you believe these figures the prefix of 212 images contains their kind"
    ]


def test_a_confusion_matrix_is_shaded_by_the_shares_of_its_rows(tmp_path: Path, store: fpve.Store) -> None:
    """Of 1,002 birds 946 were found: a shade of 0.94; what was not predicted has a column of its own."""
    page = written(tmp_path, EVALUATION, store)
    assert page.texts("table", "matrix") == ["bird cat not predicted bird 946 54 2 cat 14 16"]
    shades = [one.given["style"] for kind in ("hit", "miss") for one in page.all("td", kind)]
    assert shades == ["--v: 0.94", "--v: 0.53", "--v: 0.08", "--v: 0.08", "--v: 0.47"]


def test_a_mistake_shows_the_picture_and_those_that_voted(tmp_path: Path, store: fpve.Store) -> None:
    """Neighbours of the true class and of the predicted one are marked; captions are read out and pointed at."""
    page = written(tmp_path, EVALUATION, store)
    assert page.texts("h3")[1] == "bird taken for cat"
    assert page.texts("li", "wrong") == ["cat 0.748"]
    assert page.texts("li", "right") == ["bird 0.649"]
    assert [one.given["alt"] for one in page.all("img")] == ["bird 5", "cat 6", "dog 7"]
    assert page.all("img")[0].given["title"] == "pets/05.png\nbird 5"


def test_a_real_evaluation_is_shown(tmp_path: Path, store: fpve.Store) -> None:
    """Each mistake has its picture and those of eight neighbours, and each class its row."""
    evaluation = store.evaluate(label="kind")
    page = written(tmp_path, evaluation, store)
    assert len(evaluation.mistakes) > 3
    assert len(page.all("img")) == 9 * len(evaluation.mistakes)
    assert page.texts("table", "classes")[0].startswith("class rows precision recall F1 bird 8 ")
    captions = {one.given["alt"] for one in page.all("img")}
    assert set(NASTY) & captions


def test_names_are_text_whatever_is_in_them(tmp_path: Path, store: fpve.Store) -> None:
    """Labels, classes, images, warnings and comparisons are shown as they are, and isolated where they run right."""
    classes = tuple(ClassScore(name, 0.5, 0.5, 0.5, 2) for name in NASTY)
    confusion = tuple(tuple(int(column != row) for column in range(5)) for row in range(5))
    mistakes = tuple(
        Mistake(name, name, NASTY[at - 1], 0.9, ((name, NASTY[at - 2], 0.5),)) for at, name in enumerate(NASTY)
    )
    nasty = replace(EVALUATION, label=NASTY[0], classes=classes, confusion=confusion, mistakes=mistakes, warnings=NASTY)
    page = written(tmp_path, nasty, store, others=dict.fromkeys(NASTY, nasty))
    assert page.texts("h1") == [f"How well {NASTY[0]} is predicted"]
    bdi = page.texts("bdi")
    for name in NASTY:
        # A warning, a comparison, a class, the name, truth and prediction of mistakes; and confusions.
        assert bdi.count(name) > 6, name
    assert [one.given["aria-label"] for one in page.all("div", "missing")][::2] == list(NASTY)


def test_no_mistake_is_said_to_be_none(tmp_path: Path, store: fpve.Store) -> None:
    """Where all is right there are no cards, no confusions and no warning, and abstaining gains nothing."""
    perfect = replace(
        EVALUATION,
        accuracy=1.0,
        confusion=((1002, 0), (0, 30)),
        risk_coverage=(RiskPoint(1.0, 1.0, 0.5), RiskPoint(0.9, 1.0, 0.6)),
        mistakes=(),
        warnings=(),
    )
    page = written(tmp_path, perfect, store)
    assert "There is none: every image that was predicted is right." in page.text
    assert "No class was taken for another." in page.text
    assert "Answering only the surest 90.0 % gains nothing here." in page.text
    assert (page.all("li", "card"), page.all("section", "warnings")) == ([], [])


def test_a_head_has_no_voters(tmp_path: Path, store: fpve.Store) -> None:
    """Of a head the page says how it was learnt, and nothing of votes."""
    mistake = replace(EVALUATION.mistakes[0], neighbours=())
    head = replace(
        EVALUATION,
        head="logistic",
        protocol="folds",
        k=None,
        weights=None,
        temperature=None,
        prior_score=None,
        sharpness=None,
        log_loss=None,
        mistakes=(mistake,),
    )
    page = written(tmp_path, head, store)
    assert page.texts("p", "soft")[0] == (
        "1,032 images, each predicted by logistic regression. The images of the other folds are learnt from, except "
        "copies of the picture and images with the same prefix."
    )
    assert "vote" not in page.text.replace("votes_", "")
    assert page.all("ol", "voters") == []
    assert "Naive: copies and images with the same prefix are not kept apart." in page.text
    assert "log loss infinite" in page.text
    assert "images to learn from 1,035" in page.text


@pytest.mark.parametrize(
    ("change", "row", "sentence"),
    [
        (
            {"accuracy_without_prefix": None, "naive_accuracy_without_prefix": None},
            "query with its prefix 81.1 % 71.2 to 91.3 % 91.9 %",
            "Expect 81.1 % for new pictures that come with a prefix as these do. ",
        ),
        (
            {"image_weight": 1.0, "naive_accuracy": 0.811},
            "query without a prefix 81.1 % 71.2 to 91.3 % 81.1 %",
            "Expect 81.1 % for new pictures; a prefix had no part in predicting these. The naive figure is the",
        ),
        (
            {"accuracy_without_prefix": 0.811, "naive_accuracy_without_prefix": 0.801, "naive_accuracy": 0.801},
            "query without a prefix 81.1 % 71.2 to 91.3 % 80.1 %",
            "take part, is 1.0 points lower",
        ),
    ],
)
def test_the_page_says_which_figure_to_believe(
    tmp_path: Path, store: fpve.Store, change: dict[str, float | None], row: str, sentence: str
) -> None:
    """A figure that was not evaluated, or is the same, has no row, and what is said is of those that are there."""
    page = written(tmp_path, replace(EVALUATION, **change), store)
    table = page.texts("table", "believe")[0]
    assert table == f"share that is right grouped naive {row}"
    assert sentence in page.text


def test_images_that_are_gone_are_named(tmp_path: Path, store: fpve.Store) -> None:
    """An image that is not in the store, or has no thumbnail, has a place without a picture."""
    mistake = Mistake("pets/gone.png", "bird", "cat", 0.8, (("pets/06.png", "cat", 0.7), ("pets/lost.png", "cat", 0.6)))
    page = written(tmp_path, replace(EVALUATION, mistakes=(mistake,)), store)
    assert [one.given["aria-label"] for one in page.all("div", "missing")] == ["pets/gone.png", "pets/lost.png"]
    assert [one.given["alt"] for one in page.all("img")] == ["cat 6"]


def test_of_many_classes_only_the_largest_confusions_are_shown(tmp_path: Path, store: fpve.Store) -> None:
    """Of 41 classes there is no matrix, but the twelve largest confusions, the largest share first among equals."""
    classes = tuple(ClassScore(f"class {number}", 0.5, 0.5, 0.5, 100 - number) for number in range(41))
    confusion = [[0] * 41 for _ in range(41)]
    for number in range(40):
        confusion[number][number + 1] = 5 if number < 3 else 2
    many = replace(EVALUATION, classes=classes, confusion=tuple(map(tuple, confusion)))
    page = written(tmp_path, many, store)
    assert page.all("table", "matrix") == []
    table = page.texts("table", "confusions")[0]
    assert table.startswith(
        "class taken for rows of its class class 2 class 3 5 5.1 % class 1 class 2 5 5.1 % class 0 class 1 5 5.0 %"
    )
    assert table.count(" %") == 12


def test_others_stand_beside(tmp_path: Path, store: fpve.Store) -> None:
    """Each has its interval, drawn on a scale that all share, and its notes below; the best is marked."""
    better = replace(EVALUATION, accuracy=0.95, accuracy_high=0.96, warnings=("chosen on these rows",))
    page = written(tmp_path, EVALUATION, store, others={"centred": better, "bare": EVALUATION})
    rows = page.texts("tr")
    assert "this one 81.1 % 71.2 to 91.3 % 61.4 % 91.9 % 71.5 % 71.8 % 2.2 %" in rows
    assert "centred 95.0 % 71.2 to 96.0 % 61.4 % 91.9 % 71.5 % 71.8 % 2.2 %" in rows
    assert page.texts("tr", "best") == ["centred 95.0 % 71.2 to 96.0 % 61.4 % 91.9 % 71.5 % 71.8 % 2.2 %"]
    assert "95 % interval 70 to 100 % without prefix" in page.text
    assert page.all("b")[0].given["style"] == "left: 37.0%"
    assert page.texts("p", "fine")[1] == "chosen on these rows"
    assert page.texts("section", "warnings")[0].endswith("contains their kind")
