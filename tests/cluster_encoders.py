"""An encoder that can be told to die, to wait or to fail, by files in a folder that it takes for its device."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

PATIENCE = 60.0


class Told:
    """Pictures as their first pixels.

    Files in the folder tell what it does. Where there is `kill`, the first one that encodes a third batch writes its
    process to `killed` and waits for its end; where there is `lose`, the first one on a node that `lose` does not name
    writes that node to `lost` and waits likewise. A white picture writes `held` and waits where there is `hold`, a
    black one is the end of the process where there is `die`, and a blue one an exception where there is `fail`.
    """

    dim = 6
    version = "1"
    batch_size = 4

    def __init__(self, device: str) -> None:
        self._folder = Path(device)
        self._batches = 0

    def prepare(self, image: Any) -> np.ndarray:
        """Make (4, 4, 3) uint8 of an RGB picture."""
        return np.asarray(image.resize((4, 4)))

    def encode(self, batch: np.ndarray) -> np.ndarray:
        """Encode (n, 4, 4, 3) into (n, 6)."""
        self._batches += 1
        if self._batches >= 3 and (self._folder / "kill").exists() and self._first("killed", str(os.getpid())):
            _wait()
        if (self._folder / "lose").exists():
            node = _node()
            if node != (self._folder / "lose").read_text() and self._first("lost", node):
                _wait()
        if self._is_told("hold", batch, (255, 255, 255)):
            self._first("held", "")
            _wait()
        if self._is_told("die", batch, (0, 0, 0)):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._is_told("fail", batch, (0, 0, 255)):
            raise RuntimeError("no blue pictures")
        return batch.reshape(len(batch), -1)[:, : self.dim].astype(np.float32) + 1

    def _is_told(self, name: str, batch: np.ndarray, colour: tuple[int, int, int]) -> bool:
        """Whether there is a picture of one colour for which there is a file."""
        return bool((batch == colour).all(axis=(1, 2, 3)).any()) and (self._folder / name).exists()

    def _first(self, name: str, text: str) -> bool:
        """Write a file, if nobody has yet."""
        temporary = self._folder / f".{os.getpid()}"
        temporary.write_text(text)
        try:
            os.link(temporary, self._folder / name)
        except FileExistsError:
            return False
        return True


def _wait() -> None:
    """Do nothing until the end of the process, but not for ever: a test that fails is to end."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        time.sleep(0.02)


def _node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())
