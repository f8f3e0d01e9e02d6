"""The default image weight, chosen by a label column: when it is, when it stands, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from samples import draw, make_job

import fpve
from fpve.config import AUTO, FusionConfig, Job
from fpve.errors import JobError
from fpve.store.snapshot import Snapshot


def with_auto(job: Job, label: str = "kind") -> Job:
    """The job with a weight that is left to a column."""
    return replace(job, fusion=FusionConfig(image_weight=AUTO, label=label))


def test_a_weight_is_chosen_by_the_label_column(job: Job) -> None:
    """It is the one that `fit_weight` finds on the published rows, with its interval; queries have it by default."""
    report = fpve.run(with_auto(job))
    store = fpve.open(job.store)
    found = store.fit_weight(label="kind")
    fusion = store.status().fusion
    assert fusion["image_weight"] == found.image_weight
    assert (fusion["label"], fusion["weight_low"], fusion["weight_high"], fusion["accuracy"]) == (
        "kind",
        found.low,
        found.high,
        found.accuracy,
    )
    assert Snapshot.open(job.store).manifest.fusion.auto.rows == 6
    assert report.warnings == ()
    given = store.search(id="pets/cat/00.png", image_weight=found.image_weight).to_arrow()
    assert store.search(id="pets/cat/00.png").to_arrow().equals(given)


def test_it_stands_until_labelled_images_have_doubled(job: Job, pictures: Path) -> None:
    """A run with nothing to do publishes nothing; some more images don't change how queries are ranked."""
    fpve.run(with_auto(job))
    assert not fpve.run(with_auto(job)).published
    lines = (pictures / "metadata.csv").read_text().splitlines()
    for number in range(100, 105):
        draw(pictures / f"cat/{number}.png", number)
        lines.append(f"cat/{number}.png,cat number {number},cat,1.50")
    (pictures / "metadata.csv").write_text("\n".join(lines) + "\n")
    fpve.run(with_auto(job))
    assert Snapshot.open(job.store).manifest.fusion.auto.snapshot == 1
    draw(pictures / "dog/106.png", 106)
    with (pictures / "metadata.csv").open("a") as file:
        file.write("dog/106.png,dog number 106,dog,1.50\n")
    fpve.run(with_auto(job))
    auto = Snapshot.open(job.store).manifest.fusion.auto
    assert (auto.rows, auto.snapshot) == (12, 3)


def test_too_few_labels_leave_the_default_and_are_told(job: Job) -> None:
    """A column that is not there, or says one thing only: the weight is 0.5, and the report says why."""
    report = fpve.run(with_auto(job, "nothing"))
    assert fpve.open(job.store).status().fusion == {"mode": "balanced", "image_weight": 0.5, "label": "nothing"}
    assert report.warnings[0].startswith("image_weight is 0.5, for 'nothing' has too few values")


def test_a_leaking_label_is_told(job: Job, pictures: Path) -> None:
    """A template with the column in it gives the label away."""
    auto = with_auto(make_job(job.store, pictures, prefix="a {kind}, {caption}"))
    assert "they give the label away, and draw the weight to 0" in fpve.run(auto).warnings[0]


def test_a_number_takes_its_place_again(job: Job) -> None:
    """A job that says a number has that, and no word of a label."""
    fpve.run(with_auto(job))
    fpve.run(replace(job, fusion=FusionConfig(image_weight=0.3)))
    assert fpve.open(job.store).status().fusion == {"mode": "balanced", "image_weight": 0.3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"image_weight": "auto"},
            'image_weight = "auto" is chosen by a metadata column of classes: name it with label',
        ),
        (
            {"image_weight": 0.5, "label": "kind"},
            "label: 'kind' is the column by which image_weight = \"auto\" chooses",
        ),
        ({"image_weight": 1.5}, "image_weight: expected a number from 0 to 1, found 1.5"),
    ],
)
def test_half_of_what_it_takes_is_a_wrong_job(options: dict[str, object], message: str) -> None:
    """One line that says what is missing, or too much."""
    with pytest.raises(JobError) as caught:
        FusionConfig(**options)
    assert message in str(caught.value)


def test_labels_that_people_give_are_enough(job: Job, tmp_path: Path) -> None:
    """A run after `fpve label` chooses the weight, though nothing else has changed; the one after that does nothing."""
    fpve.run(with_auto(job, "colour"))
    file = tmp_path / "colours.csv"
    ids = fpve.open(job.store).images["image_id"].to_pylist()
    rows = [f"{one},{'black' if at % 2 else 'white'}" for at, one in enumerate(ids)]
    file.write_text("image_id,colour\n" + "\n".join(rows) + "\n", encoding="utf-8")
    fpve.label(job.store, file)
    report = fpve.run(with_auto(job, "colour"))
    assert (report.published, report.warnings) == (True, ())
    assert Snapshot.open(job.store).manifest.fusion.auto.rows == 6
    assert not fpve.run(with_auto(job, "colour")).published


def test_a_store_of_several_jobs_keeps_its_settings_and_says_so(job: Job) -> None:
    """The second job's weight and centring don't count; it is told."""
    fpve.run(job)
    second = replace(job, name="second", collections=(replace(job.collections[0], name="others"),))
    report = fpve.run(replace(second, fusion=FusionConfig(image_weight=0.3)))
    assert "its own image_weight, label, centre and target_recall stand" in report.warnings[0]
    assert fpve.open(job.store).status().fusion["image_weight"] == 0.5
    assert fpve.run(second).warnings == ()
