"""Pictures as the loops that everybody writes first read them: decoded whole by Pillow, one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image


def decoded_whole(file: Path, side: int) -> np.ndarray:
    """A picture (side, side, 3) uint8, squashed."""
    with Image.open(file) as image:
        return np.array(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))


class Files(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Files for torch's DataLoader."""

    def __init__(self, files: list[Path], side: int) -> None:
        self.files, self.side = files, side

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> np.ndarray:
        return decoded_whole(self.files[number], self.side)
