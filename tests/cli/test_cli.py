"""The command line: help, output formats, and every mistake answered in one line."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from commands import Done, command_alone, command_here
from samples import draw

from fpve.cli import cli
from fpve.cli.jobs import _print_report
from fpve.pipeline.report import RunReport
from fpve.store import manifest as manifests

REPOSITORY = Path(__file__).parents[2]
COMMANDS = sorted(cli.commands)


def fpve(*words: object, cwd: Path | None = None) -> Done:
    """Run the command line in this process."""
    return command_here(words, cwd=cwd)


@pytest.fixture
def job_file(tmp_path: Path, pictures: Path) -> Path:
    """A job file over `pictures` with the fake encoders."""
    path = tmp_path / "pets.toml"
    path.write_text(
        'store = "store"\nencoders = { image = "fake:24", text = "fake:16" }\n[[collections]]\nname = "pets"\n'
        'source = "pictures"\nmetadata = "pictures/metadata.csv"\nprefix = "{caption}"\n',
        encoding="utf-8",
    )
    return path


@pytest.fixture
def store(job_file: Path) -> Path:
    """The store that the job makes, in this process: a process of its own takes ten times as long."""
    done = CliRunner().invoke(cli, ["run", str(job_file)])
    assert done.exit_code == 0, done.output
    return job_file.parent / "store"


def test_help_is_quick_and_imports_no_heavy_library() -> None:
    """`fpve --help` prints every command, and imports neither torch nor faiss, duckdb, numpy or pyarrow."""
    script = (
        "import sys; sys.argv = ['fpve', '--help']; from fpve.cli import main\n"
        "try: main()\nfinally: print(sorted(sys.modules))"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    assert all(re.search(rf"^  {name} ", done.stdout, re.MULTILINE) for name in COMMANDS)
    modules = done.stdout.splitlines()[-1]
    assert not [name for name in ("torch", "faiss", "duckdb", "numpy", "pyarrow") if f"'{name}'" in modules]
    # No bound: a busy machine is not a defect. The figure is there for who runs with -s.
    print(f"fpve --help: {seconds:.2f} s")  # noqa: T201


def test_a_shell_that_completes_a_word_waits_for_no_library() -> None:
    """At each tab: the names of commands are known without any data."""
    script = "import sys; from fpve.cli import main\ntry: main()\nfinally: print('pyarrow' in sys.modules)"
    asked = {"_FPVE_COMPLETE": "bash_complete", "COMP_WORDS": "fpve ser", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env={**os.environ, **asked}
    )
    assert done.stdout.splitlines() == ["plain,serve", "False"]


def test_without_a_command_the_help_is_shown() -> None:
    """Line by line, as it was written; on stderr, for nothing was done."""
    done, asked = command_here([]), command_here(["--help"])
    assert (done.returncode, done.stdout, asked.returncode) == (2, "", 0)
    assert done.stderr == asked.stdout
    assert "\n  Start with:\n    fpve demo                       a tour on pictures that come along\n" in done.stderr
    assert command_here(["prefix"]).stderr.startswith("Usage: fpve prefix [OPTIONS] COMMAND [ARGS]...\n\n  See, list")


def test_a_command_imports_no_pandas(store: Path) -> None:
    """Where pandas is installed pyarrow imports it, which takes half a second; whoever asks for it later has it."""
    script = (
        "import sys; from fpve.cli import main\ntry: main()\nfinally:\n"
        "    print('pandas' in sys.modules); import pyarrow as pa; print(pa.table({'a': [1]}).to_pandas().shape)"
    )
    done = subprocess.run([sys.executable, "-c", script, "history", store], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-2:] == ["False", "(1, 1)"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_for_all_it_takes(name: str) -> None:
    """Each command and each of its options says what it does; the README names the command."""
    command = cli.commands[name]
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"
    assert f"fpve {name}" in (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_from_a_folder_to_an_answer(tmp_path: Path, pictures: Path) -> None:
    """init, check, run and search work one after the other, as their own messages say, each in its own process."""

    def fpve(*words: object, cwd: Path | None = None) -> Done:
        return command_alone(words, cwd=cwd)

    done = fpve("init", "pictures", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "wrote pictures.toml" in done.stderr
    job = tmp_path / "pictures.toml"
    assert 'prefix = "{caption}"' in job.read_text()
    job.write_text(job.read_text().replace("efficientnet-lite0", "fake").replace("minilm", "fake"))
    checked = json.loads(fpve("check", job, "--format", "json").stdout)
    assert checked["collections"][0] | {"source": "", "bytes": 0} == {
        "name": "pictures",
        "source": "",
        "pictures": 12,
        "bytes": 0,
        "columns": {"caption": "string", "kind": "string", "price": "float64"},
        "prefixes": ["bird number 2", "bird number 8", "cat number 0"],
        "distinct_prefixes": 6,
        "without_prefix": 6,
        "without_metadata": 0,
        "unmatched_metadata": 0,
        "skipped": 0,
        "missing": 0,
        "undecodable": {},
        "without_answer": 0,
    }
    assert not (tmp_path / "indexes").exists()
    report = json.loads(fpve("run", job, "--format", "json").stdout)
    assert (report["scanned"], report["encoded"], report["snapshot"]) == (12, 12, 1)
    hits = json.loads(fpve("search", tmp_path / "indexes/pictures", "--text", "dog number 4", "-f", "json").stdout)
    assert hits[0]["image_id"] == "pictures/dog/04.png"
    assert hits[0]["score"] == pytest.approx(1, abs=1e-5)
    assert {"collection", "path", "image_score", "prefix_score", "prefix", "caption", "kind", "price"} <= set(hits[0])
    assert fpve("init", "pictures", cwd=tmp_path).returncode == 1


def test_rows_in_every_format(store: Path, tmp_path: Path) -> None:
    """Table, JSON, CSV and Parquet hold the same rows, on stdout or in a file."""
    words = ("search", store, "--id", "pets/cat/00.png", "-k", 3)
    rows = json.loads(fpve(*words, "--format", "json").stdout)
    read = list(csv.DictReader(io.StringIO(fpve(*words, "--format", "csv").stdout)))
    assert [row["image_id"] for row in read] == [row["image_id"] for row in rows]
    target = tmp_path / "hits.parquet"
    done = fpve(*words, "--format", "parquet", "--output", target)
    assert (done.returncode, done.stdout) == (0, "")
    assert pq.read_table(target).to_pylist() == rows
    by_extension = tmp_path / "hits.csv"
    assert fpve(*words, "--output", by_extension).returncode == 0
    assert [row["image_id"] for row in csv.DictReader(io.StringIO(by_extension.read_text()))] == [
        row["image_id"] for row in rows
    ]
    nulls = fpve("sql", store, "SELECT prefix FROM images ORDER BY prefix NULLS LAST", "-f", "csv").stdout
    assert len(nulls.split("\n")) == 1 + 12 + 1
    table = fpve(*words).stdout.splitlines()
    assert len(table) == 5
    assert all(row["image_id"] in line for row, line in zip(rows, table[2:], strict=True))


def test_queries_print_what_the_library_returns(store: Path, pictures: Path) -> None:
    """classify, evaluate, sql and status give their figures as JSON and as text."""
    predictions = json.loads(fpve("classify", store, pictures / "cat/00.png", "--label", "kind", "-f", "json").stdout)
    assert predictions[0]["path"] == str(pictures / "cat/00.png")
    assert predictions[0]["prediction"] in ("cat", "dog", "bird")
    evaluation = json.loads(fpve("evaluate", store, "--label", "kind", "-f", "json").stdout)
    assert (evaluation["rows"], evaluation["k"], evaluation["temperature"]) == (12, 20, 0.07)
    ablation = json.loads(fpve("evaluate", store, "--label", "kind", "--ablation", "-f", "json").stdout)
    assert list(ablation)[:3] == ["image only", "prefix only", "concat"]
    fitted = json.loads(fpve("evaluate", store, "--label", "kind", "-A", "auto", "-f", "json").stdout)
    assert (fitted["rows"], len(fitted["curve"])) == (6, 21)
    assert ablation["balanced auto"]["mode"] == "balanced"
    assert "accuracy on the rows that chose" in fpve("evaluate", store, "--label", "kind", "-A", "auto").stdout
    assert fpve("sql", store, "SELECT count(*) AS n FROM images", "-f", "json").stdout == '[\n {\n  "n": 12\n }\n]\n'
    assert json.loads(fpve("status", store, "-f", "json").stdout)["images"] == 12
    assert "images         12" in fpve("status", store).stdout
    assert "accuracy" in fpve("evaluate", store, "--label", "kind").stdout


def test_a_store_is_looked_after(job_file: Path, store: Path, pictures: Path) -> None:
    """history, verify, repair, rollback, compact and prune say what they found and did, as text and as JSON."""
    draw(pictures / "cat/new.png", 100)
    assert fpve("run", job_file).returncode == 0
    assert json.loads(fpve("status", store, "-f", "json").stdout)["snapshots"] == 2
    rows = json.loads(fpve("history", store, "-f", "json").stdout)
    assert [(row["snapshot"], row["operation"], row["images"]) for row in rows] == [(2, "run", 13), (1, "run", 12)]
    assert "2          " in fpve("history", store).stdout
    assert json.loads(fpve("sql", store, "SELECT count(*) AS n FROM images", "--at", 1, "-f", "json").stdout) == [
        {"n": 12}
    ]
    done = fpve("verify", store)
    assert (done.returncode, done.stderr) == (0, "")
    assert "problems   0" in done.stdout
    page = store / manifests.load(store).collections[0].pages[0].file.path
    page.write_bytes(page.read_bytes()[:-1])
    done = fpve("verify", store, "--quick")
    assert done.returncode == 1
    assert page.name in done.stdout
    assert done.stderr == f"fpve: {store} is damaged (problems: 1); `fpve repair {store}` makes it whole\n"
    assert json.loads(fpve("verify", store, "-f", "json").stdout)["ok"] is False
    done = fpve("repair", store)
    assert done.returncode == 0
    assert page.name in done.stdout
    assert json.loads(fpve("verify", store, "-f", "json").stdout)["ok"] is True
    assert fpve("run", job_file).returncode == 0
    assert "published snapshot" in fpve("rollback", store).stderr
    assert fpve("run", job_file).returncode == 0
    assert json.loads(fpve("compact", store, "-f", "json").stdout)["segments"] == [1, 2]
    assert "nothing to do" in fpve("compact", store).stdout
    planned = json.loads(fpve("prune", store, "--keep", 1, "--grace", "0s", "--dry-run", "-f", "json").stdout)
    assert (planned["dry_run"], len(planned["kept"])) == (True, 1)
    assert "1 kept" in fpve("prune", store, "--keep", 1, "--newer-than", "0s", "--grace", "0s").stdout
    assert len(json.loads(fpve("history", store, "-f", "json").stdout)) == 1
    assert fpve("verify", store).returncode == 0


def test_exit_code_3_says_that_inputs_are_in_quarantine(job_file: Path, pictures: Path) -> None:
    """Published or with nothing to do; and the message has the command that lists them."""
    (pictures / "broken.jpg").write_bytes(b"no")
    for state in ("published", "nothing to do"):
        done = fpve("run", job_file)
        assert (done.returncode, f"1 ({state})" in done.stdout) == (3, True)
        said = f'1 inputs are in quarantine: fpve sql {job_file.parent}/store "SELECT path, reason FROM quarantine"'
        assert said in done.stderr


def test_the_readme_shows_what_a_run_prints(job_file: Path, store: Path) -> None:
    """The lines of a run with nothing to do, but for the figures."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    shown = readme.partition("$ fpve run demo.toml\n")[2].partition("```")[0]
    printed = fpve("run", job_file).stdout

    def without_figures(text: str) -> list[str]:
        return [re.sub(r"[\d.,]*\d", "N", line) for line in text.splitlines()]

    assert without_figures(printed) == without_figures(shown)


def test_a_run_says_that_it_compacted(capsys: pytest.CaptureFixture[str]) -> None:
    """The snapshot of the merged files has a line."""
    report = RunReport("pets", "2026-01-01T00:00:00+00:00", snapshot=9, published=True, compacted=True)
    assert _print_report(report, "table") == 0
    assert "\nsnapshot   9 (published)\ncompacted  into snapshot 9\n" in capsys.readouterr().out


def test_a_run_with_nothing_to_do_loads_no_model(job_file: Path, store: Path) -> None:
    """The second run imports neither torch nor faiss nor duckdb."""
    script = (
        f"import sys, fpve; report = fpve.run({str(job_file)!r}); assert not report.published\n"
        "assert not {'torch', 'faiss', 'duckdb', 'sentence_transformers'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


BAD = [
    (["search", "missing", "--text", "x"], 1, "missing: no store here"),
    (["search", "store", "--image", "missing.png"], 1, "missing.png: no such file"),
    (["search", "store", "--image", "/dev/zero"], 1, "/dev/zero: can't be read: not a regular file"),
    (["search", "store", "--text", "x", "--where", "kind = = 'cat'"], 1, "where: "),
    (["search", "store"], 2, "give it --image FILE, --text TEXT, both, or --id IMAGE_ID"),
    (["search", "store", "--texd", "x"], 2, "No such option"),
    (["search", "store", "--id", "pets/cat/99.png"], 1, "no image 'pets/cat/99.png'"),
    (["sql", "store", "SELEC 1"], 1, "SQL: "),
    (["evaluate", "store", "--label", "knid"], 1, "did you mean 'kind'"),
    # Before anything is computed: the label would be the other mistake.
    (["evaluate", "store", "--label", "knid", "--html", "nodir/x.html"], 1, "nodir/x.html: no such folder: nodir"),
    (["classify", "store", "x.png", "--label", "knid", "--html", "nodir/x.html"], 1, "no such folder: nodir"),
    (["classify", "store", "x.png", "--label", "knid", "--html", "texts"], 1, "texts: expected a file to write, found"),
    (["search", "store", "--text", "", "-o", "nodir/x.csv"], 1, "nodir/x.csv: no such folder: nodir"),
    (["evaluate", "store", "--label", "kind", "--class-weight", "balanced"], 2, "give it --head logistic, or mlp"),
    (["evaluate", "store", "--label", "kind", "--seed", "0", "--head", "knn"], 2, "give it --head logistic, or mlp"),
    (
        ["evaluate", "store", "--label", "kind", "--seed", "-1", "--head", "mlp"],
        1,
        "seed: expected 0 or more, found -1",
    ),
    (["run", "missing.toml"], 1, "no such job file"),
    (["run", "corrupt.toml"], 1, "not a TOML file"),
    (["run", "misspelt.toml"], 1, "unknown key 'collections.0.metdata'; did you mean 'metadata'?"),
    (["run", "encoder.toml"], 1, "no image encoder 'efficientnet-lite1'"),
    (["run", "unmatched.toml"], 1, "none of its 1 paths is an image"),
    (["run", "reserved.toml"], 1, "column 'score' is reserved by fpve"),
    (["encode", "new", "missing", "--collection", "x"], 1, "no such folder"),
    (["encode", "new", "empty", "--collection", "x"], 1, "the folder is empty"),
    (["encode", "new", "texts", "--collection", "x"], 1, "no pictures in it"),
    (["encode", "new", "pictures", "--collection", "a/b"], 1, "collection name: expected"),
    (["encode", "new", "pictures", "--collection", "x", "--prefix", "{captoin}"], 1, "no metadata column 'captoin'"),
    (["encode", "new", "pictures", "--collection", "x", "--metadata", "missing.csv"], 1, "no such metadata file"),
    (["encode", "texts", "pictures", "--collection", "x"], 1, "no store, and not empty (it holds 'note.txt')"),
    (["encode", "pets.toml", "pictures", "--collection", "x"], 1, "expected a directory for the store, found a file"),
    (["init", "missing"], 1, "no such folder"),
    *((["history", "missing"], 1, "missing: no store here"), (["verify", "missing"], 1, "missing: no store here")),
    *((["repair", "missing"], 1, "missing: no store here"), (["compact", "missing"], 1, "missing: no store here")),
    (["verify", "store", "--at", "9"], 1, "no snapshot 9; it has 1"),
    (["rollback", "store"], 1, "can't go back to an older snapshot; the newest is 1, before it there is none"),
    (["prune", "store"], 2, "say what to keep: --keep N, --newer-than AGE, or both"),
    (["prune", "store", "--keep", "0"], 2, "Invalid value for '--keep'"),
    (["prune", "store", "--newer-than", "30"], 2, "expected a number with s, m, h, d or w, such as 30d, found '30'"),
    (["search", "store", "--at", "7", "--text", "x"], 1, "no snapshot 7; it has 1"),
    (["nonsense"], 2, "No such command 'nonsense'"),
    ([], 2, ""),
]


@pytest.mark.parametrize(("words", "code", "message"), BAD, ids=[" ".join(words) or "nothing" for words, _, _ in BAD])
def test_bad_input_is_one_line_and_writes_nothing(
    job_file: Path,
    store: Path,
    words: list[str],
    code: int,
    message: str,
    tree: Callable[[Path], dict[str, bytes]],
) -> None:
    """A mistake ends with exit code 1 or 2, one line on stderr that says what to do, and no file written."""
    folder = job_file.parent
    good = job_file.read_text()
    (folder / "empty").mkdir()
    (folder / "texts").mkdir()
    (folder / "texts" / "note.txt").write_text("x")
    (folder / "corrupt.toml").write_text("[[[")
    (folder / "misspelt.toml").write_text(good.replace("metadata =", "metdata ="))
    (folder / "encoder.toml").write_text(good.replace("fake:24", "efficientnet-lite1").replace('"store"', '"new"'))
    other = good.replace("pictures/metadata.csv", "other.csv").replace('prefix = "{caption}"', "")
    (folder / "unmatched.toml").write_text(other.replace('"store"', '"new"'))
    (folder / "other.csv").write_text("path,x\nnowhere.png,1\n")
    (folder / "reserved.toml").write_text(other.replace("other.csv", "reserved.csv").replace('"store"', '"new"'))
    (folder / "reserved.csv").write_text("path,score\ncat/00.png,1\n")
    before = tree(folder)
    done = fpve(*words, cwd=folder)
    assert done.returncode == code, done.stderr
    if words:
        assert done.stdout == ""
        assert done.stderr.startswith("fpve: ")
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert tree(folder) == before


def test_a_reader_that_stops_reading_is_no_error(store: Path) -> None:
    """`fpve sql … | head -1` ends quietly."""
    command = f"{sys.executable} -m fpve sql {store} 'SELECT range FROM range(20000)' | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_names_that_would_drive_a_terminal_are_printed_harmless(job_file: Path, pictures: Path) -> None:
    """An escape sequence in a file name reaches no terminal."""
    draw(pictures / "evil\x1b[31m.png", 300)
    fpve("run", job_file)
    done = fpve("sql", job_file.parent / "store", "SELECT path FROM images")
    assert "evil" in done.stdout
    assert "\x1b" not in done.stdout
