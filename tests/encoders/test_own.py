"""Encoders of the user's own: where they are found, what they must have, and what is said when they don't."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from samples import draw
from tiny_models import write_template

import fpve
from fpve.config import EncoderConfig, load_job
from fpve.encoders import check_encoder, open_image_encoder, open_text_encoder
from fpve.errors import EncoderError, EncoderMismatch, EncoderNotFound, ImageError

BATCH = np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3)
GOOD = """
    dim = 3
    version = "1"
    def prepare(self, image): return np.asarray(image.resize((4, 4)))
    def encode(self, batch): return batch.mean(axis=(1, 2)) + 1
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Writes a module of one class, of a name that no other test uses, and gives the configuration that names it."""

    def _write(body: str, **options: Any) -> EncoderConfig:
        name = f"own_{tmp_path.name}_{len(list(tmp_path.glob('*.py')))}".replace("-", "_")
        (tmp_path / f"{name}.py").write_text(f"import numpy as np\n\nclass Own:\n{body}", encoding="utf-8")
        return EncoderConfig(f"python:{name}:Own", path=tmp_path, **options)

    return _write


def message(call: Any, wanted: type[Exception] = EncoderError) -> str:
    """The one line of the error that a call raises."""
    with pytest.raises(wanted) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_class_is_used_as_it_is(write: Any) -> None:
    """The rows are the class's, as float32; batches are as large as it says, or as the job says."""
    encoder = open_image_encoder(write(GOOD + "    batch_size = 2\n"))
    np.testing.assert_allclose(encoder.encode(BATCH), BATCH.mean(axis=(1, 2)) + 1)
    assert (encoder.dim, encoder.batch_size, encoder.space, encoder.available, encoder.side) == (3, 2, None, True, 4)
    assert open_image_encoder(write(GOOD + "    batch_size = 2\n", batch_size=7)).batch_size == 7
    check_encoder(encoder)


def test_without_a_version_the_file_counts(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit of the file changes the fingerprint, unless a version stands for it; then only the version does."""
    # Python takes a file of the same size and second for the same one.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    nameless = GOOD.replace('version = "1"', "")
    prints = []
    for body in (nameless, nameless + "    # edited\n", GOOD, GOOD + "    # edited\n", GOOD.replace('"1"', '"2"')):
        config = write(body)
        (config.path / "same.py").write_bytes((config.path / f"{config.name.split(':')[1]}.py").read_bytes())
        sys.modules.pop("same", None)
        prints.append(open_image_encoder(EncoderConfig("python:same:Own", path=config.path)).fingerprint)
    assert prints[0] != prints[1]
    assert prints[2] == prints[3]
    assert len(set(prints)) == 4


def test_options_reach_the_class_and_the_fingerprint(write: Any, tmp_path: Path) -> None:
    """Options that a job sets are given to __init__; one that it does not take is refused."""
    takes = GOOD + "    def __init__(self, weights, resize='squash'): self.seen = weights, resize\n"
    weights = tmp_path / "w.npy"
    weights.write_bytes(b"1")
    config = write(takes, weights=weights, resize="pad")
    encoder = open_image_encoder(config)
    assert encoder._model.seen == (weights, "pad")
    first = encoder.fingerprint
    weights.write_bytes(b"2")
    assert open_image_encoder(config).fingerprint != first
    text = message(lambda: open_image_encoder(write(GOOD, resize="pad")))
    assert "takes no option 'resize': leave it out, or give __init__ a parameter of that name" in text


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (GOOD.replace("def prepare", "def prepares"), "has no method 'prepare'; a class for pictures has dim, prepare"),
        (GOOD.replace("dim = 3", ""), "has no `dim`; a class for pictures has dim, prepare(image) and encode(batch)"),
        (GOOD + "    def __init__(self): raise OSError('no disk')\n", "can't be made: OSError: no disk"),
    ],
)
def test_what_a_class_lacks(write: Any, body: str, expected: str) -> None:
    """A class that can't be an encoder is refused when it is opened, before a picture is."""
    assert expected in message(lambda: open_image_encoder(write(body)))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (GOOD.replace("dim = 3", "dim = 4"), "encode should give numbers of shape (3, 4), gave (3, 3) of float64"),
        (GOOD.replace("dim = 3", "dim = 0"), "expected `dim` to be a whole number of at least 1, found 0"),
        (GOOD.replace("batch.mean", "batch.meen"), "encode raised AttributeError: 'numpy.ndarray' object has no attr"),
        (
            GOOD.replace("+ 1", "+ np.random.default_rng().random((len(batch), 3)) * 999"),
            "in a batch and alone, to rows",
        ),
        (GOOD.replace("+ 1", "+ 999 * np.eye(3)[len(batch) % 3]"), "a row may depend on its input only"),
        (GOOD.replace("batch.mean(axis=(1, 2)) + 1", "[['x'] * 3] * len(batch)"), "of numbers"),
    ],
)
def test_what_encode_gives(write: Any, body: str, expected: str) -> None:
    """Rows of a wrong number, length or kind, and rows that are not the same twice, end the run in one line."""
    encoder = open_image_encoder(write(body))
    if expected == "of numbers":
        expected = "encode should give numbers of shape (3, 3), gave (3, 3) of <U1"
    assert expected in message(lambda: encoder.encode(BATCH))


@pytest.mark.parametrize("number", [-3, 0, 2.5, True, "'32'"])
@pytest.mark.parametrize("member", ["batch_size", "side"])
def test_numbers_of_a_class(write: Any, member: str, number: object) -> None:
    """A batch size or side that can't be one is named, when it is used and by the check."""
    encoder = open_image_encoder(write(GOOD + f"    {member} = {number}\n"))
    expected = f"expected `{member}` to be a whole number of at least 1, found {number}"
    assert expected in message(lambda: getattr(encoder, member))
    assert expected in message(lambda: check_encoder(encoder))


def test_the_check_looks_at_the_batch_size_of_any_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder that is no class of `python:` is held to the same."""
    encoder = open_image_encoder(EncoderConfig("fake"))
    monkeypatch.setattr(type(encoder), "batch_size", -3)
    expected = "encoder 'fake': expected batch_size to be a whole number of at least 1, found -3"
    assert message(lambda: check_encoder(encoder)) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (GOOD + "    raise SystemExit\n", "can't be imported: SystemExit"),
        (GOOD + "    def __init__(self): raise SystemExit(0)\n", "can't be made: SystemExit: 0"),
        (GOOD.replace("dim = 3", "dim = property(lambda self: exit())"), "dim raised SystemExit: None"),
        (GOOD.replace("return np.asarray(", "raise SystemExit; np.asarray("), "prepare raised SystemExit"),
        (GOOD.replace("return batch", "raise SystemExit; return batch"), "encode raised SystemExit"),
    ],
)
def test_a_class_that_ends_the_process(write: Any, body: str, expected: str) -> None:
    """`sys.exit()` in somebody's module is an error of the encoder, not the quiet end of a run."""

    def use() -> None:
        encoder = open_image_encoder(write(body))
        encoder.encode(np.stack([encoder.prepare(Image.new("RGB", (9, 7)))]))

    assert expected in message(use)


def test_what_prepare_gives(write: Any) -> None:
    """A picture that it fails on is that picture's fault; arrays of different shapes, or none, are the class's."""
    picture = Image.new("RGB", (9, 7))
    failing = GOOD.replace("return np.asarray(", "return np.asarray(1 / (image.width - 9) and ")
    encoder = open_image_encoder(write(failing))
    assert "prepare raised ZeroDivisionError: " in message(lambda: encoder.prepare(picture), ImageError)
    own = open_image_encoder(write(GOOD.replace("image.resize((4, 4))", "image")))
    assert "gave (61, 97, 3) uint8 of one picture and (7, 9, 3) uint8 of another" in message(
        lambda: own.prepare(picture)
    )
    none = open_image_encoder(write(GOOD.replace("np.asarray(image.resize((4, 4)))", "[1]")))
    assert "prepare should give a NumPy array of numbers, gave a list" in message(lambda: none.prepare(picture))
    good = open_image_encoder(write(GOOD))
    assert "expected pictures of shape ('n', 4, 4, 3)" in message(lambda: good.encode(BATCH[:, :2]))


def test_texts_that_are_not_finite_are_named(write: Any) -> None:
    """NaN for a text is an error: a prefix can't be put into quarantine."""
    body = """
    dim = 2
    version = "1"
    def encode(self, texts): return [[1, np.nan if text == "b" else 0] for text in texts]
"""
    encoder = open_text_encoder(write(body))
    assert "gave NaN or infinity for 'b'" in message(lambda: encoder.encode(["a", "b"]))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (GOOD.replace("batch.mean(axis=(1, 2)) + 1", "np.ones((len(batch), 3))"), "different inputs give the same row"),
        (GOOD.replace("+ 1", "* np.nan"), "expected finite rows, found NaN or infinity"),
        (GOOD.replace("+ 1", "* 0"), "expected rows that are not all zero"),
    ],
)
def test_the_check_finds_what_a_run_would_not(write: Any, body: str, expected: str) -> None:
    """`check_encoder` refuses rows that a store could do nothing with."""
    assert expected in message(lambda: check_encoder(open_image_encoder(write(body))))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("python:", "image encoder 'python:': expected python:MODULE:CLASS"),
        ("python:our", "encoder 'python:our': expected python:MODULE:CLASS; docs/encoders.md has a template"),
        (
            "python:no_such_module:C",
            "no module 'no_such_module' in {path} or on Python's path; install it, or name its",
        ),
        ("python:our_encoders:Picture", "no class 'Picture' in our_encoders; did you mean 'Pictures'?"),
        ("python:broken:C", "broken can't be imported: SyntaxError: "),
        ("python:needy:C", "needy imports 'nowhere_to_be_found', which is not installed"),
        ("python:json:C", "'json' in {path} is hidden by "),
    ],
)
def test_what_can_not_be_found(template: Path, tmp_path: Path, name: str, expected: str) -> None:
    """A module or class that is not there, can't be imported, or is hidden by another one, is named."""
    write_template(tmp_path)
    (tmp_path / "broken.py").write_text("def")
    (tmp_path / "needy.py").write_text("import nowhere_to_be_found")
    (tmp_path / "json.py").write_text("class C: pass")
    folder = template if "our_" in name else tmp_path
    text = message(lambda: open_image_encoder(EncoderConfig(name, path=folder)))
    assert expected.format(path=folder) in text


def command(*words: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as it is installed: without the working directory on Python's path."""
    code = "import sys; sys.path[:] = [p for p in sys.path if p]; from fpve.cli import main; main()"
    source = str(Path(fpve.__file__).parents[1])
    python_path = os.pathsep.join([source, *environment.values()])
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": python_path},
        check=False,
    )


def test_a_job_finds_its_neighbour_and_a_store_runs_no_code(tmp_path: Path) -> None:
    """A module beside the job file serves a run; a search imports it from Python's path only, or says how."""
    home = tmp_path / "home"
    write_template(home)
    for number in range(3):
        draw(home / f"pictures/{number}.png", number)
    job = home / "job.toml"
    job.write_text(
        'store = "store"\n[encoders]\nimage = "python:our_encoders:Pictures"\ntext = "python:our_encoders:Texts"\n'
        '[[collections]]\nname = "pets"\nsource = "pictures"\nprefix = "number {stem}"\n',
        encoding="utf-8",
    )
    assert load_job(job).encoders.image.path == home
    checked = command("check", job, cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    done = command("run", job, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # Somebody else's store, with code in it and around it, and a reader who stands there.
    for folder in (home / "store", home):
        refused = command("search", home / "store", "--text", "number 2", cwd=folder)
        assert refused.returncode == 1
        assert (
            "no module 'our_encoders' on Python's path; install it, or name its folder with PYTHONPATH="
            in refused.stderr
        )
    found = command("search", home / "store", "--text", "number 2", "-k", "1", cwd=tmp_path, folder=str(home))
    assert "pets/2.png" in found.stdout, found.stderr
    (home / "our_encoders.py").write_text(
        (home / "our_encoders.py").read_text().replace('version = "1"', 'version = "2"'), encoding="utf-8"
    )
    other = command("search", home / "store", "--text", "number 2", cwd=tmp_path, folder=str(home))
    assert "the store encodes with python:our_encoders:Texts@" in other.stderr
    assert EncoderMismatch.__name__ not in other.stderr


def test_only_the_class_is_made_not_what_a_name_could_call(tmp_path: Path) -> None:
    """A name that stands for something else than an encoder's class is refused without calling it."""
    called = tmp_path / "called"
    (tmp_path / "trap_of_a_name.py").write_text(
        f"from pathlib import Path\nclass Trap:\n    def __init__(self): Path({str(called)!r}).touch()\n"
        f"def function(): Path({str(called)!r}).touch()\n"
    )
    for attribute, wanted in (("Trap", EncoderError), ("function", EncoderNotFound)):
        config = EncoderConfig(f"python:trap_of_a_name:{attribute}", path=tmp_path)
        message(lambda config=config: open_image_encoder(config), wanted)
    assert not called.exists()
