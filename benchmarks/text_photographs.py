"""Photographs as networks take them, and with words written on them: images of text that nobody has labelled."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the pixels (0 to 1) of ImageNet, with which most networks are trained."""
LETTERS = "eeeeeeaaaaoooiiitttnnnsssrrrhhllddccuummffppggwwyybbvkxjqz"
"""As often as English has them, roughly."""
LINES, WORDS, SIZES, ANGLES = (1, 4), (1, 3), (12, 36), (-15, 15)


def photographs(folder: Path) -> list[Path]:
    """Every photograph below a folder, in a fixed random order."""
    found = sorted(folder.rglob("*.jpg"))
    random.Random(0).shuffle(found)
    return found


def normalized(pixels: Tensor) -> Tensor:
    """Bytes (B, 3, H, W) as networks take them."""
    mean, deviation = (torch.tensor(of).view(3, 1, 1) for of in (MEAN, DEVIATION))
    return (pixels.float() / 255 - mean) / deviation


def without_text(paths: Sequence[Path], size: tuple[int, int]) -> Tensor:
    """Bytes (B, 3, H, W): each photograph at this (height, width)."""
    return _bytes([_photograph(path, size) for path in paths])


def with_text(paths: Sequence[Path], size: tuple[int, int], seed: int) -> Tensor:
    """Bytes (B, 3, H, W): each photograph at this (height, width), with lines of text at random places."""
    return _bytes([_image(path, size, random.Random(f"{seed} {path.name}")) for path in paths])


def _bytes(images: Sequence[Image.Image]) -> Tensor:
    return torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images])


def _photograph(path: Path, size: tuple[int, int]) -> Image.Image:
    height, width = size
    return Image.open(path).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)


def _image(path: Path, size: tuple[int, int], chance: random.Random) -> Image.Image:
    height, width = size
    image = _photograph(path, size)
    for _ in range(chance.randint(*LINES)):
        line = _line(chance)
        place = chance.randint(-line.width // 4, max(1, width - line.width // 2)), chance.randint(0, height - 16)
        image.paste(line, place, line)
    return image


def _line(chance: random.Random) -> Image.Image:
    """A line of text, turned a little, on nothing."""
    words = " ".join(_word(chance) for _ in range(chance.randint(*WORDS)))
    font = ImageFont.load_default(chance.randint(*SIZES))
    left, top, right, bottom = map(round, font.getbbox(words))
    line = Image.new("RGBA", (right - left + 4, bottom - top + 4))
    colour = tuple(chance.choice((chance.randint(0, 90), chance.randint(165, 255))) for _ in range(3))
    ImageDraw.Draw(line).text((2 - left, 2 - top), words, font=font, fill=colour)
    return line.rotate(chance.uniform(*ANGLES), Image.Resampling.BICUBIC, expand=True)


def _word(chance: random.Random) -> str:
    letters = LETTERS if chance.random() < 0.8 else "0123456789"
    word = "".join(chance.choice(letters) for _ in range(chance.randint(2, 9)))
    return chance.choice((word, word.capitalize(), word.upper()))
