"""Job files: what is read from them, and how a mistake in one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from fpve.config import CollectionConfig, EncoderConfig, Encoders, Job, load_job
from fpve.errors import JobError

GOOD = """
store = "indexes/x"
[encoders]
image = { name = "torchvision:resnet18", weights = "w.safetensors", resize = "pad" }
[fusion]
image_weight = 0.25
[[collections]]
name = "stamps"
source = "data"
metadata = "/elsewhere/m.csv"
exclude = ["*.tmp.png"]
types = { code = "string" }
"""


def write(tmp_path: Path, text: str) -> Path:
    """A job file with this text."""
    path = tmp_path / "night.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_job_is_read_with_paths_from_its_own_folder(tmp_path: Path) -> None:
    """Keys arrive as typed values, relative paths start at the job file, its stem is the job's name."""
    job = load_job(write(tmp_path, GOOD))
    assert (job.name, job.store, job.fusion.mode, job.fusion.image_weight) == (
        "night",
        tmp_path / "indexes/x",
        "balanced",
        0.25,
    )
    assert job.encoders == Encoders(
        image=EncoderConfig("torchvision:resnet18", weights=tmp_path / "w.safetensors", resize="pad"),
        text=EncoderConfig("minilm"),
    )
    assert job.collections == (
        CollectionConfig(
            name="stamps",
            source=tmp_path / "data",
            metadata=Path("/elsewhere/m.csv"),
            exclude=("*.tmp.png",),
            types={"code": "string"},
        ),
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("image_weight", "image_wieght", "unknown key 'fusion.image_wieght'; did you mean 'image_weight'?"),
        ("metadata =", "metdata =", "unknown key 'collections.0.metdata'; did you mean 'metadata'?"),
        ("store =", "stroe =", "unknown key 'stroe'; did you mean 'store'?"),
        ("[fusion]", "[fuson]", "unknown key 'fuson'; did you mean 'fusion'?"),
        ("resize", "resise", "unknown key 'encoders.image.resise'; did you mean 'resize'?"),
        ("image_weight", "zzz", "unknown key 'fusion.zzz'; known here: mode, image_weight, label, centre"),
        ("[[collections]]", "[collections]", r"collections: expected \[\[collections\]\], in double brackets"),
        ('["*.tmp.png"]', '"*.tmp.png"', r"exclude: expected a list: \[\"\*\.tmp\.png\"\], found '\*\.tmp\.png'"),
        (
            "0.25",
            '"high"',
            "fusion.image_weight: Input should be a valid number, or: Input should be 'auto', found 'high'",
        ),
        ("0.25", "1.5", "fusion: image_weight: expected a number from 0 to 1, found 1.5"),
        ('source = "data"', "", "missing key 'collections.0.source'"),
        ('"pad"', '"stretch"', "encoders.image.resize: .*'squash', 'pad' or 'crop'.* found 'stretch'"),
        ('"stamps"', '"../etc"', "collections.0: collection name: .* found '../etc'"),
        ('"string"', '"text"', "collections.0.types.code: .* found 'text'"),
        ("[[collections]]", "[other]", "unknown key 'other'"),
        ("[fusion]", "[fusion", "not a TOML file"),
    ],
)
def test_a_mistake_is_named_in_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    """An error names the file, the key, what was found, and the nearest right key."""
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(JobError, match=message.replace("?", r"\?")) as caught:
        load_job(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_no_collections_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    """A job has at least one collection, and their names differ in more than case."""
    with pytest.raises(JobError, match=r"at least one \[\[collections\]\]"):
        load_job(write(tmp_path, 'store = "x"\ncollections = []'))
    twice = GOOD + '[[collections]]\nname = "Stamps"\nsource = "b"\n'
    with pytest.raises(JobError, match="collection names must differ"):
        load_job(write(tmp_path, twice))


def test_a_prefix_needs_a_text_encoder(tmp_path: Path) -> None:
    """With encoders.text = none there is no block that a prefix could become."""
    text = 'store = "x"\nencoders.text = "none"\n[[collections]]\nname = "a"\nsource = "b"\nprefix = "c"\n'
    with pytest.raises(JobError, match=r"has a prefix, but encoders\.text is 'none'"):
        load_job(write(tmp_path, text))


def test_a_folder_is_no_job_file(tmp_path: Path) -> None:
    """Who gives a run the pictures, or the store, is told what it takes."""
    with pytest.raises(JobError, match="expected a job file, found a folder; `fpve init SOURCE` writes a job"):
        load_job(tmp_path)


def test_a_missing_job_file_names_init(tmp_path: Path) -> None:
    """Who has no job file is told how to get one."""
    with pytest.raises(JobError, match=r"no such job file; `fpve init SOURCE` writes one"):
        load_job(tmp_path / "none.toml")


def test_sources_of_every_kind_are_taken_from_the_jobs_folder(tmp_path: Path) -> None:
    """A table, a glob and the keys that go with them arrive as they are meant."""
    text = GOOD.replace('source = "data"', 'source = "shards/*.tar"\nid = "{sku}"\ncolumns = ["a"]')
    (collection,) = load_job(write(tmp_path, text)).collections
    assert (collection.source, collection.id, collection.columns) == (tmp_path / "shards/*.tar", "{sku}", ("a",))
    text = GOOD.replace('metadata = "/elsewhere/m.csv"', 'metadata_key = "file"')
    with pytest.raises(JobError, match="metadata_key names a column of a metadata file, and there is none; add metad"):
        load_job(write(tmp_path, text))


def test_defaults_are_the_packaged_encoders() -> None:
    """A job that names no encoder works without a model hub."""
    job = Job(store=Path("x"), collections=(CollectionConfig("a", Path("b")),))
    assert (job.encoders.image.name, job.encoders.text.name) == ("efficientnet-lite0", "minilm")
