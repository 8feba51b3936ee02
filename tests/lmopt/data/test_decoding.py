import codecs
import gzip
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmopt.data.decoding import decode, read_bytes, read_text

RUSSIAN = "текст,метка\nПодъём,да\n"


@given(
    st.text(st.sampled_from("abЁж中🙂\n\"';,"), max_size=20),
    st.sampled_from(
        [
            (codecs.BOM_UTF8, "utf-8"),
            (codecs.BOM_UTF16_LE, "utf-16-le"),
            (codecs.BOM_UTF16_BE, "utf-16-be"),
            (codecs.BOM_UTF32_LE, "utf-32-le"),
            (codecs.BOM_UTF32_BE, "utf-32-be"),
        ]
    ),
)
def test_a_byte_order_mark_names_the_encoding(text: str, marked: tuple[bytes, str]) -> None:
    mark, encoding = marked
    assert decode(mark + text.encode(encoding), None, name="x", section="task") == text


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "cp866", "utf-8", "utf-16", "utf-16-le"])
def test_a_named_encoding_is_used(encoding: str) -> None:
    assert decode(RUSSIAN.encode(encoding), encoding, name="x", section="task") == RUSSIAN


def test_another_encoding_is_refused_and_not_guessed() -> None:
    content = ("text,label\nfine,a\n" + RUSSIAN).encode("cp1251")
    with pytest.raises(ValueError, match=r"x\.csv is not UTF-8 \(line 3\).*cp1251.*task\.encoding"):
        decode(content, None, name="x.csv", section="task")
    with pytest.raises(ValueError, match="x is not ASCII"):
        decode(RUSSIAN.encode(), "ascii", name="x", section="task")
    with pytest.raises(ValueError, match=r"zero bytes.*utf-16-le"):
        decode("text,label".encode("utf-16-le"), None, name="x", section="task")


def test_files_are_read_compressed_or_not(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"inside"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("__MACOSX/._a.csv", "shadow")
        archive.writestr("folder/", "")
        archive.writestr("folder/a.csv", "inside")
    assert read_bytes(tmp_path / "a.csv.gz") == read_bytes(tmp_path / "a.zip") == b"inside"
    (tmp_path / "torn.csv.gz").write_bytes(gzip.compress(b"inside")[:-6])
    with pytest.raises(ValueError, match="cannot be decompressed"):
        read_bytes(tmp_path / "torn.csv.gz")
    (tmp_path / "b.csv").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    with pytest.raises(ValueError, match="git lfs pull"):
        read_bytes(tmp_path / "b.csv")


def test_a_few_stray_bytes_of_a_text_are_replaced_and_said(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"It costs \xa31 and no more, " * 1 + b"and so on and on. " * 20 + b"\r\n")
    text, stray = read_text(file, None, section="task")
    assert stray and text.startswith("It costs \ufffd1 and no more") and text.endswith(". \n")
    file.write_text("plain \ufffd already")
    assert read_text(file, None, section="task") == ("plain \ufffd already", False)
    file.write_bytes("Подъём".encode("cp1251"))
    with pytest.raises(ValueError, match=r"not UTF-8 \(line 1\).*task\.encoding"):
        read_text(file, None, section="task")
    assert read_text(file, "cp1251", section="task") == ("Подъём", False)
