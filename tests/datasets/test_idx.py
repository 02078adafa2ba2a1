import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastfcn.datasets import IDXError, read_images, read_labels
from image_files import idx_bytes

IMAGES = np.arange(3 * 4 * 5).reshape(3, 4, 5)
LABELS = np.array([7, 0, 255])


@pytest.fixture(params=[False, True], ids=["plain", "gzipped"])
def write(request, tmp_path):
    def write(content: bytes) -> Path:
        path = tmp_path / "some-idx-ubyte"
        path.write_bytes(gzip.compress(content) if request.param else content)
        return path

    return write


def test_images_are_one_row_of_bytes_each(write):
    images = read_images(write(idx_bytes(IMAGES)))
    assert images.dtype == np.uint8
    assert images.flags.writeable
    np.testing.assert_array_equal(images, IMAGES.reshape(3, 20))


def test_labels_are_int64(write):
    labels = read_labels(write(idx_bytes(LABELS)))
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, LABELS)


def test_a_file_larger_than_one_chunk_is_read_whole(write):
    images = np.random.default_rng(0).integers(0, 256, (3, 701, 701), dtype=np.uint8)
    np.testing.assert_array_equal(read_images(write(idx_bytes(images))), images.reshape(3, -1))


def test_no_images_are_an_empty_array(write):
    assert read_images(write(idx_bytes(np.empty((0, 28, 28))))).shape == (0, 784)


def test_compression_is_told_by_content_and_not_by_name(tmp_path):
    plain, packed = tmp_path / "labels.gz", tmp_path / "labels"
    plain.write_bytes(idx_bytes(LABELS))
    packed.write_bytes(gzip.compress(idx_bytes(LABELS)))
    np.testing.assert_array_equal(read_labels(plain), read_labels(packed))


def header(magic: bytes, *sizes: int) -> bytes:
    return magic + struct.pack(f">{len(sizes)}I", *sizes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x00\x00\x08", "is truncated: its header ends after 3 bytes"),
        (header(b"\0\0\x08\x03", 1, 2), "is truncated: its header ends after 12 bytes"),
        (header(b"\x89PNG", 1, 2, 2) + bytes(4), "is not an IDX file"),
        (header(b"\0\0\x0d\x03", 1, 2, 2) + bytes(16), "got 32-bit floats .type 0x0d"),
        (header(b"\0\0\x77\x03", 1, 2, 2) + bytes(4), "an unknown type .type 0x77"),
        (header(b"\0\0\x08\x01", 4) + bytes(4), "must hold images .3 dimensions., got 1 "),
        (header(b"\0\0\x08\x03", 2, 2, 2) + bytes(7), "is truncated: .* 2 x 2 x 2 = 8 bytes"),
        (header(b"\0\0\x08\x03", 2, 3, 2) + bytes(8), "is truncated: .* 2 x 3 x 2 = 12 bytes"),
        (header(b"\0\0\x08\x03", 2, 2, 2) + bytes(9), "has trailing bytes"),
        (header(b"\0\0\x08\x03", 2**32 - 1, 2**32 - 1, 2**32 - 1) + bytes(9), "is too large"),
    ],
)
def test_a_damaged_file_is_refused_by_name(write, content, message):
    path = write(content)
    with pytest.raises(IDXError, match=message) as caught:
        read_images(path)
    assert str(path) in str(caught.value)


def test_labels_are_not_read_from_images(write):
    with pytest.raises(IDXError, match=r"must hold labels \(1 dimensions\), got 3 dim"):
        read_labels(write(idx_bytes(IMAGES)))


@pytest.mark.parametrize("cut", [1, 5, 9, 15, -9, -8, -1])
def test_a_cut_gzip_file_is_refused(tmp_path, cut):
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(idx_bytes(IMAGES))[:cut])
    with pytest.raises(IDXError, match="cut.gz"):
        read_images(path)


def test_a_wrong_checksum_is_refused(tmp_path):
    content = bytearray(gzip.compress(idx_bytes(IMAGES)))
    content[-8] ^= 1
    path = tmp_path / "flipped.gz"
    path.write_bytes(content)
    with pytest.raises(IDXError, match="flipped.gz is not a valid gzip file"):
        read_images(path)


def test_a_missing_file_is_the_systems_own_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_images(tmp_path / "nowhere")


def peak_memory_of_refusing(path: Path, message: str) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(IDXError, match=message):
            read_images(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_costs_no_more_memory_than_its_header_claims(tmp_path):
    path = tmp_path / "bomb.gz"
    bomb = header(b"\0\0\x08\x03", 1, 2, 2) + bytes(200_000_000)
    path.write_bytes(gzip.compress(bomb, compresslevel=9))
    del bomb
    assert peak_memory_of_refusing(path, "has trailing bytes") < 2_000_000


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_a_small_file_that_claims_much_costs_no_memory(tmp_path, pack):
    path = tmp_path / "boast"
    path.write_bytes(pack(header(b"\0\0\x08\x03", 1000, 1000, 1000) + bytes(100)))
    assert peak_memory_of_refusing(path, "more than the file can hold") < 2_000_000


def test_the_claim_is_bounded_by_the_caller(write):
    path = write(idx_bytes(IMAGES))
    assert len(read_images(path, max_bytes=60)) == 3
    with pytest.raises(IDXError, match="3 x 4 x 5 = 60 bytes, at most 59 are accepted"):
        read_images(path, max_bytes=59)


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_any_bytes_are_read_or_refused(tmp_path_factory, data):
    content = bytearray(idx_bytes(IMAGES))
    if data.draw(st.booleans()):
        content = bytearray(data.draw(st.binary(max_size=64)))
    packed = data.draw(st.booleans())
    if packed and data.draw(st.booleans()):  # damage before packing, or after
        content = bytearray(gzip.compress(content, mtime=0))
        packed = False
    for _ in range(data.draw(st.integers(0, 4))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))] + data.draw(st.binary(max_size=3))
    path = tmp_path_factory.getbasetemp() / "fuzzed-idx-ubyte"
    path.write_bytes(gzip.compress(content) if packed else content)
    for read in (read_images, read_labels):
        try:
            values = read(path, max_bytes=1 << 16)
        except IDXError as error:
            assert "fuzzed-idx-ubyte" in str(error)
        else:
            assert values.size <= 1 << 16


@settings(deadline=None, max_examples=50)
@given(
    shape=st.tuples(st.integers(0, 5), st.integers(0, 7), st.integers(0, 7)),
    packed=st.booleans(),
)
def test_every_shape_survives_the_round_trip(tmp_path_factory, shape, packed):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path_factory.getbasetemp() / "round-trip-idx-ubyte"
    content = idx_bytes(images)
    path.write_bytes(gzip.compress(content) if packed else content)
    rows = images.reshape(shape[0], shape[1] * shape[2])
    np.testing.assert_array_equal(read_images(path), rows)
