"""Where prefixes come from: rules of every kind, in runs over real files."""

from __future__ import annotations

import os
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from samples import draw, make_job

import fpve
from fpve.config import EncoderConfig, FusionConfig, Job, PrefixRule
from fpve.errors import FpveError, JobError, PrefixError

ARABIC, CHINESE = "\u0642\u0637\u0629 \u0635\u063a\u064a\u0631\u0629", "\u4e00\u53ea\u5c0f\u732b"


def prefixes(store: Path) -> dict[str, str | None]:
    """The prefix of each image, by its path below the collection."""
    images = fpve.open(store).images
    names = [one.removeprefix("pets/") for one in images["image_id"].to_pylist()]
    return dict(zip(names, images["prefix"].to_pylist(), strict=True))


def origins(store: Path) -> dict[str, tuple[str, str | None]]:
    """Origin and template of each prefix, by its text."""
    rows = fpve.open(store).prefixes().to_pylist()
    return {row["text"]: (row["origin"], row["template"]) for row in rows}


def run(tmp_path: Path, pictures: Path, prefix: Any, **options: Any) -> Path:
    """Run a job with this prefix rule, or these; the path of its store."""
    store = tmp_path / "store"
    fpve.run(make_job(store, pictures, prefix=prefix, **options))
    return store


@pytest.mark.parametrize(
    ("prefix", "expected", "origin"),
    [
        ("a pet", "a pet", "literal"),
        ("a {kind} for {price:.2f}", "a bird for 2.50", "template"),
        ({"column": "kind"}, "bird", "column"),
        ({"text": "{caption}", "defaults": {"caption": "nothing"}}, "bird number 2", "template"),
        ({"by": "kind", "texts": {"bird": "it flies", "*": "it walks"}}, "it flies", "template"),
        ({"by": "kind", "texts": {"cat": "it purrs", "*": "a {kind} of {folder}"}}, "a bird of bird", "template"),
        ({"text": "a {kind} that is long", "keep_chars": 9}, "a bird", "template"),
    ],
)
def test_a_rule_gives_a_picture_its_prefix(
    tmp_path: Path, pictures: Path, prefix: Any, expected: str, origin: str
) -> None:
    """A literal, a template, a column, a table of templates, defaults and what is kept; the store says which it was."""
    store = run(tmp_path, pictures, prefix)
    assert prefixes(store)["bird/02.png"] == expected
    assert origins(store)[expected][0] == origin


def test_the_first_rule_that_gives_a_text_decides(tmp_path: Path, pictures: Path) -> None:
    """Captions where there are any, a file beside the picture else, and a template for the rest."""
    (pictures / "dog/01.txt").write_text("\ufeff A dog, from its sidecar.\n", encoding="utf-8")
    (pictures / "bird/05.txt").write_text(" \n\x00", encoding="utf-8")
    store = run(tmp_path, pictures, ["{caption}", {"sidecar": ".txt"}, "a {kind}"])
    found = prefixes(store)
    assert (found["cat/00.png"], found["dog/01.png"], found["bird/05.png"], found["cat/03.png"]) == (
        "cat number 0",
        "A dog, from its sidecar.",
        "a bird",
        "a cat",
    )
    assert origins(store) == {
        **{f"{('cat', 'dog', 'bird')[n % 3]} number {n}": ("template", "{caption}") for n in range(0, 12, 2)},
        "A dog, from its sidecar.": ("sidecar", "sidecar .txt"),
        **{f"a {kind}": ("template", "a {kind}") for kind in ("cat", "dog", "bird")},
    }


def test_a_sidecar_in_an_archive_is_taken_by_its_extension(tmp_path: Path) -> None:
    """What WebDataset writes beside a picture gives it its prefix."""
    draw(tmp_path / "a.png", 1)
    (tmp_path / "a.txt").write_text("from the archive", encoding="utf-8")
    with tarfile.open(tmp_path / "pets.tar", "w") as tar:
        for name in ("a.png", "a.txt"):
            tar.add(tmp_path / name, name)
    store = tmp_path / "store"
    fpve.run(make_job(store, tmp_path / "pets.tar", metadata=None, prefix={"sidecar": ".txt"}))
    assert list(prefixes(store).values()) == ["from the archive"]


def test_an_empty_field_is_never_the_word_none(tmp_path: Path, pictures: Path) -> None:
    """Without a default the picture has no prefix, and the report counts it."""
    report = fpve.run(make_job(tmp_path / "store", pictures, prefix="{caption}, a {kind}"))
    found = prefixes(tmp_path / "store")
    assert (found["dog/01.png"], found["dog/04.png"], report.without_prefix) == (None, "dog number 4, a dog", 6)


def test_a_changed_sidecar_changes_one_prefix(tmp_path: Path, pictures: Path) -> None:
    """A night in which a text beside a picture was written fuses that one, and encodes nothing."""
    rule = [{"sidecar": ".txt"}, "a {kind}"]
    run(tmp_path, pictures, rule)
    (pictures / "cat/00.txt").write_text("new words", encoding="utf-8")
    report = fpve.run(make_job(tmp_path / "store", pictures, prefix=rule))
    assert (report.encoded, report.fused, report.prefix_changed) == (0, 1, 1)
    assert prefixes(tmp_path / "store")["cat/00.png"] == "new words"


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("a {knd}", "no metadata column 'knd'; did you mean 'kind'?"),
        ({"column": "knd"}, "no metadata column 'knd'; did you mean 'kind'?"),
        ({"by": "knd", "texts": {"*": "a"}}, "by names a column 'knd' that is not there; did you mean 'kind'?"),
        ({"text": "{kind}", "defaults": {"knd": "x"}}, "defaults has a text for 'knd', which is no field of it"),
        ({"text": "{caption}", "missing": "error"}, "found none for 6, the first is 'pets/bird/05.png' (caption is"),
        ({"sidecar": ".txt"}, "prefix 'sidecar .txt' is empty for every image"),
        ({"by": "kind", "texts": {"horse": "it runs"}}, "prefix 'texts by {kind}' is empty for every image"),
        ("a {", "prefix 'a {': Single '{' encountered in format string; write {{ for a brace"),
    ],
)
def test_a_rule_that_fits_nothing_is_refused(tmp_path: Path, pictures: Path, prefix: Any, message: str) -> None:
    """One line that names the rule and the nearest column, before any picture is opened; nothing is left behind."""
    with pytest.raises(PrefixError) as caught:
        run(tmp_path, pictures, prefix)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("", "expected a text in text, found ''"),
        ({"text": " "}, "expected a text in text, found ' '"),
        ({}, "expected one of text, column, sidecar, by, found none"),
        ({"text": "a", "column": "b"}, "found text and column"),
        ({"by": "kind"}, "`by` names a column, and `texts` the templates by its values"),
        ({"sidecar": "txt"}, "expected an extension such as '.txt', found 'txt'"),
        ({"sidecar": ".a/../../etc/passwd"}, "expected an extension such as '.txt'"),
        ({"text": "a", "keep_tokens": 3}, "keep_tokens counts the tokens of a language model that runs here"),
        ({"text": "a", "generate": "gpt-5"}, "expected 'openai:MODEL' or 'hf:PATH-OR-NAME', found 'gpt-5'"),
        ({"text": "a", "generate": {"model": "hf:x", "with_image": True}}, "takes no pictures here"),
        (
            {"text": "a", "generate": {"model": "openai:x", "base_url": "http://me:secret@host/v1"}},
            "base_url: holds a user, a password",
        ),
        ({"text": "a", "generate": {"model": "openai:x", "base_url": "http://host/v1?key=secret"}}, "behind a '?'"),
        ({"text": "a", "generate": {"model": "openai:x", "base_url": "http://[::1/v1"}}, "found a malformed one"),
        ({"text": "a", "generate": {"model": "openai:x", "base_url": "http://host:x/v1"}}, "found a malformed one"),
        ({"text": "a", "generate": {"model": "openai:x", "base_url": "localhost:8000"}}, "expected an address such as"),
        ({"text": "a", "generate": {"model": "openai:x", "base_url": "me:secret@host/v1"}}, "holds a user, a password"),
        (
            {"text": "a", "generate": {"model": "openai:x", "api_key_env": "sk-secret"}},
            "api_key_env: expected the name",
        ),
        ({"text": "a", "generate": {"model": "openai:x", "seed": 1 << 63}}, "seed"),
    ],
)
def test_a_rule_that_contradicts_itself_is_a_wrong_job(prefix: Any, message: str) -> None:
    """What can be known from the job file alone is known before anything is looked at; a password is not repeated."""
    with pytest.raises(JobError) as caught:
        make_job(Path("store"), Path("pictures"), prefix=prefix)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(ARABIC, id="right-to-left"),
        pytest.param(CHINESE, id="chinese"),
        pytest.param("a\x00b\x1b[31mc\x07", id="controls"),
        pytest.param("word " * 20_000 + "end", id="100,000 characters"),
        pytest.param("{braces}, \"quotes\", 'and', \\backslashes\\", id="punctuation"),
        pytest.param("\U0001f408\u200d\u2b1b e\u0301", id="emoji and combining"),
    ],
)
def test_any_text_is_frozen_as_it_is_written(tmp_path: Path, pictures: Path, text: str) -> None:
    """It comes back to the letter, is found by itself, by SQL too, and the store is whole."""
    for sidecar in ("cat/00.txt", "dog/01.txt"):
        (pictures / sidecar).write_text(text, encoding="utf-8")
    store = run(tmp_path, pictures, [{"sidecar": ".txt"}, "a {kind}"])
    assert prefixes(store)["cat/00.png"] == text
    hits = fpve.open(store).search(text=text, k=2)
    assert [hit.image_id for hit in hits] == ["pets/cat/00.png", "pets/dog/01.png"]
    assert hits[0].score == pytest.approx(1, abs=1e-5)
    assert fpve.open(store).prefixes(where="origin = 'sidecar'")["images"].to_pylist() == [2]
    assert fpve.verify(store).ok
    assert not fpve.run(make_job(store, pictures, prefix=[{"sidecar": ".txt"}, "a {kind}"])).published


def test_a_sidecar_that_is_no_text_is_told(tmp_path: Path, pictures: Path) -> None:
    """Bytes that are not UTF-8, and megabytes, are an error that names the file."""
    (pictures / "cat/00.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PrefixError, match=r"cat/00\.txt: expected a text in UTF-8, found other bytes"):
        run(tmp_path, pictures, {"sidecar": ".txt"})
    (pictures / "cat/00.txt").write_bytes(b"a" * (1 << 20 | 1))
    with pytest.raises(PrefixError, match=r"cat/00\.txt: expected a text of at most 1,048,576 bytes, found 1,048,577"):
        run(tmp_path, pictures, {"sidecar": ".txt"})


def test_prefixes_that_rank_nothing_are_told(tmp_path: Path, pictures: Path) -> None:
    """A collection whose images all have one prefix is warned of; one with several is not."""
    report = fpve.run(make_job(tmp_path / "store", pictures, prefix="a pet"))
    assert report.warnings == (
        "collection 'pets': all its 12 images have the same prefix, which ranks nothing among them",
    )
    assert fpve.run(make_job(tmp_path / "other", pictures, prefix="a {kind}")).warnings == ()


def test_rules_survive_a_manifest(tmp_path: Path, pictures: Path) -> None:
    """`fpve encode` without a prefix goes on with the one that it was given, whatever kind of rule that was."""
    store = tmp_path / "store"
    fpve.encode(store, pictures, collection="pets", prefix="a {folder}", metadata=pictures / "metadata.csv")
    again = fpve.encode(store, pictures, collection="pets", metadata=pictures / "metadata.csv")
    assert (again.prefix_changed, again.published) == (0, False)


def test_a_rule_is_a_value(job: Job) -> None:
    """A template in a job is the rule that it stands for."""
    assert job.collections[0].prefix == (PrefixRule("{caption}"),)
    with pytest.raises(FpveError, match=r"[Uu]n(known|expected)"):
        make_job(Path("store"), Path("pictures"), prefix={"txt": "a"})


@pytest.mark.parametrize(
    ("column", "values", "texts", "expected"),
    [
        ("n", ["1", "2", ""], {"1": "one", "*": "other"}, ["one", "other", "other"]),
        ("yes", ["true", "false", ""], {"true": "yes", "false": "no", "*": "who knows"}, ["yes", "no", "who knows"]),
        ("price", ["1.50", "2.25", "1.50"], {"1.50": "cheap", "*": "dear"}, ["cheap", "dear", "cheap"]),
        ("day", ["2025-01-02", "2024-02-29", ""], {"2024-02-29": "leap", "*": "day"}, ["day", "leap", "day"]),
    ],
)
def test_templates_are_chosen_by_values_of_any_type(
    tmp_path: Path, column: str, values: list[str], texts: dict[str, str], expected: list[str]
) -> None:
    """The value is compared as the file has it, in whichever order the rows come."""
    folder = tmp_path / "pictures"
    for number in range(3):
        draw(folder / f"{number}.png", number)
    rows = [f"{number}.png,{values[number]}" for number in (2, 0, 1)]
    (folder / "metadata.csv").write_text(f"path,{column}\n" + "\n".join(rows) + "\n", encoding="utf-8")
    store = run(tmp_path, folder, {"by": column, "texts": texts})
    assert list(prefixes(store).values()) == expected


def test_lists_choose_no_template(tmp_path: Path) -> None:
    """A column of lists is refused by name."""
    draw(tmp_path / "pictures/0.png", 0)
    (tmp_path / "pictures/metadata.jsonl").write_text('{"path": "0.png", "tags": ["a"]}\n', encoding="utf-8")
    metadata = tmp_path / "pictures/metadata.jsonl"
    with pytest.raises(PrefixError, match="by names a column 'tags' of lists"):
        run(tmp_path, tmp_path / "pictures", {"by": "tags", "texts": {"*": "a"}}, metadata=metadata)


def test_a_number_beside_a_picture_in_an_archive_is_a_text(tmp_path: Path) -> None:
    """A class that WebDataset writes is taken as it is written, also where metadata lies beside the archive."""
    (tmp_path / "all").mkdir()
    with tarfile.open(tmp_path / "all/pets.tar", "w") as tar:
        for number in range(3):
            draw(tmp_path / f"{number}.png", number)
            (tmp_path / f"{number}.cls").write_text(str(7 - number), encoding="utf-8")
            for name in (f"{number}.png", f"{number}.cls"):
                tar.add(tmp_path / name, name)
    store = tmp_path / "store"
    fpve.run(make_job(store, tmp_path / "all", metadata=None, prefix={"sidecar": ".cls"}))
    assert list(prefixes(store).values()) == ["7", "6", "5"]
    (tmp_path / "all/metadata.csv").write_text("path,kind\n1.png,cat\n", encoding="utf-8")
    beside = make_job(store, tmp_path / "all", metadata=tmp_path / "all/metadata.csv", prefix={"sidecar": ".cls"})
    fpve.run(beside, allow_removals=True)
    assert list(prefixes(store).values()) == ["7", "6", "5"]


def test_sidecars_of_odd_names_and_kinds(tmp_path: Path, pictures: Path) -> None:
    """The extension in capitals is found, a pipe is told and not waited for, and what is none is no extension."""
    (pictures / "cat/00.TXT").write_text("in capitals", encoding="utf-8")
    store = run(tmp_path, pictures, [{"sidecar": ".txt"}, "a {kind}"])
    assert prefixes(store)["cat/00.png"] == "in capitals"
    os.mkfifo(pictures / "dog/01.txt")
    with pytest.raises(PrefixError, match=r"dog/01\.txt: can't be read: not a regular file"):
        run(tmp_path, pictures, {"sidecar": ".txt"})
    for odd in (".", ".a\0b"):
        with pytest.raises(JobError, match="expected an extension such as"):
            make_job(store, pictures, prefix={"sidecar": odd})


def test_what_is_kept_can_be_seen(tmp_path: Path, pictures: Path) -> None:
    """A text whose first characters can't be seen gives way to the next rule where only these would be kept."""
    (pictures / "cat/00.txt").write_text("\u200b\u200b\u200b\u200b words", encoding="utf-8")
    store = run(tmp_path, pictures, [{"sidecar": ".txt", "keep_chars": 3}, "a {kind}"])
    assert prefixes(store)["cat/00.png"] == "a cat"


def test_there_can_be_many_rules(tmp_path: Path, pictures: Path) -> None:
    """Hundreds of them, of which the last one decides."""
    store = run(tmp_path, pictures, [*({"sidecar": f".x{number}"} for number in range(200)), "the last"])
    assert set(prefixes(store).values()) == {"the last"}


def test_a_label_that_a_prefix_gives_away_is_told(tmp_path: Path, pictures: Path) -> None:
    """By its own name, or by what the column `label` is made of."""
    for prefix, label_from, label in (("a {kind}", None, "kind"), ("a {folder}", "folder", "label")):
        job = make_job(tmp_path / f"store-{label}", pictures, prefix=prefix, label_from=label_from)
        job = replace(job, fusion=FusionConfig(image_weight="auto", label=label))
        assert any("give the label away" in text for text in fpve.run(job).warnings)


def test_prefixes_that_the_text_model_cuts_off_are_counted(tmp_path: Path, pictures: Path) -> None:
    """A run says how many it embedded, a preview how much of each is not seen."""
    long = "word " * 400
    for name in ("cat/00.txt", "dog/01.txt"):
        (pictures / name).write_text(f"{name} {long}", encoding="utf-8")
    job = make_job(tmp_path / "store", pictures, prefix=[{"sidecar": ".txt"}, "a {kind}"])
    job = replace(job, encoders=replace(job.encoders, text=EncoderConfig("minilm")))
    report = fpve.run(job)
    assert report.cut_prefixes == 2
    rows = {row["image_id"]: row["unseen"] for row in fpve.preview(job, images=12).to_pylist()}
    assert (rows["pets/cat/03.png"], 500 < rows["pets/cat/00.png"] < 1500) == (0, True)
