"""The commands `duplicates`, `outliers`, `mislabeled`, `sample` and `drift`: none of them changes a file.

What is kept (`--save`, `--html`) is kept before rows are printed: who prints them may hang up, as `| head` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fpve.cli import output
from fpve.cli.options import (
    at_option,
    given,
    html_option,
    row_output,
    save_option,
    save_rows,
    store_argument,
)
from fpve.cli.options import image_weight as weight_option
from fpve.cli.progress import terminal_progress

_WHERE = click.option("--where", metavar="SQL", help="Only look at images for which this condition holds.")
_PICTURE_WEIGHT = click.option(
    "--image-weight",
    "-A",
    type=float,
    metavar="A",
    help="Weight of the picture in the score; below 1 the prefixes count as well.  [default: 1]",
)


@click.command()
@store_argument
@click.option(
    "--threshold", type=float, metavar="COSINE", help="The least cosine with the kept picture.  [default: 0.92]"
)
@click.option(
    "--pixels",
    type=float,
    metavar="R",
    help="The least correlation of thumbnails, as they are or mirrored; -1 takes any.  [default: 0.9]",
)
@_WHERE
@click.option(
    "--prefer", metavar="SQL", help="Keep images for which this holds rather than others, however small these are."
)
@html_option("the pictures, cluster by cluster")
@save_option
@at_option
@row_output
def duplicates(
    store: Path,
    html: Path | None,
    save: str | None,
    at: int | None,
    kind: str | None,
    output_file: Path | None,
    **wanted: Any,
) -> None:
    """Find pictures that a STORE has more than once: copies, and what is nearly the same. No file is changed.

    Prints a plan: of each cluster the largest picture to keep, and those that could go with it.
    """
    import fpve
    from fpve.curation.duplicates import PIXELS, THRESHOLD

    opened = fpve.open(store, at=at)
    found = opened.duplicates(progress=terminal_progress(), **given(**wanted))
    table = found.to_arrow()
    save_rows(opened, save, found)
    if html is not None:
        from fpve.report.duplicates import write_duplicates

        told = {"threshold": THRESHOLD, "pixels": PIXELS, **given(**wanted)}
        write_duplicates(html, found, opened, **told)
        output.note(f"wrote {html}")
    output.print_rows(table, kind, output_file, hide=("collection", "path", "pixels", "prefix"))
    gone = table.filter(_equal(table, "action", "remove"))
    output.note(_summary(len(table) - len(gone), gone))


def _summary(clusters: int, gone: Any) -> str:
    """What the plan comes to; sizes are not known of imported vectors."""
    if not clusters:
        return "No picture is there twice. Nothing was changed."
    size = gone["bytes"].drop_null()
    freed = f" ({sum(size.to_pylist()) / 1e6:,.1f} MB)" if len(size) else ""
    exact = len(gone.filter(_equal(gone, "kind", "exact")))
    return (
        f"{clusters:,} cluster{'' if clusters == 1 else 's'}; {len(gone):,} image{'' if len(gone) == 1 else 's'} could "
        f"go{freed}, {exact:,} of them exact copies. Nothing was changed."
    )


def _equal(table: Any, name: str, value: str) -> Any:
    import pyarrow.compute as pc

    return pc.equal(table[name], value)


@click.command()
@store_argument
@click.option("-k", "k", type=int, metavar="N", help="How many neighbours.  [default: 10]")
@click.option(
    "--cut", type=float, metavar="Z", help="From which robust z-score an image is an outlier.  [default: 3.5]"
)
@click.option("--all", "everything", is_flag=True, help="Print all images with their distance, not only outliers.")
@_PICTURE_WEIGHT
@_WHERE
@html_option("the pictures, the oddest first")
@save_option
@at_option
@row_output
def outliers(
    store: Path,
    everything: bool,
    html: Path | None,
    save: str | None,
    at: int | None,
    kind: str | None,
    output_file: Path | None,
    **wanted: Any,
) -> None:
    """Find pictures of a STORE that are like no others: far from even their nearest neighbours, on average.

    The z-score compares the distance with the median of all; --where "collection = 'x'" compares within a collection.
    """
    import fpve
    from fpve.curation.outliers import CUT, DEFAULT_K

    opened = fpve.open(store, at=at)
    found = opened.outliers(everything=everything, progress=terminal_progress(), **given(**wanted))
    save_rows(opened, save, found)
    cut, k = (CUT if wanted["cut"] is None else wanted["cut"]), (DEFAULT_K if wanted["k"] is None else wanted["k"])
    if html is not None:
        from fpve.report.outliers import write_outliers

        write_outliers(html, found, opened, **{**wanted, "k": k, "cut": cut})
        output.note(f"wrote {html}")
    output.print_rows(found.to_arrow(), kind, output_file, hide=("collection", "path"))
    if not len(found) and not everything:
        output.note(f"no picture has a z-score of {cut:g} or more; --all ranks all of them")


@click.command()
@store_argument
@click.option("--label", required=True, metavar="COLUMN", help="The metadata column of labels.")
@click.option("-k", "k", type=int, metavar="N", help="How many neighbours vote.  [default: 20]")
@weight_option
@_WHERE
@html_option("the pictures, and the neighbours that disagree")
@save_option
@at_option
@row_output
def mislabeled(
    store: Path,
    html: Path | None,
    save: str | None,
    at: int | None,
    kind: str | None,
    output_file: Path | None,
    **wanted: Any,
) -> None:
    """Find images of a STORE whose label is not what the others say, the surest disagreement first.

    What is listed can be a wrong label, or a picture that is hard. `fpve label` corrects labels.
    """
    import fpve

    opened = fpve.open(store, at=at)
    found = opened.mislabeled(progress=terminal_progress(), **given(**wanted))
    save_rows(opened, save, found)
    if html is not None:
        from fpve.report.mislabeled import write_mislabeled

        write_mislabeled(html, found, opened, notes=found.notes, **wanted)
        output.note(f"wrote {html}")
    output.print_rows(found.to_arrow(), kind, output_file, hide=("collection", "path", "neighbours"))
    if not len(found):
        output.note("no label is doubted")
    for said in found.notes:
        output.note(f"note: {said}")


@click.command()
@store_argument
@click.argument("n", type=int)
@_PICTURE_WEIGHT
@click.option("--where", metavar="SQL", help="Only choose images for which this condition holds.")
@click.option("--beside", metavar="SQL", help="Choose what is far from the images for which this condition holds.")
@save_option
@at_option
@row_output
def sample(
    store: Path,
    n: int,
    save: str | None,
    at: int | None,
    kind: str | None,
    output_file: Path | None,
    **wanted: Any,
) -> None:
    """Choose N images of a STORE that are as different as can be: each is the farthest from those before it.

    --beside "category IS NOT NULL" chooses what is worth labelling next.
    """
    import fpve

    opened = fpve.open(store, at=at)
    found = opened.sample(n, progress=terminal_progress(), **given(**wanted))
    save_rows(opened, save, found)
    output.print_rows(found.to_arrow(), kind, output_file, hide=("collection", "path"))
    if len(found) < n:
        output.note(f"no more different pictures to choose from than {len(found):,}")


@click.command()
@store_argument
@click.option("--since", type=int, required=True, metavar="SNAPSHOT", help="The older snapshot, of `fpve history`.")
@click.option("--label", metavar="COLUMN", help="Compare the classes of this column as well.")
@save_option
@at_option
@row_output
def drift(
    store: Path,
    since: int,
    label: str | None,
    save: str | None,
    at: int | None,
    kind: str | None,
    output_file: Path | None,
) -> None:
    """Compare the images of a STORE with those of an older snapshot: shares, mean pictures, new kinds of pictures.

    Measures: images (counts), share (of a class), psi (population stability index: below 0.1 stable, above 0.25
    changed), centroid (distance of mean pictures, beside what chance gives), cluster (new pictures unlike all old ones,
    by their most typical image).
    """
    import fpve

    opened = fpve.open(store, at=at)
    found = opened.drift(since=since, label=label, progress=terminal_progress())
    save_rows(opened, save, found)
    output.print_rows(found.to_arrow(), kind, output_file, shown=_with_counts)


# Of a cluster, `change` is a distance.
_COUNTS = {"images": ("before", "after", "change"), "cluster": ("after",)}


def _with_counts(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `drift` with its counts as integers: they share columns with shares and distances."""
    return row | {name: int(row[name]) for name in _COUNTS.get(row["measure"], ())}


COMMANDS = (duplicates, outliers, mislabeled, sample, drift)
