"""The tour: makes the sample collections, takes them through the whole program, and writes a page about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fpve._version import __version__
from fpve.api import Store
from fpve.api import open as open_store
from fpve.api import run as run_job
from fpve.demo.collections import METADATA_NAME, write_digits, write_photographs, write_symbols
from fpve.images import decode, thumbnail
from fpve.pipeline.report import RunReport
from fpve.progress import Progress, SilentProgress
from fpve.records import Hits
from fpve.report.map import write_map
from fpve.report.page import data_uri, write_page
from fpve.report.scope import quoted

JOB_FILE = "demo.toml"
PAGE = "demo.html"
MAP = "map.html"
STORE = "indexes/demo"
_HITS = 6
_JOB = f"""\
# The job of `fpve demo`: what its store should contain. Run again, it takes up what changed.

store = "{STORE}"

[[collections]]                       # drawings with a caption each: symbols of the DejaVu fonts
name = "symbols"
source = "collections/symbols"
metadata = "collections/symbols/metadata.csv"
prefix = "{{caption}}"

[[collections]]                       # photographs with a caption each
name = "photographs"
source = "collections/photographs"
metadata = "collections/photographs/metadata.csv"
prefix = "{{caption}}"

[[collections]]                       # labelled pictures without a text
name = "digits"
source = "collections/digits"
metadata = "collections/digits/metadata.csv"
types = {{ label = "string" }}
"""


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the page: what was done, the commands that do it, and what came out."""

    title: str
    text: str
    commands: tuple[str, ...]
    note: str = ""
    query: str | None = None
    query_label: str = "the query"
    link: str | None = None
    hits: list[dict[str, Any]] = field(default_factory=list)
    bars: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)


def take_tour(
    directory: Path, *, say: Callable[[str], object] = lambda _: None, progress: Progress | None = None
) -> Path:
    """Make the sample collections in `directory`, encode, search, evaluate and query them; returns the page's path.

    Args:
        directory: made if it is missing; what an earlier tour left there is used again.
        say: gets each command and what came of it, as text.
        progress: shows the long stages.

    Raises:
        FpveError: a library that carries the pictures is missing (`pip install 'fpve[demo]'`), or a run failed.
    """
    guide = _Guide(directory, say, progress or SilentProgress())
    guide.collect()
    first, second = guide.run(), guide.run()
    guide.sections.append(_runs(first, second))
    store = open_store(directory / STORE)
    guide.search(store, "Search by text", "The text is compared with the captions.", query_text="chess knight")
    guide.search(
        store,
        "… under a condition",
        "Any SQL condition over the metadata filters the search, before it ranks.",
        query_text="outer space",
        where="collection = 'photographs'",
    )
    guide.search(
        store,
        "Search by picture",
        "Only the pictures are compared. This one is in the store: it finds itself, then the other of its pair.",
        image="collections/photographs/motorcycle_left.png",
    )
    guide.search(
        store,
        "Search by both",
        "A picture of a knight, and the word queen: what looks like the one and is called like the other.",
        image="collections/symbols/plain/u265e.png",
        query_text="queen",
    )
    guide.search(
        store,
        "More like this",
        "By an image's own picture and caption, with equal weight. The weight belongs to the query: nothing is indexed "
        "again to change it.",
        image_id="symbols/plain/u2665.png",
    )
    guide.evaluate(store)
    guide.sql(
        store,
        "Ask in SQL",
        "SELECT collection, count(*) AS images, count(DISTINCT prefix) AS prefixes, round(avg(width)) AS width "
        "FROM images GROUP BY collection ORDER BY images DESC",
    )
    guide.sql(
        store,
        "… anything",
        "SELECT block, count(*) AS images, any_value(prefix) AS example FROM images "
        "WHERE collection = 'symbols' GROUP BY block ORDER BY images DESC, block",
    )
    guide.sql(
        store,
        "… with a search inside the query",
        "SELECT block, count(*) AS hits, round(max(score), 3) AS best FROM search('a heart', k := 50) "
        "JOIN images USING (image_id) GROUP BY block ORDER BY hits DESC, block",
    )
    guide.doubt(store)
    guide.map(store)
    return guide.write(first, store)


class _Guide:
    """Does each step, says what it does, and keeps what the page will show."""

    def __init__(self, directory: Path, say: Callable[[str], object], progress: Progress) -> None:
        self.directory = directory
        self.sections: list[Section] = []
        self._say = say
        self._progress = progress

    def collect(self) -> None:
        """Write the collections and the job file, unless an earlier tour did."""
        folder = self.directory / "collections"
        for name, write in (("symbols", write_symbols), ("photographs", write_photographs), ("digits", write_digits)):
            # Written last, so a collection that has it is complete.
            if not (folder / name / METADATA_NAME).exists():
                self._say(f"wrote {write(folder / name):,} {name} into {folder / name}")
        (self.directory / JOB_FILE).write_text(_JOB, encoding="utf-8")

    def run(self) -> RunReport:
        """Run the job."""
        self._command("fpve", "run", JOB_FILE)
        report = run_job(self.directory / JOB_FILE, progress=self._progress)
        rate = f" at {report.images_per_second:,.0f} images/s" if report.images_per_second else ""
        self._say(
            f"scanned {report.scanned:,}, encoded {report.encoded:,} pictures{rate}, "
            f"snapshot {report.snapshot} {'published' if report.published else 'stays: nothing to do'}"
        )
        return report

    def search(
        self,
        store: Store,
        title: str,
        text: str,
        *,
        query_text: str | None = None,
        image: str | None = None,
        image_id: str | None = None,
        where: str | None = None,
    ) -> None:
        """Search, and keep the hits with their thumbnails."""
        given = {"--text": query_text, "--image": image, "--id": image_id, "--where": where}
        options = [part for name, value in given.items() if value is not None for part in (name, value)]
        command = self._command("fpve", "search", STORE, *options, "-k", str(_HITS))
        picture = self.directory / image if image is not None else None
        hits = _search(store, query_text, picture, image_id, where)
        self._say(f"found {', '.join(hit.prefix or hit.image_id for hit in hits[:3])}, …")
        query = None
        if image_id is not None:
            query = store.thumbnail(image_id)
        elif picture is not None:
            query = thumbnail(decode(picture.read_bytes()).image)
        label = f"the query, with the text “{query_text}”" if query_text and query else "the query"
        address = data_uri(query) if query else None
        shown = Section(title, text, (command,), query=address, query_label=label, hits=_shown(store, hits))
        self.sections.append(shown)

    def evaluate(self, store: Store) -> None:
        """Evaluate k-NN on symbols, by image, text and both, and on digits, which have no text."""
        where = "collection = 'symbols'"
        command = self._command("fpve", "evaluate", STORE, "--label", "block", "--where", where, "--ablation")
        found = store.ablation(label="block", where=where)
        self._say(", ".join(f"{name} {one.accuracy:.1%}" for name, one in found.items()))
        best = max(one.accuracy for one in found.values())
        self.sections.append(
            Section(
                "Is the fused vector worth it?",
                "The Unicode block of each symbol, predicted from its 20 nearest neighbours. A symbol does not vote "
                "for itself, nor does its drawing in the other style, which has the same name.",
                (command,),
                bars=[
                    {"name": name, "value": one.accuracy, "best": one.accuracy == best} for name, one in found.items()
                ],
                note=f"{found['balanced'].rows:,} pictures of {len(found['balanced'].classes)} blocks. "
                "concat is the bare formula on raw features, in which the text hardly counts; balanced gives both "
                "the same say.",
            )
        )
        where = "collection = 'digits'"
        command = self._command("fpve", "evaluate", STORE, "--label", "label", "--where", where)
        digits = store.evaluate(label="label", where=where)
        self._say(f"accuracy {digits.accuracy:.1%}, naive {digits.naive_accuracy:.1%}")
        self.sections.append(
            Section(
                "Handwritten digits, by picture only",
                "A collection without texts is classified by its pictures.",
                (command,),
                bars=[{"name": "image only", "value": digits.accuracy, "best": True}],
                rows=[
                    {"digit": one.label, "precision": one.precision, "recall": one.recall, "rows": one.rows}
                    for one in digits.classes
                ],
            )
        )

    def sql(self, store: Store, title: str, query: str) -> None:
        """Ask in SQL, and keep the rows."""
        command = self._command("fpve", "sql", STORE, query)
        rows = store.sql(query).to_pylist()
        self._say("; ".join(" ".join(str(value) for value in row.values()) for row in rows[:3]))
        self.sections.append(Section(title, "", (command,), rows=rows))

    def doubt(self, store: Store) -> None:
        """Look for labels that the neighbours disagree with, and keep the surest of them."""
        command = self._command("fpve", "mislabeled", STORE, "--label", "block")
        rows = [
            {name: one[name] for name in ("image_id", "label", "prediction", "confidence", "prefix")}
            for one in store.mislabeled(label="block")[:_HITS]
        ]
        self._say("; ".join(f"{row['prefix']}: {row['label']}, or {row['prediction']}?" for row in rows[:3]))
        self.sections.append(
            Section(
                "Which labels are in doubt?",
                "Each symbol's block against the votes of the others, the surest disagreement first: letters that look "
                "the same in two scripts. The commands duplicates and outliers look for other things to put right.",
                (command,),
                rows=rows,
            )
        )

    def map(self, store: Store) -> None:
        """Draw the symbols in a plane, on a page of their own."""
        where = "collection = 'symbols'"
        command = self._command("fpve", "map", STORE, "--where", where, "--color", "block", "--html", MAP)
        placed = store.map(where=where, color="block")
        write_map(self.directory / MAP, placed, store)
        self._say(f"placed {len(placed):,} pictures")
        self.sections.append(
            Section(
                "All of them at once",
                "What a search finds alike is near. The map can be zoomed, filtered by its legend, and searched.",
                (command,),
                link=MAP,
            )
        )

    def write(self, first: RunReport, store: Store) -> Path:
        """Write the page."""
        page = (self.directory / PAGE).resolve()
        status = store.status()
        figures = [
            ("images", f"{status.images:,}"),
            ("vector length", f"{status.dim:,}"),
            ("snapshot", str(status.snapshot)),
            ("store", f"{status.bytes / 1e6:,.1f} MB"),
        ]
        if first.images_per_second:
            figures.insert(1, ("images/s", f"{first.images_per_second:,.0f}"))
        write_page(
            page,
            "tour.html",
            directory=str(self.directory),
            figures=figures,
            sections=self.sections,
            version=__version__,
            created_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
        return page

    def _command(self, *words: str) -> str:
        command = " ".join(map(quoted, words))
        self._say(f"\n$ {command}")
        return command


def _search(store: Store, text: str | None, image: Path | None, image_id: str | None, where: str | None) -> Hits:
    return store.search(text=text, image=image, id=image_id, where=where, k=_HITS)


def _shown(store: Store, hits: Hits) -> list[dict[str, Any]]:
    thumbnails = store.thumbnails([hit.image_id for hit in hits])
    return [{**hit, "thumbnail": data_uri(thumbnails[hit.image_id])} for hit in hits]


def _runs(first: RunReport, second: RunReport) -> Section:
    rows = [
        {
            "run": name,
            "scanned": report.scanned,
            "encoded": report.encoded,
            "unchanged": report.unchanged,
            "seconds": f"{report.seconds['total']:.1f}",
            "snapshot": f"{report.snapshot} ({'published' if report.published else 'nothing to do'})",
        }
        for name, report in (("first", first), ("again", second))
    ]
    command = f"fpve run {JOB_FILE}"
    return Section(
        "Encode once, then only what changed",
        "A job file says what the store should contain. Running it again changes nothing, and loads no model.",
        (command, command),
        rows=rows,
    )
