"""Sources in object stores: what they hold, what a run asks for, and what it does where they can't be asked."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from s3 import S3, Asked
from samples import draw, make_job

import fpve
from fpve.cli import cli
from fpve.config import CollectionConfig, Job, Limits, as_rules, load_job
from fpve.errors import BucketError, MetadataError, PrefixError, SourceError, SourceNotFound
from fpve.planning.captions import captions
from fpve.sources import objects
from fpve.sources.inputs import Inputs
from fpve.sources.queries import read_queries
from fpve.sources.scan import Scan
from fpve.sources.source import scan_source
from fpve.sources.stored import read_stored
from fpve.store import manifest as manifests
from fpve.urls import BucketPath, any_path
from fpve.web.pictures import original_of
from fpve.web.refusals import Refused

# The texts beside pictures.
BESIDE = as_rules({"sidecar": ".txt"})


def png(seed: int, folder: Path) -> bytes:
    """The bytes of a picture that no other seed gives."""
    path = folder / f"drawn-{seed}.png"
    draw(path, seed)
    return path.read_bytes()


def scan(source: str | Path, **options: object) -> Scan:
    """What a source holds, as the collection `pets`."""
    return scan_source(CollectionConfig(name="pets", source=any_path(source), **options))


def paths(found: Scan) -> list[str]:
    """The paths of a scan."""
    listed: list[str] = found.files["path"].to_pylist()
    return listed


def inputs(found: Scan) -> Inputs:
    """All inputs of a scan, as another process gets them."""
    held: Inputs = pickle.loads(pickle.dumps(found.inputs(found.files["number"].to_numpy())))  # noqa: S301 (our own)
    return held


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    """A store in this process, for what no protocol matters to."""
    yield (found := fsspec.filesystem("memory"))
    found.store.clear()
    found.pseudo_dirs[:] = [""]


@pytest.fixture
def shop(s3: S3, pictures: Path) -> S3:
    """The bucket with the 12 pictures and their captions below `shop`."""
    s3.put_folder(pictures, "shop")
    return s3


@pytest.fixture
def shop_job(shop: S3, tmp_path: Path) -> Job:
    """A job over them, with a store on this machine."""
    return make_job(tmp_path / "store", BucketPath(shop.url("shop")))


class TestRuns:
    """A job over a folder in a bucket."""

    def test_a_second_run_asks_for_no_picture(self, shop: S3, shop_job: Job) -> None:
        """Each picture is one request, once; then one listing and the metadata are all that is asked for."""
        first = fpve.run(shop_job)
        assert (first.encoded, first.quarantined) == (12, 0)
        assert shop.counts() == {"LIST": 1, "GET": 13}
        second = fpve.run(shop_job)
        assert (second.encoded, second.unchanged, second.snapshot) == (0, 12, 1)
        assert shop.counts() == {"LIST": 1, "GET": 1}

    def test_what_changed_is_read(self, shop: S3, shop_job: Job, tmp_path: Path) -> None:
        """An object that was replaced within the second by one of its size is read, one that was deleted is gone."""
        fpve.run(shop_job)
        shop.counts()
        before = shop.get("shop/cat/00.png")
        # The last bytes of a PNG are no pixels: its end mark, and a checksum of that.
        changed = before[:-1] + bytes([before[-1] ^ 1])
        shop.put("shop/cat/00.png", changed)
        shop.remove("shop/dog/01.png")
        report = fpve.run(shop_job)
        assert (report.removed, report.unchanged) == (1, 10)
        assert [one.key for one in shop.asked if one.method == "GET" and one.key.endswith("png")] == ["shop/cat/00.png"]

    def test_rows_name_urls(self, shop: S3, shop_job: Job, tmp_path: Path) -> None:
        """A hit, SQL, an export and the manifest say where a picture is by its URL; a query's is read from there."""
        fpve.run(shop_job)
        store = fpve.open(shop_job.store)
        url = shop.url("shop/cat/00.png")
        [hit] = store.search(image=url, k=1)
        assert (hit.image_id, hit.path) == ("pets/cat/00.png", url)
        assert store.sql("SELECT path FROM images WHERE image_id = 'pets/cat/00.png'").to_pylist() == [{"path": url}]
        store.export(tmp_path / "rows.parquet")
        assert url in pq.read_table(tmp_path / "rows.parquet")["path"].to_pylist()
        assert manifests.load(shop_job.store).collections[0].source == shop.url("shop")

    def test_an_empty_source_is_no_deletion(self, shop: S3, shop_job: Job) -> None:
        """A folder without objects, and a bucket that is not there, publish nothing."""
        fpve.run(shop_job)
        for key in set(shop.keys()):
            if key.endswith("png"):
                shop.remove(key)
        with pytest.raises(SourceError, match="no pictures in it"):
            fpve.run(shop_job)
        shop.remove("shop/metadata.csv")
        with pytest.raises(MetadataError, match="no such metadata file"):
            fpve.run(shop_job)
        assert len(fpve.open(shop_job.store).images) == 12

    def test_a_store_that_can_not_be_asked(self, shop: S3, shop_job: Job) -> None:
        """Where nothing is answered, that is said of what was asked for first, once."""
        shop.before = lambda asked: 403
        with pytest.raises(
            BucketError, match=r"^s3://[^ ]+/shop/metadata\.csv: the object store can't be asked, or refu"
        ):
            fpve.run(shop_job)
        with pytest.raises(SourceNotFound, match=r"/shop: the object store can't be asked, or refuses"):
            fpve.run(make_job(shop_job.store, BucketPath(shop.url("shop")), metadata=None, prefix=()))

    def test_a_store_that_falls_silent_breaks_no_picture(self, shop: S3, shop_job: Job, tmp_path: Path) -> None:
        """Where nothing can be asked any more while pictures are read, the run ends and publishes nothing."""
        fpve.run(shop_job)
        for number in range(3):
            shop.put(f"shop/new-{number}.png", png(number + 100, tmp_path))
        reached = []

        def silent(asked: Asked) -> int | None:
            reached.append("new-" in asked.key)
            return 503 if any(reached) else None

        shop.before = silent
        with pytest.raises(SourceError, match="nothing was published"):
            fpve.run(shop_job)
        shop.before = None
        assert len(fpve.open(shop_job.store).images) == 12
        assert fpve.run(shop_job).encoded == 3

    def test_moved_objects_are_no_removals(self, shop: S3, shop_job: Job) -> None:
        """Objects that are copied to other names, and deleted, have other times and the same tags: they moved."""
        fpve.run(shop_job)
        for key in [one for one in sorted(set(shop.keys())) if one.startswith("shop/cat/")]:
            shop.put(key.replace("cat", "lion"), shop.get(key))
            shop.remove(key)
        # A third of the collection, which would be too many to be gone.
        for report in (fpve.run(shop_job, dry_run=True), fpve.run(shop_job)):
            assert (report.moved, report.encoded, report.removed) == (4, 0, 0)

    def test_archives_that_fall_silent_break_no_picture(self, s3: S3, tmp_path: Path) -> None:
        """Where no part of an archive can be had any more, the run ends."""
        s3.put("a.tar", TestArchives.tar({f"{number}.png": png(number, tmp_path) for number in range(3)}))
        asked = []

        def silent(one: Asked) -> int | None:
            asked.append(one)
            return 503 if len(asked) > 4 else None

        s3.before = silent
        with pytest.raises(SourceError, match="nothing was published"):
            fpve.run(make_job(tmp_path / "store", any_path(s3.url("a.tar")), metadata=None, prefix=()))

    def test_an_object_that_can_not_be_read_is_quarantined(self, shop: S3, shop_job: Job) -> None:
        """One that its store refuses, or has no more, is told with the reason; the others are images."""
        shop.before = lambda asked: {"shop/cat/00.png": 403, "shop/cat/03.png": 404}.get(asked.key)
        report = fpve.run(replace(shop_job, limits=Limits(max_quarantine=2)))
        assert (report.encoded, report.quarantined) == (10, 2)
        rows = fpve.open(shop_job.store).sql("SELECT path, reason FROM quarantine ORDER BY path").to_pylist()
        assert [one["path"] for one in rows] == ["cat/00.png", "cat/03.png"]
        assert "refused by a test" in rows[0]["reason"]
        assert "there is no such object any more" in rows[1]["reason"]


class TestFolders:
    """What is taken of a folder."""

    def test_globs_hidden_and_undecodable_objects(self, s3: S3) -> None:
        """As in a folder of files: sorted, by globs, without hidden ones; what can't be decoded is counted."""
        for key in ("b/2.png", "b/1.JPG", "a.webp", ".cache/x.png", "b/.y.png", "c/raw.heic", "notes.txt", "d/"):
            s3.put(f"shop/{key}", b"x")
        found = scan(s3.url("shop"))
        assert paths(found) == ["a.webp", "b/1.JPG", "b/2.png"]
        assert (dict(found.undecodable), found.tagged) == ({".heic": 1}, True)
        assert paths(scan(s3.url("shop"), include=("b/*",), exclude=("*.png",))) == ["b/1.JPG"]
        assert found.files["image_id"][0].as_py() == "pets/a.webp"

    def test_odd_names(self, s3: S3) -> None:
        """What no file could be called is skipped with the reason; of two spellings of a name the first is taken."""
        for key in ("shop/a//b.png", "shop/../c.png", "shop/./d.png", "shop//e.png", "shop/ok.png"):
            s3.put_odd(key, b"x")
        for key in ("shop/e\u0301.png", "shop/\u00e9.png"):
            s3.put(key, key.encode())
        found = scan(s3.url("shop"))
        # In another normal form the same name: the first in the listing, by bytes, is taken.
        assert paths(found) == ["ok.png", "e\u0301.png"]
        assert found.files["image_id"].to_pylist() == ["pets/ok.png", "pets/\u00e9.png"]
        reasons = {one.path: one.reason for one in found.skipped}
        assert set(reasons) == {"a//b.png", "../c.png", "./d.png", "/e.png", "\u00e9.png"}
        assert "no path" in reasons["a//b.png"]
        assert inputs(found).read(1).data == "shop/e\u0301.png".encode()

    def test_names_that_a_url_would_change(self, memory: fsspec.AbstractFileSystem) -> None:
        """Names with blanks, percent and number signs are read as they are."""
        names = ["a b.png", "c%20d.png", "e#f.png", "g+h.png", "i\tj.png"]
        for name in names:
            memory.pipe_file(f"/shop/{name}", name.encode())
        found = scan("memory://shop")
        assert paths(found) == sorted(names)
        assert [inputs(found).read(at).data.decode() for at in range(len(names))] == sorted(names)

    @pytest.mark.parametrize(
        ("url", "told"), [("{}/nothing", "no object below it"), ("s3://no-such-bucket/x", "no such bucket")]
    )
    def test_what_is_not_there(self, shop: S3, url: str, told: str) -> None:
        """A folder without objects, and a bucket that is not there, are told apart."""
        with pytest.raises(SourceNotFound, match=told):
            scan(url.format(shop.url()))

    def test_an_object_is_no_folder(self, s3: S3) -> None:
        """A source that is an object, and neither a table nor an archive, is refused."""
        s3.put("shop/x.png", b"x")
        with pytest.raises(SourceError, match=r"expected a folder of pictures, a \.tar archive or a table"):
            scan(s3.url("shop/x.png"))

    def test_only_undecodable_formats(self, memory: fsspec.AbstractFileSystem) -> None:
        """They are named, with what to do."""
        memory.pipe_file("/shop/a.heic", b"x")
        with pytest.raises(SourceError, match=r"can't be decoded \(\.heic\): convert them"):
            scan("memory://shop")

    def test_sidecars(self, s3: S3, tmp_path: Path) -> None:
        """Texts beside pictures are found by a listing, and read by a request each."""
        s3.put("shop/a.png", png(1, tmp_path))
        s3.put("shop/a.txt", "\ufeffa red stamp".encode())
        s3.put("shop/b.png", png(2, tmp_path))
        s3.put("shop/b.TXT", b"a blue stamp")
        s3.put("shop/c.png", png(3, tmp_path))
        job = make_job(tmp_path / "store", BucketPath(s3.url("shop")), metadata=None, prefix=BESIDE)
        fpve.run(job)
        assert fpve.open(job.store).images["prefix"].to_pylist() == ["a red stamp", "a blue stamp", None]
        s3.put("shop/c.txt", b"\xff\xfe")
        with pytest.raises(PrefixError, match=r"shop/c\.txt: expected a text in UTF-8"):
            fpve.run(job)


class TestTables:
    """Tables whose rows name objects."""

    def test_names_from_the_table_and_urls(self, s3: S3, tmp_path: Path) -> None:
        """Names begin at the table's folder, with `..` too; URLs lead anywhere; what is not there is counted."""
        for key in ("shop/img/a.png", "shop/b.png", "other/c.png"):
            s3.put(key, key.encode())
        local = tmp_path / "d.png"
        local.write_bytes(b"local")
        rows = ["path,price", "../b.png,2", f"{s3.url('other/c.png')},3", "a.png,1", f"{local},4", "gone.png,5"]
        s3.put("shop/img/table.csv", "\n".join(rows).encode())
        found = scan(s3.url("shop/img/table.csv"))
        ids = {one: at for at, one in enumerate(found.files["image_id"].to_pylist())}
        other = f"pets/{s3.bucket}/other/c.png"
        assert set(ids) == {"pets/a.png", "pets/b.png", other, f"pets{local}", "pets/gone.png"}
        assert (found.missing, found.tagged) == (1, False)
        read = inputs(found)
        assert {one: read.read(at).data for one, at in ids.items() if one != "pets/gone.png"} == {
            "pets/a.png": b"shop/img/a.png",
            "pets/b.png": b"shop/b.png",
            other: b"other/c.png",
            f"pets{local}": b"local",
        }
        with pytest.raises(OSError, match="no such object"):
            read.read(ids["pets/gone.png"])

    def test_a_local_table_of_urls(self, shop: S3, tmp_path: Path) -> None:
        """A table of this machine may name objects; images are searched and shown by their URLs."""
        url = shop.url("shop/cat/00.png")
        table = pa.table({"path": [url, shop.url("shop/dog/01.png")], "caption": ["a cat", "a dog"]})
        pq.write_table(table, tmp_path / "table.parquet")
        job = make_job(tmp_path / "store", tmp_path / "table.parquet", metadata=None)
        assert fpve.run(job).encoded == 2
        # A HEAD and a GET of each.
        assert shop.counts() == {"HEAD": 2, "GET": 2}
        assert fpve.run(job).unchanged == 2
        assert shop.counts() == {"HEAD": 2}
        images = fpve.open(job.store).images
        assert images["path"].to_pylist() == [url, shop.url("shop/dog/01.png")]
        assert images["image_id"][0].as_py() == f"pets/{shop.bucket}/shop/cat/00.png"

    def test_many_rows_are_listed(self, shop: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a large table the folder that its objects have in common is listed: no request for each."""
        monkeypatch.setattr(objects, "_LISTED_FROM", 10)
        names = [one for one in sorted(set(shop.keys())) if one.endswith("png")]
        (tmp_path / "table.csv").write_text("\n".join(["path", *(shop.url(one) for one in names)]))
        found = scan(tmp_path / "table.csv")
        assert shop.counts() == {"LIST": 1}
        assert (len(found.files), found.missing, found.tagged) == (12, 0, True)
        assert found.files["size"][0].as_py() == len(shop.get(names[0]))

    def test_pictures_in_cells(self, s3: S3, tmp_path: Path) -> None:
        """Pictures in a Parquet object are read from where they lie, by another process too."""
        cells = [png(number, tmp_path) for number in range(3)]
        pq.write_table(pa.table({"image": cells, "path": ["a", "b", "c"]}), tmp_path / "cells.parquet")
        s3.put("cells.parquet", tmp_path / "cells.parquet")
        found = scan(s3.url("cells.parquet"))
        assert [inputs(found).read(at).data for at in (2, 0, 1)] == [cells[2], cells[0], cells[1]]
        assert found.tagged
        pq.write_table(pa.table({"image": cells[::-1], "path": ["a", "b", "c"]}), tmp_path / "cells.parquet")
        s3.put("cells.parquet", tmp_path / "cells.parquet")
        with pytest.raises(OSError, match="changed after it had been listed"):
            inputs(found).read(0)

    def test_addresses_of_the_web_are_none(self, tmp_path: Path) -> None:
        """A page in the web is refused beside objects that are not."""
        (tmp_path / "table.csv").write_text("path\nmemory://shop/a.png\nhttps://example.org/b.png\n")
        with pytest.raises(SourceError, match=r"row 2: expected the path of a file in 'path', found 'https:"):
            scan(tmp_path / "table.csv")

    def test_metadata_for_objects(self, memory: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
        """Metadata in a store, by names or URLs, and metadata here, are matched with the objects of a folder."""
        memory.pipe_file("/shop/img/a.png", png(1, tmp_path))
        memory.pipe_file("/meta/by-url.csv", b"path,caption\nmemory://shop/img/a.png,by url\n")
        memory.pipe_file("/shop/beside.jsonl", b'{"path": "img/a.png", "caption": "beside"}\n')
        (tmp_path / "here.csv").write_text("path,caption\na.png,here\n")
        for number, (file, caption) in enumerate(
            [("memory://meta/by-url.csv", "by url"), ("memory://shop/beside.jsonl", "beside"), ("here.csv", "here")]
        ):
            job = make_job(
                tmp_path / f"store-{number}", any_path("memory://shop/img"), metadata=any_path(file, tmp_path)
            )
            fpve.run(job)
            assert fpve.open(job.store).images["caption"].to_pylist() == [caption]


class TestArchives:
    """Tar archives in a bucket."""

    @staticmethod
    def tar(members: dict[str, bytes]) -> bytes:
        """An archive of these members."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            for name, data in members.items():
                head = tarfile.TarInfo(name)
                head.size = len(data)
                archive.addfile(head, io.BytesIO(data))
        return out.getvalue()

    def test_members_are_read_by_ranges(self, s3: S3, tmp_path: Path) -> None:
        """Headers are read once; each picture is a part of its archive; again nothing but the listing is asked for."""
        pictures = {f"{number}.png": png(number, tmp_path) for number in range(3)}
        texts = {f"{number}.txt": f"picture {number}".encode() for number in range(3)}
        s3.put("shards/0.tar", self.tar(pictures | texts))
        s3.put("shards/1.tar", self.tar({"x.png": png(9, tmp_path)}))
        job = make_job(tmp_path / "store", any_path(s3.url("shards/*.tar")), metadata=None, prefix=BESIDE)
        assert fpve.run(job).encoded == 4
        parts = [one.headers["HTTP_RANGE"] for one in s3.asked if "HTTP_RANGE" in one.headers]
        assert len(parts) == 6, "the headers of each, and four members"
        s3.counts()
        assert fpve.run(job).unchanged == 4
        assert s3.counts() == {"LIST": 1, "HEAD": 2}
        store = fpve.open(job.store)
        assert store.images["path"][0].as_py() == s3.url("shards/0.tar/0.png")
        assert store.images["prefix"].to_pylist() == ["picture 0", "picture 1", "picture 2", None]
        assert read_stored(s3.url("shards/0.tar/1.png").encode()) == pictures["1.png"]

    def test_an_archive_that_was_replaced(self, s3: S3, tmp_path: Path) -> None:
        """Its members are listed and read anew, though size and second are the same."""
        s3.put("a.tar", self.tar({"x.png": b"1" * 600}))
        source = s3.url("a.tar")
        first = scan(source)
        s3.put("a.tar", self.tar({"x.png": b"2" * 600}))
        second = scan(source)
        assert first.files["origin"].to_pylist() != second.files["origin"].to_pylist()
        assert inputs(second).read(0).data == b"2" * 600
        assert (paths(second), second.folder) == (["a.tar/x.png"], BucketPath(s3.url()))

    def test_a_folder_of_archives(self, s3: S3) -> None:
        """A folder without pictures of its own is searched for archives; compressed ones are refused."""
        s3.put("shards/deep/0.tar", self.tar({"x.png": b"1"}))
        assert paths(scan(s3.url("shards"))) == ["deep/0.tar/x.png"]
        assert paths(scan(s3.url("**/*.tar"))) == ["shards/deep/0.tar/x.png"]
        s3.put("shards/1.tar.gz", b"\x1f\x8b")
        with pytest.raises(SourceError, match=r"expected an uncompressed \.tar"):
            scan(s3.url("shards"))
        with pytest.raises(SourceNotFound, match="no such archive"):
            scan(s3.url("shards/2.tar"))


class TestQueries:
    """Queries whose pictures are in a bucket."""

    def test_folders_and_tables(self, shop: S3, shop_job: Job) -> None:
        """A folder and a table of a bucket ask what files would."""
        shop.put("queries.csv", b"path,text\nshop/cat/00.png,a cat\n,a dog\n")
        found = read_queries(any_path(shop.url("queries.csv")))
        assert (found.kinds, found.pictured.tolist()) == (("pictures", "texts"), [True, False])
        assert found.inputs is not None
        assert found.inputs.read(0).data == shop.get("shop/cat/00.png")
        assert read_queries(any_path(shop.url("shop/cat"))).names.to_pylist() == [
            "00.png",
            "03.png",
            "06.png",
            "09.png",
        ]
        fpve.run(shop_job)
        parts = list(fpve.open(shop_job.store).search_many(shop.url("shop/cat"), k=1))
        assert [one for part in parts for one in part.table["image_id"].to_pylist()] == [
            "pets/cat/00.png",
            "pets/cat/03.png",
            "pets/cat/06.png",
            "pets/cat/09.png",
        ]

    def test_captions_by_url(self, shop: S3, shop_job: Job, tmp_path: Path) -> None:
        """New pictures of a bucket get the prefixes that a table gives to their URLs."""
        fpve.run(shop_job)
        urls = [any_path(shop.url("shop/cat/00.png")), any_path(shop.url("shop/dog/01.png"))]
        (tmp_path / "new.csv").write_text(f"path,caption\n{urls[1]},a new dog\n")
        found = captions(manifests.load(shop_job.store), urls, tmp_path / "new.csv", collection=None)
        assert found.texts == [None, "a new dog"]


class TestJobs:
    """URLs in job files and on the command line."""

    def test_urls_stay_urls(self, tmp_path: Path) -> None:
        """Relative paths begin at the job file, URLs do not."""
        (tmp_path / "job.toml").write_text(
            'store = "store"\n[[collections]]\nname = "a"\nsource = "s3://bucket/some/where/"\n'
            'metadata = "gs://other/table.csv"\n'
        )
        [collection] = load_job(tmp_path / "job.toml").collections
        assert (str(collection.source), str(collection.metadata)) == ("s3://bucket/some/where", "gs://other/table.csv")

    def test_init(self, shop: S3, tmp_path: Path) -> None:
        """A first job file for a folder of a bucket names it, and the metadata beside its pictures."""
        job = load_job(fpve.init(shop.url("shop"), output=tmp_path / "job.toml"))
        assert (job.name, str(job.collections[0].source)) == ("job", shop.url("shop"))
        assert str(job.collections[0].metadata) == shop.url("shop/metadata.csv")
        assert job.collections[0].name == "shop"

    @pytest.mark.parametrize(
        "url", ["s3://LOGIN:hunter2@bucket/x", "s3://LOGIN:hun/ter2@bucket/x", "gs://hunter2@bucket"]
    )
    def test_credentials_are_refused(self, url: str, tmp_path: Path) -> None:
        """A URL with credentials is refused in one line, which does not repeat them."""
        (tmp_path / "job.toml").write_text(f'store = "s"\n[[collections]]\nname = "a"\nsource = "{url}"\n')
        with pytest.raises(BucketError, match="leave them to the environment") as told:
            load_job(tmp_path / "job.toml")
        result = CliRunner().invoke(cli, ["init", url], standalone_mode=False)
        assert isinstance(result.exception, BucketError)
        for text in (str(told.value), str(result.exception), result.output):
            assert "hun" not in text
            assert "LOGIN" not in text
            assert len(text.splitlines()) < 2

    def test_encode(self, shop: S3, tmp_path: Path) -> None:
        """`fpve encode` takes a URL, and so do `fpve search --image` and `fpve classify`."""
        store = str(tmp_path / "store")
        fpve.run(make_job(Path(store), BucketPath(shop.url("shop"))))
        encoded = CliRunner().invoke(cli, ["encode", store, shop.url("shop/cat"), "--collection", "cats"])
        assert encoded.exit_code == 0, encoded.output
        found = CliRunner().invoke(cli, ["search", store, "--image", shop.url("shop/cat/00.png"), "-f", "json"])
        assert '"cats/00.png"' in found.stdout
        said = CliRunner().invoke(
            cli, ["classify", store, shop.url("shop/cat/00.png"), "--label", "kind", "-f", "json"]
        )
        assert said.exit_code == 0, said.output
        assert '"prediction": "cat"' in said.stdout
        missing = CliRunner().invoke(cli, ["search", store, "--image", shop.url("shop/none.png")])
        assert str(missing.exception) == f"{shop.url('shop/none.png')}: no such file"


class TestOriginals:
    """Pictures that are opened again where the store says they are."""

    def test_the_server_shows_them(self, shop: S3, shop_job: Job) -> None:
        """An original that the gallery shows comes from the bucket; one that was replaced, or is gone, is refused."""
        fpve.run(shop_job)
        original = original_of(fpve.open(shop_job.store), 0)
        assert original is not None
        assert (original.image_id, original.is_at_hand) == ("pets/bird/02.png", True)
        assert original.read() == shop.get("shop/bird/02.png")
        shop.put("shop/bird/02.png", b"another")
        with pytest.raises(Refused, match="another one by now"):
            original.read()
        shop.remove("shop/bird/02.png")
        with pytest.raises(Refused, match="its file is not there"):
            original.read()
