"""What made vectors that are imported: what is said of it, by whoever imports them or by their file, and checked."""

from __future__ import annotations

from dataclasses import dataclass

from fpve.config import NO_ENCODER, EncoderConfig, Encoders
from fpve.encoders import ImageEncoder, ImportedImageEncoder, TextEncoder, open_image_encoder, open_text_encoder
from fpve.engines.work import Models
from fpve.errors import EncoderMismatch, SourceError
from fpve.export import Header
from fpve.sources.metadata import PARQUET_SUFFIXES
from fpve.sources.vectors import VectorFile
from fpve.store.encoding import EncoderRef
from fpve.store.imported import is_imported
from fpve.store.manifest import Collection
from fpve.store.snapshot import Snapshot

# Encoders that are somebody's own classes.
_OWN = "python:"


def exported_header(file: VectorFile) -> Header | None:
    """What a file says of its vectors, if fpve exported it.

    Raises:
        SourceError: its vectors are not features of pictures.
    """
    if file.table_file.suffix.lower() not in PARQUET_SUFFIXES:
        return None
    header = Header.read(file.table_file)
    if header is not None and header.vectors != "image":
        raise SourceError(
            f"{file.file}: expected features of pictures, found vectors that were exported as {header.vectors!r}; "
            "export them with --vectors image"
        )
    return header


@dataclass(frozen=True, slots=True)
class Claims:
    """What is said of the encoders.

    Attributes:
        image, text: names that were given.
        header: what the file says.
        texts: whether it has texts of its own.
    """

    image: str | None
    text: str | None
    header: Header | None
    texts: bool

    def models(self, file: VectorFile, base: Snapshot | None, entry: Collection | None) -> tuple[Encoders, Models]:
        """The encoders of both blocks, as a job names them, and opened.

        Args:
            file: the vectors.
            base: the store's last snapshot.
            entry: what the store has of the collection; what was said of it once stands.

        Raises:
            EncoderMismatch: the vectors are of another length than the encoder's, or the file names another one.
            EncoderNotFound: there is no such encoder, or its weights are not here.
        """
        image_config, image = self._image(file, base, entry)
        if image.dim != file.dim:
            raise EncoderMismatch(
                f"{file.file}: expected vectors of {image.dim:,} numbers, as {image.name} makes them, found "
                f"{file.dim:,}; name what made them with --image-encoder"
            )
        text_config, text = self._text(base)
        return Encoders(image=image_config, text=text_config), Models(image, text)

    def distrusted(self, base: Snapshot | None) -> str | None:
        """Name of the image encoder that the file names and nobody else does, where it is somebody's own class.

        The first query with a picture would import its module: not on the word of a file that came from anywhere.
        """
        if self.header is None or self.image is not None:
            return None
        said = self.header.encoders["image"]
        known = base.manifest.encoders["image"] if base is not None else None
        return said.config["name"] if said != known and said.config["name"].startswith(_OWN) else None

    def _image(
        self, file: VectorFile, base: Snapshot | None, entry: Collection | None
    ) -> tuple[EncoderConfig, ImageEncoder]:
        said = self.header.encoders["image"] if self.header is not None else None
        if self.image is not None:
            config = EncoderConfig(self.image)
            encoder = open_image_encoder(config)
            if said is not None and said.fingerprint != encoder.fingerprint:
                raise EncoderMismatch(
                    f"{file.file} says that {said} made its vectors, --image-encoder is "
                    f"{encoder.name}@{encoder.fingerprint[:8]}; leave that out"
                )
            return config, encoder
        if self.distrusted(base) is not None:
            said = None
        if said is None and base is not None and entry is not None and is_imported(entry):
            said = base.manifest.encoders["image"]
        if said is not None:
            # As it was said once: no weights are needed until a picture is to be encoded.
            return said.as_config(), ImportedImageEncoder(said.config["name"], said.fingerprint, said.dim, said.space)
        unnamed = ImportedImageEncoder.unnamed(file.dim)
        return EncoderConfig(unnamed.name), unnamed

    def _text(self, base: Snapshot | None) -> tuple[EncoderConfig, TextEncoder | None]:
        if self.text == NO_ENCODER:
            return EncoderConfig(NO_ENCODER), None
        if self.text is not None:
            config = EncoderConfig(self.text)
            return config, open_text_encoder(config)
        # A store has one text encoder: texts from elsewhere are embedded with it.
        known = base.manifest.encoders if base is not None else self.header.encoders if self.header is not None else {}
        ref: EncoderRef | None = known.get("text")
        if ref is None:
            return EncoderConfig(NO_ENCODER), None
        if base is None and ref.config["name"].startswith(_OWN):
            # To open it is to import a module: not on the word of a file that came from anywhere.
            raise EncoderMismatch(
                f"a file says that its prefixes are embedded with {ref.config['name']!r}, which runs the code of that "
                f"name; if you trust it, name it with --text-encoder, or else --text-encoder {NO_ENCODER}"
            )
        encoder = open_text_encoder(ref.as_config())
        if encoder.fingerprint != ref.fingerprint:
            raise EncoderMismatch(
                f"prefixes are embedded with {ref}, this machine has {encoder.name}@{encoder.fingerprint[:8]}: install "
                "the weights of the former"
            )
        return ref.as_config(), encoder
