"""Which copies `duplicates` finds that were saved again: smaller, as JPEG, as WebP.

    .venv/bin/python scripts/bench/curation/again.py FOLDER [--pictures 60]

So many pictures of a folder, drawn at random, are saved again in each way, and encoded with all others into a store
that is deleted afterwards. A copy is found if it is in the cluster of its original; beside it stands how many of the
folder's own pictures could go, of which few should.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

import fpve
from fpve.config import CollectionConfig, EncoderConfig, Encoders, Job
from fpve.curation.duplicates import PIXELS, THRESHOLD

_SEED = 0
_WAYS: dict[str, Callable[[Image.Image, Path], None]] = {
    "half.png": lambda picture, file: picture.resize([max(1, side // 2) for side in picture.size]).save(file),
    "q75.jpg": lambda picture, file: picture.save(file, quality=75),
    "q50.jpg": lambda picture, file: picture.save(file, quality=50),
    "q80.webp": lambda picture, file: picture.save(file, quality=80),
}


def main() -> None:
    """Save again, encode, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        originals = _save_again(options.folder, Path(work, "again"), options.pictures)
        job = Job(
            store=Path(work, "store"),
            encoders=Encoders(image=EncoderConfig("efficientnet-lite0"), text=EncoderConfig("none")),
            collections=(
                CollectionConfig(name="own", source=options.folder.resolve()),
                CollectionConfig(name="again", source=Path(work, "again")),
            ),
        )
        fpve.run(job)
        store = fpve.open(job.store)
        print(f"{options.pictures} of {len(store.images):,} pictures, each saved again")
        print(f"{'cosine':>8}{'pixels':>8}" + "".join(f"{way:>10}" for way in _WAYS) + f"{'own could go':>14}")
        for threshold, pixels in [(THRESHOLD, PIXELS), (0.88, PIXELS), (0.85, PIXELS), (0.8, PIXELS), (0.8, 0.95)]:
            rows = store.duplicates(threshold=threshold, pixels=pixels).to_arrow().to_pylist()
            cluster = {row["image_id"]: row["cluster"] for row in rows}
            found = dict.fromkeys(_WAYS, 0)
            for copy, (original, way) in originals.items():
                found[way] += copy in cluster and cluster[copy] == cluster.get(original)
            own = store.duplicates(threshold=threshold, pixels=pixels, where="collection = 'own'").to_arrow()
            gone = sum(action == "remove" for action in own["action"].to_pylist())
            print(f"{threshold:>8}{pixels:>8}" + "".join(f"{found[way]:>10}" for way in _WAYS) + f"{gone:>14}")


def _save_again(folder: Path, target: Path, count: int) -> dict[str, tuple[str, str]]:
    """Copies of some pictures: by their ids the original's, and how they were saved."""
    target.mkdir()
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".png", ".jpg", ".jpeg"))
    made = {}
    for number, file in enumerate(random.Random(_SEED).sample(files, count)):
        picture = Image.open(file).convert("RGBA")
        # On white, as a picture is encoded: JPEG has no transparency.
        flat = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
        for way, save in _WAYS.items():
            name = f"{number:03d}-{way}"
            save(flat, target / name)
            made[f"again/{name}"] = (f"own/{file.relative_to(folder).as_posix()}", way)
    return made


if __name__ == "__main__":
    main()
