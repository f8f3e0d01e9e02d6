"""Imports: what becomes of vectors that somebody else computed, again and beside other collections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from samples import draw, make_job

import fpve
from fpve.config import Job
from fpve.errors import GuardError, JobError, StoreConflict
from fpve.fusion import unit
from fpve.store.imported import content_of

Write = Callable[..., Path]
Tree = Callable[[Path], dict[str, bytes]]


def vectors(count: int, dim: int = 6, seed: int = 0) -> np.ndarray:
    """Features such as a model might give, none like another."""
    return (np.random.default_rng(seed).standard_normal((count, dim)) * 9).astype(np.float32)


def scores(hits: fpve.Hits) -> list[tuple[str, float]]:
    """Which images were found, and how near."""
    return [(hit.image_id, hit.score) for hit in hits]


def test_vectors_become_a_collection(tmp_path: Path, write: Write) -> None:
    """Each row is an image of the collection, with its metadata and without what only a picture has."""
    values = vectors(5)
    file = write(values, kind=["a", "b", None, "a", "b"], year=[1, 2, 3, 4, 5])
    done = fpve.import_vectors(tmp_path / "store", vectors=file)
    assert {name: value for name, value in done.to_dict().items() if value} == {
        "store": str(tmp_path / "store"),
        "collection": "made",
        "rows": 5,
        "dim": 6,
        "snapshot": 1,
        "published": True,
        "new": 5,
        "fused": 5,
        "encoders": {"image": done.encoders["image"]},
    }
    assert done.encoders["image"].startswith("imported:6@")
    rows = fpve.open(tmp_path / "store").images.to_pylist()
    digests = content_of(values)
    assert [row["image_id"] for row in rows] == ["made/00", "made/01", "made/02", "made/03", "made/04"]
    assert rows[2] | {"segment": ""} == {
        "image_id": "made/02",
        "collection": "made",
        "path": f"{file}/02",
        "content_hash": digests[2],
        "bytes": None,
        "width": None,
        "height": None,
        "prefix_id": None,
        "prefix": None,
        "segment": "",
        "row": 2,
        "kind": None,
        "year": 3,
    }
    assert digests[2].startswith("vector-")
    assert fpve.verify(tmp_path / "store").ok
    status = fpve.open(tmp_path / "store").status()
    assert [(one.name, one.images, one.job, one.source) for one in status.collections] == [
        ("made", 5, "fpve import", str(file))
    ]


def test_scores_are_the_cosines_of_the_vectors(tmp_path: Path, write: Write) -> None:
    """A search by vector or by id ranks by the cosine of what was imported."""
    values = vectors(9)
    fpve.import_vectors(tmp_path / "store", vectors=write(values))
    store = fpve.open(tmp_path / "store")
    query = vectors(1, seed=1)[0]
    expected = unit(values) @ unit(query[None])[0]
    order = np.argsort(-expected)
    found = scores(store.search(vector=query, k=9))
    assert [name for name, _ in found] == [f"made/{at:02d}" for at in order]
    assert np.allclose([score for _, score in found], expected[order], atol=1e-6)
    by_vector = scores(store.search(vector=values[3], k=2))
    assert by_vector[0] == ("made/03", pytest.approx(1, abs=1e-6))
    assert scores(store.search(id="made/03", k=1)) == [(by_vector[1][0], pytest.approx(by_vector[1][1], abs=1e-6))]


@pytest.mark.parametrize("kind", ["parquet", "npy"])
def test_a_round_trip_gives_the_same_answers(store: fpve.Store, tmp_path: Path, kind: str) -> None:
    """What was exported with image vectors is imported as it was: encoders, fusion, ids, prefixes, and all scores."""
    store.export(tmp_path / f"out.{kind}", vectors="image")
    done = fpve.import_vectors(tmp_path / "other", vectors=tmp_path / f"out.{kind}")
    assert (done.collection, done.new, done.notes) == ("pets", 12, ())
    other = fpve.open(tmp_path / "other")
    assert other.status().encoders == store.status().encoders
    kept = ["image_id", "collection", "path", "prefix_id", "prefix", "caption", "kind", "price"]
    assert other.images.select(kept).to_pylist() == store.images.select(kept).to_pylist()
    picture = Path(store.images["path"][3].as_py())
    for query in ({"id": "pets/cat/06.png"}, {"image": picture}, {"text": "dog"}, {"image": picture, "text": "a cat"}):
        mine, theirs = scores(other.search(**query, k=12)), scores(store.search(**query, k=12))
        assert [name for name, _ in mine] == [name for name, _ in theirs]
        assert np.allclose([score for _, score in mine], [score for _, score in theirs], atol=1e-6)
    assert fpve.verify(tmp_path / "other").ok
    other.export(tmp_path / f"again.{kind}", vectors="image")
    tables = [pq.read_table(tmp_path / f"{name}.parquet") for name in ("out", "again")]
    assert tables[0].select(kept[:3]).equals(tables[1].select(kept[:3]))


def test_the_same_file_again_changes_nothing(tmp_path: Path, write: Write, tree: Tree) -> None:
    """A second import publishes no snapshot, and writes nothing that stays."""
    file = write(vectors(5), kind=list("abcde"))
    fpve.import_vectors(tmp_path / "store", vectors=file)
    before = tree(tmp_path / "store")
    done = fpve.import_vectors(tmp_path / "store", vectors=file)
    assert (done.published, done.snapshot, done.unchanged, done.fused) == (False, 1, 5, 0)
    assert tree(tmp_path / "store") == before


def test_changed_rows_replace_those_that_were(tmp_path: Path, write: Write) -> None:
    """New, changed, moved and removed rows are counted as a run counts them, and only new vectors are made."""
    values = vectors(10)
    fpve.import_vectors(tmp_path / "store", vectors=write(values, kind=["a"] * 10))
    other = values.copy()
    other[2] *= -1
    ids = [f"{at:02d}" for at in range(8)] + ["nine", "ten"]
    other = np.vstack([other[:8], values[9:], vectors(1, seed=5)])
    done = fpve.import_vectors(tmp_path / "store", vectors=write(other, ids=ids, kind=["b", *["a"] * 9]))
    counts = {
        name: getattr(done, name) for name in ("new", "moved", "changed", "metadata_changed", "unchanged", "removed")
    }
    assert counts == {"new": 1, "moved": 1, "changed": 1, "metadata_changed": 1, "unchanged": 6, "removed": 1}
    assert (done.fused, done.snapshot) == (2, 2)
    store = fpve.open(tmp_path / "store")
    assert store.images["image_id"].to_pylist()[-3:] == ["made/07", "made/nine", "made/ten"]
    assert scores(store.search(vector=other[2], k=1))[0][0] == "made/02"
    assert fpve.verify(tmp_path / "store").ok
    assert store.status().dead_vectors == 2
    assert fpve.compact(tmp_path / "store").vectors_dropped == 2
    assert fpve.verify(tmp_path / "store").ok


def test_much_is_removed_only_if_allowed(tmp_path: Path, write: Write) -> None:
    """A file that was cut off publishes nothing, unless removals are allowed."""
    values = vectors(10)
    fpve.import_vectors(tmp_path / "store", vectors=write(values))
    file = write(values[:7])
    with pytest.raises(GuardError, match=r"3 of 10 images are gone from .*, more than max_removed = 0\.2"):
        fpve.import_vectors(tmp_path / "store", vectors=file)
    assert fpve.open(tmp_path / "store").snapshot == 1
    done = fpve.import_vectors(tmp_path / "store", vectors=file, allow_removals=True)
    assert (done.removed, done.snapshot, fpve.open(tmp_path / "store").status().images) == (3, 2, 7)


def test_rows_that_are_alike_share_a_vector(tmp_path: Path, write: Write) -> None:
    """Equal vectors are made once, whatever their images are called."""
    done = fpve.import_vectors(tmp_path / "store", vectors=write(np.repeat(vectors(2), 3, axis=0)))
    assert (done.rows, done.fused) == (6, 2)
    found = fpve.open(tmp_path / "store").search(id="made/00", k=2)
    assert [(hit.image_id, round(hit.score, 6)) for hit in found] == [("made/01", 1.0), ("made/02", 1.0)]


def test_many_parts_and_shards(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is held at once, row n of the file is the vector of its image."""
    monkeypatch.setattr("fpve.sources.vectors._ROWS_AT_ONCE", 7)
    monkeypatch.setattr("fpve.engines.shards.SHARD_ROWS", 10)
    values = vectors(50)
    # The order of the file is not that of the ids.
    ids = [f"{at * 7 % 50:02d}" for at in range(50)]
    fpve.import_vectors(tmp_path / "store", vectors=write(values, ids=ids))
    store = fpve.open(tmp_path / "store")
    assert [scores(store.search(vector=value, k=1))[0][0] for value in values] == [f"made/{one}" for one in ids]
    assert fpve.verify(tmp_path / "store").ok
    assert not list((tmp_path / "store" / "pending").iterdir())


def test_the_vectors_of_a_killed_import_are_used(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards that were finished before an import was stopped are not made again."""
    monkeypatch.setattr("fpve.engines.shards.SHARD_ROWS", 4)
    file = write(vectors(10))

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fpve.pipeline.imports.commit", stopped)
        with pytest.raises(KeyboardInterrupt):
            fpve.import_vectors(tmp_path / "store", vectors=file)
    done = fpve.import_vectors(tmp_path / "store", vectors=file)
    assert (done.new, done.fused, done.snapshot) == (10, 0, 1)
    assert fpve.verify(tmp_path / "store").ok


def test_a_matrix_with_a_table_beside_it(tmp_path: Path) -> None:
    """Ids and metadata are those of the table, by the house's rules: 007 stays a text."""
    np.save(tmp_path / "made.npy", vectors(3).astype(np.float64))
    (tmp_path / "made.csv").write_text("image_id,code,price\nb,007,1.5\na,010,2.5\nc,,\n", encoding="utf-8")
    done = fpve.import_vectors(tmp_path / "store", vectors=tmp_path / "made.npy", collection="things")
    store = fpve.open(tmp_path / "store")
    assert store.images.select(["image_id", "code", "price"]).to_pylist() == [
        {"image_id": "things/a", "code": "010", "price": 2.5},
        {"image_id": "things/b", "code": "007", "price": 1.5},
        {"image_id": "things/c", "code": None, "price": None},
    ]
    assert scores(store.search(vector=vectors(3)[1], k=1)) == [("things/a", pytest.approx(1, abs=1e-6))]
    (tmp_path / "made.csv").rename(tmp_path / "other.csv")
    again = fpve.import_vectors(
        tmp_path / "store", vectors=tmp_path / "made.npy", collection="things", ids=tmp_path / "other.csv"
    )
    assert (done.published, again.published) == (True, False)


def test_texts_are_embedded_by_the_encoder_that_is_named(tmp_path: Path, write: Write) -> None:
    """The column `prefix`, or a template, gives each row a text; rows without one have no prefix block."""
    file = write(vectors(3, 24), prefix=["a cat", None, "a dog"], kind=["x", "y", None])
    options = {"image_encoder": "fake:24", "text_encoder": "fake:16"}
    done = fpve.import_vectors(tmp_path / "store", vectors=file, **options)
    store = fpve.open(tmp_path / "store")
    assert store.images["prefix"].to_pylist() == ["a cat", None, "a dog"]
    assert scores(store.search(text="a dog", k=1)) == [("made/02", pytest.approx(1, abs=1e-6))]
    again = fpve.import_vectors(tmp_path / "store", vectors=file)
    assert (done.encoders, again.published) == (again.encoders, False)
    named = fpve.import_vectors(tmp_path / "store", vectors=file, prefix="kind {kind}")
    assert (named.prefix_changed, named.fused) == (3, 3)
    assert fpve.open(tmp_path / "store").images["prefix"].to_pylist() == ["kind x", "kind y", None]
    # Asked for once, it stays.
    assert not fpve.import_vectors(tmp_path / "store", vectors=file).published
    assert fpve.verify(tmp_path / "store").ok


def test_without_a_text_encoder_texts_are_left_out(tmp_path: Path, write: Write) -> None:
    """A column of texts that nothing embeds is named in a note; a template is refused."""
    file = write(vectors(2), prefix=["a", "b"])
    done = fpve.import_vectors(tmp_path / "store", vectors=file)
    assert done.notes == ("its column prefix is left out: no text encoder embeds it; name one with --text-encoder",)
    with pytest.raises(fpve.FpveError, match="no text encoder embeds it; name one with --text-encoder"):
        fpve.import_vectors(tmp_path / "other", vectors=file, prefix="{prefix}")


def test_pictures_are_encoded_by_what_made_the_vectors(job: Job, tmp_path: Path, write: Write) -> None:
    """With an image encoder named, a picture finds its own vector."""
    fpve.run(job)
    pictures = sorted(job.collections[0].source.rglob("*.png"))
    features = fpve.open(job.store).encode_images(pictures)
    file = write(features, ids=[one.name for one in pictures])
    fpve.import_vectors(tmp_path / "other", vectors=file, image_encoder="fake:24")
    found = fpve.open(tmp_path / "other").search(image=pictures[4], k=1)
    assert scores(found) == [(f"made/{pictures[4].name}", pytest.approx(1, abs=1e-6))]


def test_without_encoders_pictures_and_texts_are_refused(tmp_path: Path, write: Write, pictures: Path) -> None:
    """Where nobody said what made the vectors, a picture or a text is refused with what can be done."""
    fpve.import_vectors(tmp_path / "store", vectors=write(vectors(3)))
    store = fpve.open(tmp_path / "store")
    with pytest.raises(fpve.FpveError) as error:
        store.search(image=pictures / "cat" / "00.png")
    assert str(error.value) == (
        "the store's vectors were imported as 'imported:6', without a model that could encode a picture: search by id "
        "or by vector, or import them again with --image-encoder and the name of what made them"
    )
    with pytest.raises(fpve.FpveError) as error:
        store.search(text="a cat")
    assert str(error.value) == (
        f"{tmp_path / 'store'}: the vectors of 'made' were imported without texts that a text could be compared with; "
        "search by id or by vector, or import them again with a column prefix and --text-encoder"
    )
    with pytest.raises(fpve.FpveError, match="were imported as 'imported:6'"):
        fpve.encode(tmp_path / "store", pictures, collection="pictures")
    assert fpve.open(tmp_path / "store").snapshot == 1


def test_the_encoder_can_be_named_later(tmp_path: Path, write: Write) -> None:
    """A store with nothing else is made again under the encoder that is named for its vectors."""
    file = write(vectors(3, 24))
    fpve.import_vectors(tmp_path / "store", vectors=file)
    done = fpve.import_vectors(tmp_path / "store", vectors=file, image_encoder="fake:24")
    assert (done.snapshot, done.unchanged, done.fused) == (2, 3, 3)
    assert fpve.open(tmp_path / "store").status().encoders["image"].startswith("fake:24@")
    assert fpve.verify(tmp_path / "store").ok


def test_beside_the_collection_of_a_run(job: Job, tmp_path: Path, write: Write, pictures: Path) -> None:
    """Imports and runs share a store, and neither touches what is the other's."""
    fpve.run(job)
    file = write(vectors(5, 24), prefix=["cat number 0", *["x"] * 4], price=[1.0, 2.0, 3.0, 4.0, 5.0])
    done = fpve.import_vectors(job.store, vectors=file, image_encoder="fake:24")
    assert (done.snapshot, done.new, done.removed) == (2, 5, 0)
    draw(pictures / "cat" / "new.png", 99)
    report = fpve.run(job)
    assert (report.new, report.encoded, report.snapshot) == (1, 1, 3)
    assert not fpve.run(job).published
    assert not fpve.import_vectors(job.store, vectors=file).published
    store = fpve.open(job.store)
    assert [(one.name, one.images, one.job) for one in store.status().collections] == [
        ("made", 5, "fpve import"),
        ("pets", 13, "pets"),
    ]
    found = [hit.image_id for hit in store.search(text="cat number 0", k=2)]
    assert found == ["made/00", "pets/cat/00.png"]
    assert fpve.verify(job.store).ok
    with pytest.raises(
        StoreConflict, match=r"collection 'made' in .* is owned by job 'fpve import', this is job 'pets'"
    ):
        fpve.run(replace(make_job(job.store, pictures), collections=(replace(job.collections[0], name="made"),)))
    with pytest.raises(JobError, match="name: 'fpve import' is the owner of imported collections"):
        fpve.run(replace(job, name="fpve import", collections=(replace(job.collections[0], name="made"),)))


def test_rolled_back_and_imported_again(tmp_path: Path, write: Write) -> None:
    """A rollback shows the rows that were; the next import of the newer file needs no vector made again."""
    values = vectors(6)
    fpve.import_vectors(tmp_path / "store", vectors=write(values))
    newer = write(np.vstack([values[:5], vectors(1, seed=8)]))
    fpve.import_vectors(tmp_path / "store", vectors=newer)
    fpve.rollback(tmp_path / "store")
    assert scores(fpve.open(tmp_path / "store").search(vector=values[5], k=1))[0][1] == pytest.approx(1, abs=1e-6)
    assert fpve.verify(tmp_path / "store").ok
    done = fpve.import_vectors(tmp_path / "store", vectors=newer)
    assert (done.changed, done.unchanged, done.snapshot) == (1, 5, 4)
    fpve.prune(tmp_path / "store", keep=1)
    assert fpve.verify(tmp_path / "store").ok
    assert fpve.history(tmp_path / "store")["operation"].to_pylist()[0] == "import"


def test_labels_stay(tmp_path: Path, write: Write) -> None:
    """What people said of imported images is laid over the file's own metadata in every later import."""
    file = write(vectors(3), kind=["a", "b", "c"])
    fpve.import_vectors(tmp_path / "store", vectors=file)
    (tmp_path / "labels.csv").write_text("image_id,kind\nmade/01,z\n", encoding="utf-8")
    fpve.label(tmp_path / "store", tmp_path / "labels.csv")
    assert not fpve.import_vectors(tmp_path / "store", vectors=file).published
    assert fpve.open(tmp_path / "store").images["kind"].to_pylist() == ["a", "z", "c"]


def test_repair_says_what_only_the_file_gives_back(tmp_path: Path, write: Write) -> None:
    """Vectors that are damaged are taken out, and the file is named that brings them back; indexes are made again."""
    file = write(vectors(5))
    root = tmp_path / "store"
    fpve.import_vectors(root, vectors=file)
    segment = next((root / "vectors").iterdir())
    (segment / "exact.faiss").unlink()
    assert fpve.repair(root).lost == ()
    assert fpve.verify(root).ok
    rows = segment / "rows.parquet"
    rows.write_bytes(rows.read_bytes()[:-9])
    done = fpve.repair(root)
    assert done.lost[0] == (
        f"made: its vectors were imported, and no run makes them again; `fpve import {root} --vectors {file} "
        "--collection made` brings back what was taken out"
    )
    assert fpve.verify(root).ok
    assert fpve.import_vectors(root, vectors=file).new == 5
    assert fpve.verify(root).ok


def test_paths_and_chosen_columns(tmp_path: Path, write: Write) -> None:
    """A path that the file gives is the image's, from the file's own folder; only chosen columns are metadata."""
    file = write(vectors(2), path=["pictures/a.png", "/far/b.png"], kind=["a", "b"], width=[1, 2])
    fpve.import_vectors(tmp_path / "store", vectors=file, columns=["kind"])
    images = fpve.open(tmp_path / "store").images
    assert images["path"].to_pylist() == [str(tmp_path / "pictures" / "a.png"), "/far/b.png"]
    assert images.column_names[-1] == "kind"
    assert images["width"].to_pylist() == [None, None]


def test_half_precision_and_large_lists(tmp_path: Path) -> None:
    """Whatever numbers a file has, float32 of them is what is imported."""
    values = np.array([[1.5, 2, 4], [8, 16, -0.25]], np.float16)
    halves = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 3)
    pq.write_table(pa.table({"image_id": [1, 2], "vector": halves}), tmp_path / "half.parquet")
    whole = pa.table({"image_id": ["1", "2"], "vector": pa.array(values.tolist(), pa.large_list(pa.float64()))})
    pq.write_table(whole, tmp_path / "whole.parquet")
    done = [
        fpve.import_vectors(tmp_path / "store", vectors=tmp_path / name, collection="c")
        for name in ("half.parquet", "whole.parquet")
    ]
    assert (done[0].new, done[1].unchanged, done[1].fused) == (2, 2, 0)


def test_a_file_of_another_name_rewrites_nothing(tmp_path: Path, write: Write) -> None:
    """Where no row has a path, another file with the same vectors leaves pages and vectors as they are."""
    values = vectors(4)
    fpve.import_vectors(tmp_path / "store", vectors=write(values), collection="c")
    done = fpve.import_vectors(tmp_path / "store", vectors=write(values, name="newer.parquet"), collection="c")
    assert (done.unchanged, done.fused, done.snapshot) == (4, 0, 2)
    assert len(list((tmp_path / "store" / "images" / "c").glob("*.parquet"))) == 1
    assert fpve.open(tmp_path / "store").images["path"][0].as_py() == str(tmp_path / "newer.parquet" / "00")
