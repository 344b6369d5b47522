"""What is counted in a shard is what is read; hostile shards are refused in one line, without their size in memory."""

import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hetconv.errors import UsageError
from hetconv.lab.train.shard_index import LARGEST_IMAGE, Shard, key_at, read_shards

EACH_TIME_ANEW = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=80)
WORDS = ("a", "b", "__a__", "", ".", "..", "__key__", "\x1b[31m", "\udcff", "é", "0" * 120)
SUFFIXES = ("png", "cls", "PNG", "jpg", "json", "__bad__", "seg.png", "")
Files = list[tuple[str, bytes]]


def tar_of(files: Files) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def read(folder: Path, data: bytes) -> Shard:
    (folder / "0.tar").write_bytes(data)
    (shard,) = read_shards(folder)
    return shard


def read_or_refused(folder: Path, data: bytes) -> Shard | None:
    """None where it is refused, by a line that names it; what else is raised fails the test."""
    try:
        return read(folder, data)
    except UsageError as error:
        if not str(error).startswith(f"shards: {folder}/0.tar"):
            raise AssertionError(str(error)) from error
        return None


def refused(folder: Path, data: bytes) -> str:
    with pytest.raises(UsageError) as caught:
        read(folder, data)
    assert str(caught.value).startswith(f"shards: {folder}/0.tar")
    return str(caught.value)


@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from(WORDS), max_size=3).map("/".join), st.sampled_from(SUFFIXES)), max_size=6
    )
)
@EACH_TIME_ANEW
def test_whatever_the_names_are(tmp_path: Path, names: list[tuple[str, str]]) -> None:
    """All images with a class are found, each with its own bytes; or the shard is refused."""
    files = [(f"{key}.{suffix}", b"%d" % at) for at, (key, suffix) in enumerate(names)]
    shard = read_or_refused(tmp_path, tar_of(files))
    if shard is None:
        return
    whole = (tmp_path / "0.tar").read_bytes()
    kept = [whole[at : at + size] for at, size in zip(shard.offsets, shard.sizes, strict=True)]
    pictures = [data for name, data in files if name.lower().endswith((".png", ".jpg")) and ".seg." not in name]
    assert set(kept) <= set(pictures)
    assert shard.images == sum(name.lower().endswith(".cls") for name, _ in files)
    assert all(key_at(shard.path, at) for at in shard.offsets)


GOOD = tar_of([("a.png", b"first"), ("a.cls", b"0"), ("b.png", b"second"), ("b.cls", b"1")])


@given(st.dictionaries(st.integers(0, len(GOOD) - 1), st.integers(0, 255), min_size=1, max_size=4), st.booleans())
@EACH_TIME_ANEW
def test_damaged_anywhere(tmp_path: Path, changes: dict[int, int], mend: bool) -> None:
    """Refused in one line, or read with as many images as there are in it; checksums are mended, or the first changed
    header would always be the end of it."""
    data = bytearray(GOOD)
    for at, value in changes.items():
        data[at] = value
    for block in range(0, len(data), 512) if mend else ():
        head = data[block : block + 512]
        if head[257:262] == b"ustar":
            total = sum(head[:148]) + sum(head[156:]) + 8 * 32
            data[block + 148 : block + 156] = b"%06o\0 " % total
    shard = read_or_refused(tmp_path, bytes(data))
    if shard is None:
        return
    ends = [at + size for at, size in zip(shard.offsets, shard.sizes, strict=True)]
    assert 1 <= shard.images <= 2
    assert max(ends) <= len(data)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header that claims a size, whatever follows."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def sparse(name: str, real: int) -> bytes:
    """A file of nothing but a hole, as GNU tar stores it."""
    block = bytearray(header(name, 0, tarfile.GNUTYPE_SPARSE))
    block[386:410] = b"%011o\0%011o\0" % (real, 0)
    block[483:495] = b"%011o\0" % real
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:]) + 8 * 32)
    return bytes(block)


END = b"\0" * 1024


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (header("a.png", 3 * 2**30) + END * 20, "'a.png' goes on behind its end"),
        (sparse("a.png", 3 * 2**30) + header("a.cls", 0) + END, "'a.png' is sparse"),
        (header("a.png", -512) + END, "is cut short or no tar file: "),
        (header("a.png", -(2**40)) + END, "is cut short or no tar file: "),
        (header("x", 2**40, tarfile.XHDTYPE) + END, "is cut short or no tar file: "),
        (header("x", 2**40, tarfile.GNUTYPE_LONGNAME) + END, "is cut short or no tar file: "),
        (tar_of([("a.png", b"1"), ("a.png", b"2"), ("a.cls", b"0")]), "'a' has png twice"),
        (tar_of([("a.png", b"1"), ("a.PNG", b"2"), ("a.cls", b"0")]), "'a' has png twice"),
        (tar_of([("a.png", b"1"), ("a.cls", b"9" * 19)]), "must be a class's number"),
        (tar_of([("a.png", b"1"), ("a.cls", b"0" * 10**6)]), "must be a class's number"),
    ],
)
def test_hostile_shards(tmp_path: Path, data: bytes, message: str) -> None:
    tracemalloc.start()
    assert message in refused(tmp_path, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


def test_an_image_that_is_too_large(tmp_path: Path) -> None:
    """The file holds as much as it claims, in a hole of the disk."""
    with (tmp_path / "0.tar").open("wb") as file:
        file.write(header("a.png", LARGEST_IMAGE + 1))
        file.seek(512 + (LARGEST_IMAGE + 1 + 511) // 512 * 512)
        file.write(tar_of([("a.cls", b"0")]))
    with pytest.raises(UsageError, match=r"'a' has 268,435,457 bytes; an image may have 268,435,456"):
        read_shards(tmp_path)
