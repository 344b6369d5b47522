"""Image files from anywhere: listed formats only, and one line that names the file for whatever else they are."""

import io
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hetconv.lab.train.images import FORMATS, DamagedImageError, ImageFolderSplit, read_image

EACH_TIME_ANEW = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=80)
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\n0 0 40 40 rectfill\nshowpage\n"


def encoded(kind: str, size: tuple[int, int] = (12, 8)) -> bytes:
    out = io.BytesIO()
    pixels = bytes(at * at % 251 for at in range(3 * size[0] * size[1]))
    Image.frombytes("RGB", size, pixels).save(out, kind)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int) -> bytes:
    """A PNG file that claims a size and holds next to nothing."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", FORMATS)
def test_every_listed_format_is_read(kind: str) -> None:
    image = read_image(io.BytesIO(encoded(kind)), "it")
    assert (image.size, image.mode) == ((12, 8), "RGB")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (POSTSCRIPT, "UnidentifiedImageError: cannot identify image file"),
        (encoded("GIF"), "UnidentifiedImageError: cannot identify image file"),
        (b"", "UnidentifiedImageError"),
        (png(20_000, 20_000), "DecompressionBombError: "),
        (png(10_000, 10_000), "DecompressionBombWarning: "),
        (png(50_000, 1), "ValueError: 50000×1 pixels; one side may be 100 times as long as the other"),
        (png(0, 0), ""),
        (b"P6\n99999999999999999999 1\n255\n", ""),
        (b"P6 12 8 70000 ", ""),
        (encoded("JPEG")[:-200], ""),
        (encoded("TIFF")[:60], ""),
        (encoded("WEBP")[:40], ""),
    ],
)
def test_other_files_are_one_line_that_names_them(data: bytes, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)  # nothing is started
    with pytest.raises(DamagedImageError) as caught:
        read_image(io.BytesIO(data), "imagefolder: x.png")
    assert str(caught.value).startswith(f"imagefolder: x.png is damaged: {message}")
    assert str(caught.value).endswith("; replace or delete it")
    assert "\n" not in str(caught.value)


@given(st.sampled_from(FORMATS).map(encoded), st.data())
@EACH_TIME_ANEW
def test_a_picture_or_one_line(good: bytes, data: st.DataObject) -> None:
    """For every format, damaged in its first 100 bytes and cut anywhere."""
    changes = data.draw(st.dictionaries(st.integers(0, 99), st.integers(0, 255), max_size=4))
    bad = bytearray(good[: data.draw(st.integers(1, len(good)))])
    for at, value in changes.items():
        bad[at % len(bad)] = value
    assert outcome(bytes(bad)).startswith(("RGB", "it is damaged: "))


def outcome(data: bytes) -> str:
    try:
        return str(read_image(io.BytesIO(data), "it").mode)
    except DamagedImageError as error:
        return "more than a line" if "\n" in str(error) else str(error)


def test_a_folder_names_the_file_that_holds_postscript(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "0.png").write_bytes(POSTSCRIPT)
    with pytest.raises(DamagedImageError, match=r"^imagefolder: .*cat/0\.png is damaged: Unidentified"):
        ImageFolderSplit(tmp_path, 32, augment=False)[0]
