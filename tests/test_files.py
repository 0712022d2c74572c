"""The doors: what comes in is within limits or one message, what goes out is whole or not there."""

import gzip
import io
import lzma
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import RECORDINGS

from mcsim import files
from mcsim.errors import UserError

RECORDING = RECORDINGS / "N_V0_64MB_j0_a.npz"


def npy(shape: tuple[int, ...], content: bytes, descr: str = "<i4") -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    return header.getvalue() + content


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


def test_arrays_are_what_numpy_reads() -> None:
    arrays = files.read_arrays(RECORDING)
    with np.load(RECORDING) as reference:
        assert sorted(arrays) == sorted(reference.files)
        for name, array in arrays.items():
            assert array.dtype == reference[name].dtype
            assert np.array_equal(array, reference[name])


def test_arrays_of_any_order_and_version_are_what_numpy_reads(tmp_path: Path) -> None:
    wanted = np.arange(12, dtype=np.int16).reshape(3, 4)
    np.savez(tmp_path / "a.npz", rows=wanted, columns=np.asfortranarray(wanted), none=np.zeros((0, 3)), one=np.array(7))
    arrays = files.read_arrays(tmp_path / "a.npz")
    assert np.array_equal(arrays["rows"], wanted)
    assert np.array_equal(arrays["columns"], wanted)
    assert arrays["none"].shape == (0, 3)
    assert arrays["one"] == 7


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (npy((2**40, 6), b""), "0 bytes for"),
        (npy((-1,), b""), "shape"),
        (npy((-1, -2), b"\0" * 8), "shape"),
        (npy((3,), b"\0" * 8), "8 bytes for 3"),
        (npy((1,), b"\0" * 8, "|O"), "no array of numbers"),
        (b"text", "magic"),
        (b"\x93NUMPY\x01\x00\x05\x00((((\n", "damaged"),
    ],
)
def test_an_array_that_is_not_what_its_header_says_is_refused(tmp_path: Path, member: bytes, words: str) -> None:
    with pytest.raises(UserError, match=words):
        files.read_arrays(archive(tmp_path / "a.npz", a=member))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", a=npy((1 << 20,), bytes(4 << 20)), b=npy((1 << 20,), bytes(4 << 20)))
    assert path.stat().st_size < 1 << 16
    with pytest.raises(UserError, match="more than any file"):
        files.read_arrays(path, limit=6 << 20)
    with pytest.raises(UserError, match="larger than"):
        files.read_bytes(path, limit=10)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_lines_are_read_from_plain_and_packed_files(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    (tmp_path / "lines").write_bytes(pack(b"one\n\ntwo"))
    assert list(files.read_lines(tmp_path / "lines")) == [(1, b"one\n"), (2, b"\n"), (3, b"two")]
    with pytest.raises(UserError, match=r"line 1: is longer than 2 bytes"):
        list(files.read_lines(tmp_path / "lines", line_limit=2))
    with pytest.raises(UserError, match="larger than 4 bytes when unpacked"):
        list(files.read_lines(tmp_path / "lines", limit=4))


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_packed_file_that_is_cut_off_is_one_message(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    (tmp_path / "lines").write_bytes(pack(os.urandom(1000))[:-20])
    with pytest.raises(UserError, match="cannot be read behind line"):
        list(files.read_lines(tmp_path / "lines"))


@pytest.mark.parametrize("text", ["x = " + "[" * 20_000, "x = " + "9" * 5000, "x = [", "\0"])
def test_toml_that_is_none_is_one_message(text: str) -> None:
    with pytest.raises(UserError, match="not valid TOML"):
        files.parse_toml(text, "file")


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "NaN", "{", '"\ud800'])
def test_json_that_is_none_is_one_message(text: str) -> None:
    with pytest.raises(UserError, match="not JSON"):
        files.parse_json(text, "file")


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "missing"])
def test_a_name_that_no_file_has_is_no_error_of_its_own(name: str) -> None:
    assert not files.is_file(name)
    assert not files.is_folder(name)
    with pytest.raises(UserError):
        files.read_text(name)


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("kept")
    (tmp_path / "table.txt").symlink_to(other)
    files.write_atomically(tmp_path / "table.txt", b"new")
    assert other.read_text() == "kept"
    assert (tmp_path / "table.txt").read_text() == "new"
    assert not (tmp_path / "table.txt").is_symlink()


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="cannot be written"), files.written(tmp_path / "folder"):
        files.write_atomically(tmp_path / "folder", b"")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("kept")
    files.temporary_name(tmp_path / "table.txt").symlink_to(other)
    files.write_atomically(tmp_path / "table.txt", b"new")
    assert other.read_text() == "kept"
    assert (tmp_path / "table.txt").read_text() == "new"


def test_files_are_written_with_their_folders_or_one_message(tmp_path: Path) -> None:
    paths = [tmp_path / "new" / "a", tmp_path / "new" / "b"]
    assert files.write_each(dict.fromkeys(paths, b"x")) == paths
    assert sorted((tmp_path / "new").iterdir()) == paths
    with pytest.raises(UserError, match="cannot be written"):
        files.write_each({tmp_path / "new" / "a" / "c": b"x"})


def test_no_cell_of_a_csv_file_is_a_formula() -> None:
    for text in ("=1+1", "+1", "-1", "@sum", "\t=1", "\n=1", " =1"):
        assert files.csv_safe(text).startswith("'")
    assert files.csv_safe("a\x1b\nb") == "a\\x1b b"
    frame = pl.DataFrame({"name": ["tail-free", "=1", None], "number": [-1, 2, 3]})
    assert files.csv_of(frame) == "name,number\ntail-free,-1\n'=1,2\n,3\n"
    assert files.csv_of(frame.head(0)) == "name,number\n"


def test_control_characters_are_shown_not_sent() -> None:
    assert files.printable("a\x1b]0;pwn\x07\x9b\u202e\nb\tö") == "a\\x1b]0;pwn\\x07\\x9b\\u202e\nb ö"


def test_a_text_of_a_file_adds_no_line_to_a_message() -> None:
    message = str(UserError("is 'a\nb'\n  a line of ours", file="x\ny", valid="c\nd"))
    assert message == "x\\ny: is 'a\\nb'\n  a line of ours\n  valid: c\\nd"


@pytest.mark.parametrize("write", [files.write_atomically, files.write_new])
def test_a_link_under_the_temporary_name_is_not_followed(tmp_path: Path, write: Callable[[Path, bytes], None]) -> None:
    other = tmp_path / "other"
    other.write_text("kept")
    files.temporary_name(tmp_path / "new").symlink_to(other)
    write(tmp_path / "new", b"new")
    assert other.read_text() == "kept"
    assert (tmp_path / "new").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "other"]
