"""What the reader tells of the file of a kernel module."""

import gzip
import lzma
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewatch_reader import modules
from storewatch_reader.modules import module, vermagic
from storewatch_reader.roots import Roots

FLAGS = "SMP preempt mod_unload modversions "
SIGNATURE = b"\x00" * 300 + b"~Module signature appended~\n"
KERNEL = "6.1.0-56-amd64"


def built_for(version: str, *, is_signed: bool = False) -> bytes:
    """Return a file of the form of a module: what modinfo reads stands in it between zeros."""
    words = [b"license=GPL", b"depends=", f"vermagic={version} {FLAGS}".encode(), b"name=scst"]
    content = b"\x7fELF" + bytes(60) + b"\0".join(words) + b"\0" + bytes(500)
    return content + SIGNATURE if is_signed else content


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    return Roots(modules=os.fspath(tmp_path))


def install(roots: Roots, path: str, content: bytes) -> None:
    place = Path(roots.modules, KERNEL)
    (place / path).parent.mkdir(parents=True, exist_ok=True)
    (place / path).write_bytes(content)
    with (place / "modules.dep").open("a") as file:
        file.write(f"{path}: kernel/lib/crc.ko\n")


def zstd(content: bytes) -> bytes:
    done = subprocess.run(["zstd", "-qc"], input=content, capture_output=True, check=True)
    return done.stdout


@pytest.mark.parametrize(
    ("ending", "packed"),
    [
        ("ko", bytes),
        ("ko.xz", lzma.compress),
        ("ko.gz", gzip.compress),
        ("ko.zst", zstd),
    ],
)
@pytest.mark.parametrize("is_signed", [False, True])
def test_a_module_says_what_it_was_built_for_and_whether_it_is_signed(
    roots: Roots, ending: str, packed: Callable[[bytes], bytes], is_signed: bool
) -> None:
    install(roots, f"kernel/fs/ext4.{ending}", packed(built_for(KERNEL, is_signed=True)))
    content = built_for("6.1.0-9-amd64", is_signed=is_signed)
    install(roots, f"updates/dkms/scst.{ending}", packed(content))
    assert module(roots, f"{KERNEL}/scst") == {
        "exists": True,
        "vermagic": f"6.1.0-9-amd64 {FLAGS}".strip(),
        "of_kernel": f"{KERNEL} {FLAGS}".strip(),
        "is_signed": is_signed,
        "is_weak": False,
    }


def test_one_that_weak_modules_linked_in_is_told(roots: Roots) -> None:
    install(roots, "weak-updates/scst.ko", built_for("5.14.0"))
    found = module(roots, f"{KERNEL}/scst")
    assert (found["is_weak"], found["of_kernel"]) == (True, None)


def test_one_that_is_not_there_is_an_answer(roots: Roots) -> None:
    assert module(roots, f"{KERNEL}/scst") == {"exists": False}
    install(roots, "updates/scst.ko", b"")
    assert module(roots, f"{KERNEL}/mhvtl") == {"exists": False}
    Path(roots.modules, KERNEL, "updates/scst.ko").unlink()
    assert module(roots, f"{KERNEL}/scst") == {"exists": False}


@pytest.mark.parametrize("ending", ["ko.xz", "ko.gz", "ko.zst"])
@pytest.mark.parametrize("keep", [0, 1, 40, 100])
def test_one_that_cannot_be_unpacked_says_nothing(roots: Roots, ending: str, keep: int) -> None:
    packers: dict[str, Callable[[bytes], bytes]] = {
        "ko.xz": lzma.compress,
        "ko.gz": gzip.compress,
        "ko.zst": zstd,
    }
    packed = packers[ending](built_for(KERNEL, is_signed=True))
    install(roots, f"updates/scst.{ending}", packed[:keep])
    found = module(roots, f"{KERNEL}/scst")
    assert (found["vermagic"], found["is_signed"]) == (None, None)


def test_where_there_is_no_zstd_nothing_is_known_of_such_a_file(tmp_path: Path) -> None:
    roots = Roots(modules=os.fspath(tmp_path), path=os.fspath(tmp_path))
    install(roots, "updates/scst.ko.zst", zstd(built_for(KERNEL)))
    assert module(roots, f"{KERNEL}/scst")["vermagic"] is None


def test_one_that_is_too_long_is_not_looked_at(
    roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modules, "FILE_BYTES", 400)
    whole = built_for(KERNEL, is_signed=True)
    packed = {"ko": whole, "ko.xz": lzma.compress(whole), "ko.gz": gzip.compress(whole)}
    for ending, content in packed.items():
        install(roots, f"updates/{ending[3:]}mhvtl.{ending}", content)
        assert module(roots, f"{KERNEL}/{ending[3:]}mhvtl")["is_signed"] is None


@given(st.binary(max_size=300))
def test_of_any_bytes_nothing_is_made_up(content: bytes) -> None:
    found = vermagic(content)
    assert found is None or b"vermagic=" in content


@given(st.integers(0, 900), st.integers(0, 899), st.integers(0, 7))
def test_a_damaged_file_names_its_kernel_or_none_or_is_no_module(
    length: int, place: int, bit: int
) -> None:
    content = built_for(KERNEL)
    found = vermagic(content[:length])
    assert found in (None, f"{KERNEL} {FLAGS}".strip())
    damaged = bytearray(content)
    damaged[place % len(damaged)] ^= 1 << bit
    found = vermagic(bytes(damaged))
    assert found is None or len(found) <= len(f"{KERNEL} {FLAGS}name=scst")
