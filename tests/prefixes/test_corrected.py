"""Prefixes that people write: they win over the job's rules, at once and every night, until they are taken back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from samples import FAKE, draw, make_job

import fpve
from fpve.config import EncoderConfig, Encoders, Job
from fpve.encoders import open_text_encoder
from fpve.errors import PrefixError, QueryError, StoreLocked
from fpve.store.lock import writer_lock
from fpve.store.snapshot import Snapshot

CATS = "kind = 'cat'"


def prefix_of(store: Path, path: str) -> str | None:
    """The prefix of one image."""
    rows = fpve.open(store).sql(f"SELECT prefix FROM images WHERE image_id = 'pets/{path}'").to_pylist()
    return rows[0]["prefix"]


def test_a_person_corrects_prefixes(job: Job) -> None:
    """The images get the text and its vectors at once, without a picture being opened, and the next run keeps them."""
    fpve.run(job)
    report = fpve.set_prefix(job.store, where=CATS, text="  a tabby ")
    assert (report.matched, report.changed, report.fused, report.snapshot, report.published) == (4, 4, 4, 2, True)
    assert prefix_of(job.store, "cat/00.png") == "a tabby"
    hits = fpve.open(job.store).search(text="a tabby", k=4)
    assert {hit.kind for hit in hits} == {"cat"}
    assert [hit.score for hit in hits] == pytest.approx([1] * 4, abs=1e-5)
    again = fpve.run(job)
    assert (again.published, again.unchanged, again.prefix_changed) == (False, 12, 0)
    assert fpve.verify(job.store).ok


def test_a_corrected_vector_is_the_formula_of_its_text(job: Job) -> None:
    """The stored feature is fused with the embedding of the new text, as a run would have done."""
    fpve.run(job)
    store = fpve.open(job.store)
    before = store.sql("SELECT vector FROM vectors WHERE image_id = 'pets/cat/03.png'").to_pylist()[0]["vector"]
    fpve.set_prefix(job.store, where=CATS, text="a tabby")
    store.refresh()
    after = store.sql("SELECT vector FROM vectors WHERE image_id = 'pets/cat/03.png'").to_pylist()[0]["vector"]
    expected = open_text_encoder(FAKE.text).encode(["a tabby"])[0]
    np.testing.assert_allclose(after[:24], before[:24], atol=1e-6)
    np.testing.assert_allclose(after[24:], expected / np.linalg.norm(expected) / np.sqrt(2), atol=1e-6)


def test_provenance_says_who_wrote_it(job: Job) -> None:
    """The text is of origin `corrected`, and a table says for which image, since when, and instead of what."""
    fpve.run(job)
    fpve.set_prefix(job.store, where=CATS, text="a tabby")
    store = fpve.open(job.store)
    rows = store.prefixes(where="text = 'a tabby'").to_pylist()
    assert [(row["origin"], row["images"], row["corrected"], row["template"]) for row in rows] == [
        ("corrected", 4, 4, None)
    ]
    rows = store.sql("SELECT image_id, text, before FROM corrections ORDER BY image_id").to_pylist()
    assert rows[0] == {"image_id": "pets/cat/00.png", "text": "a tabby", "before": "cat number 0"}
    assert rows[1] == {"image_id": "pets/cat/03.png", "text": "a tabby", "before": None}
    assert [row["operation"] for row in fpve.history(job.store).to_pylist()] == ["prefix", "run"]


def test_a_correction_is_taken_back(job: Job) -> None:
    """The images have again what they had, with the vectors that they had, and the store is as before."""
    fpve.run(job)
    before = Snapshot.open(job.store).images
    fpve.set_prefix(job.store, where=CATS, text="a tabby")
    fpve.set_prefix(job.store, where=CATS, text="a tabby of another word")
    report = fpve.set_prefix(job.store, where="true", undo=True)
    assert (report.matched, report.changed, report.fused) == (12, 4, 0)
    assert Snapshot.open(job.store).images.equals(before)
    assert not fpve.run(job).published
    assert not fpve.set_prefix(job.store, where="true", undo=True).published


def test_a_correction_wins_over_other_rules(job: Job, pictures: Path) -> None:
    """A job with another template changes the others; what a person wrote stays, for new content of the image, too."""
    fpve.run(job)
    fpve.set_prefix(job.store, where="image_id = 'pets/cat/00.png'", text="my cat")
    draw(pictures / "cat/00.png", 500)
    report = fpve.run(make_job(job.store, pictures, prefix="a {kind}"))
    assert (report.changed, report.prefix_changed, report.encoded) == (1, 11, 1)
    assert (prefix_of(job.store, "cat/00.png"), prefix_of(job.store, "cat/03.png")) == ("my cat", "a cat")
    fpve.set_prefix(job.store, where="true", undo=True)
    fpve.run(make_job(job.store, pictures, prefix="a {kind}"))
    assert prefix_of(job.store, "cat/00.png") == "a cat"


def test_the_same_text_again_changes_nothing(job: Job) -> None:
    """Nothing is published; but an image whose rule says it already is held to it."""
    fpve.run(job)
    assert fpve.set_prefix(job.store, where="image_id = 'pets/cat/00.png'", text="cat number 0").changed == 1
    assert not fpve.set_prefix(job.store, where="image_id = 'pets/cat/00.png'", text="cat number 0").published
    fpve.run(make_job(job.store, job.collections[0].source, prefix="a {kind}"))
    assert prefix_of(job.store, "cat/00.png") == "cat number 0"


def test_what_cannot_be_a_prefix_is_refused(job: Job, tmp_path: Path, pictures: Path) -> None:
    """An empty text, a wrong condition, a store without texts or in use: one line, and nothing is published."""
    fpve.run(job)
    with pytest.raises(PrefixError, match=r"expected words, found ' \\u200b'"):
        fpve.set_prefix(job.store, where=CATS, text=" \u200b")
    with pytest.raises(PrefixError, match="either a text to set, or undo, found neither"):
        fpve.set_prefix(job.store, where=CATS)
    with pytest.raises(QueryError, match="knd"):
        fpve.set_prefix(job.store, where="knd = 1", text="a")
    with writer_lock(job.store, "somebody"), pytest.raises(StoreLocked, match="somebody"):
        fpve.set_prefix(job.store, where=CATS, text="a")
    assert not fpve.set_prefix(job.store, where="false", text="a").published
    assert fpve.open(job.store).snapshot == 1
    bare = make_job(tmp_path / "bare", pictures, prefix=None)
    bare = Job(
        name="pets",
        store=tmp_path / "bare",
        encoders=Encoders(image=FAKE.image, text=EncoderConfig("none")),
        collections=bare.collections,
    )
    fpve.run(bare)
    with pytest.raises(PrefixError, match="encodes no texts"):
        fpve.set_prefix(bare.store, where="true", text="a")


def test_a_correction_waits_for_an_image_that_is_gone(job: Job, pictures: Path) -> None:
    """Like a label it is of the image's name: a run says how many wait, and they can be taken back."""
    fpve.run(job)
    fpve.set_prefix(job.store, where=CATS, text="a tabby")
    (pictures / "cat/00.png").rename(pictures / "cat/moved.png")
    report = fpve.run(job)
    assert (report.moved, report.corrections_without_image) == (1, 1)
    assert prefix_of(job.store, "cat/moved.png") is None
    (pictures / "cat/moved.png").rename(pictures / "cat/00.png")
    assert fpve.run(job).corrections_without_image == 0
    assert prefix_of(job.store, "cat/00.png") == "a tabby"
    (pictures / "cat/00.png").unlink()
    fpve.run(job)
    assert fpve.set_prefix(job.store, where="image_id = 'pets/cat/00.png'", undo=True).changed == 1
    assert fpve.run(job).corrections_without_image == 0
    assert len(fpve.open(job.store).sql("FROM corrections")) == 3


def test_a_correction_is_given_again_after_a_rollback(job: Job) -> None:
    """The table outlives a rollback, and the page does not: the same text again puts it back at once."""
    fpve.run(job)
    fpve.set_prefix(job.store, where=CATS, text="a tabby")
    fpve.rollback(job.store)
    assert prefix_of(job.store, "cat/00.png") == "cat number 0"
    assert fpve.set_prefix(job.store, where=CATS, text="a tabby").changed == 4
    assert prefix_of(job.store, "cat/00.png") == "a tabby"
    assert fpve.set_prefix(job.store, where="true", undo=True).changed == 4
    assert prefix_of(job.store, "cat/00.png") == "cat number 0"


def test_rules_that_give_nothing_are_no_error_where_people_gave_all(job: Job, pictures: Path) -> None:
    """A collection whose captions are gone keeps the prefixes that were written by hand."""
    fpve.run(job)
    fpve.set_prefix(job.store, where="true", text="by hand")
    lines = (pictures / "metadata.csv").read_text().splitlines()
    emptied = [lines[0], *(",".join([one.split(",")[0], "", *one.split(",")[2:]]) for one in lines[1:])]
    (pictures / "metadata.csv").write_text("\n".join(emptied) + "\n")
    fpve.run(job)
    assert prefix_of(job.store, "dog/01.png") == "by hand"
