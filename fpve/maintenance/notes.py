"""What a repair has to say, noted as it goes along."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Notes:
    """What was made again, what was taken out until the next run, and what can't be made again; a line for each."""

    rebuilt: list[str] = field(default_factory=list)
    taken_out: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
