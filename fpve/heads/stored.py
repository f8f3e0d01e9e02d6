"""The heads of a snapshot."""

from __future__ import annotations

from fpve.errors import QueryError, StoreCorrupt
from fpve.errors import nearest as nearest_word
from fpve.heads.head import Head
from fpve.store.files import at_hand, inside
from fpve.store.heads import HeadRef, read_head, space_of, train_command
from fpve.store.snapshot import Snapshot


def head_ref(snapshot: Snapshot, label: str, kind: str) -> HeadRef:
    """What a snapshot says of its head for a label column.

    Raises:
        QueryError: it has none; says which there are, and the command that trains it.
    """
    heads = snapshot.manifest.heads
    found = next((one for one in heads if (one.label, one.kind) == (label, kind)), None)
    if found is not None:
        return found
    labels = sorted({one.label for one in heads})
    known = ", ".join(f"{one.label} ({one.kind})" for one in heads)
    known = f"heads are trained for {known}" if known else "none is trained"
    train = f"`{train_command(snapshot.root, label, kind)}` trains one"
    raise QueryError(f"no {kind} head for {label!r}{nearest_word(label, labels)}; {known}; {train}")


def load_head(snapshot: Snapshot, label: str, kind: str) -> Head:
    """Read a snapshot's head for a label column.

    Its queries are those of the fusion of `Searcher.variant(predicted=False)`, at the head's own `image_weight`.

    Raises:
        QueryError: there is none; says which there are, and the command that trains it.
        StoreCorrupt: its file is missing or damaged, or not what the manifest says.
    """
    ref = head_ref(snapshot, label, kind)
    with snapshot.reading():
        data = read_head(snapshot.root, ref)
    head = Head.loads(data, str(inside(snapshot.root, ref.file.path)))
    if (wrong := _contradiction(snapshot, ref, head)) is not None:
        raise StoreCorrupt(f"{inside(snapshot.root, ref.file.path)}: {wrong}; see `fpve repair {snapshot.root}`")
    return head


def check_head(snapshot: Snapshot, ref: HeadRef) -> str | None:
    """Whether a file with the right checksum is a head, and the one that its manifest says; None, or what is wrong."""
    try:
        head = Head.loads(at_hand(snapshot.root, ref.file.path).read_bytes(), "head")
    except StoreCorrupt as error:
        return str(error)
    return _contradiction(snapshot, ref, head)


def _contradiction(snapshot: Snapshot, ref: HeadRef, head: Head) -> str | None:
    """What a head says otherwise than its manifest; None if it says the same."""
    told = (ref.label, ref.kind, ref.classes, ref.snapshot, ref.space, ref.image_weight)
    found = (head.label, head.kind, len(head.names), head.snapshot, head.space, head.image_weight)
    names = ("label", "kind", "classes", "snapshot", "space", "image_weight")
    wrong = [name for name, one, other in zip(names, told, found, strict=True) if one != other]
    if wrong:
        return f"its {wrong[0]} is not that of the manifest"
    one, fusion = head.classifier, snapshot.fusion
    if ref.space != space_of(snapshot.manifest) or (one.dim, one.image_dim) != (fusion.dim, fusion.image_dim):
        return "it learnt from vectors that were made in another way than those of the snapshot"
    return None
