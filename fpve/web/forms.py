"""Forms with a picture, read in memory within bounds: nothing that is uploaded touches a disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from fpve.web.refusals import Refused

# A search has a dozen fields, of which a condition and filters may be long.
_FIELDS = 32
_FIELD_BYTES = 200_000


@dataclass(frozen=True, slots=True)
class PictureForm:
    """A form with a picture.

    Attributes:
        picture: the bytes of its file.
        fields: what else was said, by name; of what was left empty nothing.
    """

    picture: bytes
    fields: dict[str, Any]


class _InMemory(MultiPartParser):
    # Of files, too; the guard has bounded the body.
    spool_max_size = 0


async def picture_form(request: Request) -> PictureForm:
    """The form that a request brings, with its one file under the name `image`.

    Raises:
        Refused: it is no such form, or has too many parts.
    """
    kind, _ = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise Refused(415, f"expected multipart/form-data, found {kind[:100].decode('latin-1')!r}")
    parser = _InMemory(request.headers, request.stream(), max_files=1, max_fields=_FIELDS, max_part_size=_FIELD_BYTES)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Refused(400, f"expected a form with one picture: {error.message}") from None
    try:
        return await _told(form)
    finally:
        await form.close()


async def _told(form: FormData) -> PictureForm:
    """What a form says.

    Raises:
        Refused: it has no picture, another file, or something twice.
    """
    fields: dict[str, Any] = {}
    picture: bytes | None = None
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != "image":
                raise Refused(400, f"expected a picture as the file 'image', found a file {name[:100]!r}")
            picture = await value.read()
        elif name in fields:
            raise Refused(400, f"expected {name[:100]!r} once, found it twice")
        elif value:
            fields[name] = value
    if picture is None:
        raise Refused(400, "expected a picture as the file 'image', found none")
    return PictureForm(picture, fields)
