import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib

import pytest

from tsnd_builder.archives import Limits, is_archive, unpack
from tsnd_builder.errors import ArchiveError

GIGABYTE = 10**9
SMALL = Limits(members=10, file_bytes=1_000_000, total_bytes=1_500_000)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "outer" / "out"


@pytest.fixture
def archive(tmp_path, out):
    """Write an archive; the folder around `out` exists and is empty."""
    out.parent.mkdir()

    def write(data):
        path = tmp_path / "archive"
        path.write_bytes(data)
        return path

    return write


def zip_of(*members):
    """Make a zip archive of (name or ZipInfo, bytes)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in members:
            file.writestr(name, data)
    return buffer.getvalue()


def zip_info(name, mode):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def deflated_zip_of(name, stream, *, claimed_bytes):
    """Make a zip archive of a deflate stream, whatever that holds."""
    data = bytearray(zip_of((name, stream)))
    central = data.rindex(b"PK\x01\x02")
    for method_at, size_at in ((8, 22), (central + 10, central + 24)):
        struct.pack_into("<H", data, method_at, zipfile.ZIP_DEFLATED)
        struct.pack_into("<L", data, size_at, claimed_bytes)
    return bytes(data)


def deflated_zeros(count):
    """Deflate zeros fast: one compressed megabyte, over and over."""
    compressor = zlib.compressobj(wbits=-15)
    million = compressor.compress(bytes(10**6)) + compressor.flush(zlib.Z_FULL_FLUSH)
    compressor = zlib.compressobj(wbits=-15)
    return million * (count // 10**6) + compressor.flush()


def tar_of(*members):
    """Make a tar archive of (name or TarInfo, bytes)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, data in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def tar_info(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def assert_nothing_outside(out):
    assert {path.name for path in out.parent.iterdir()} <= {out.name}
    assert not any(path.is_symlink() for path in out.rglob("*"))


@pytest.mark.parametrize(
    "data",
    [
        zip_of(("a/", b""), ("a/x.prototxt", b"text"), (r"a\b\y", b"weights")),
        tar_of(("a/x.prototxt", b"text"), ("./a//b/./y", b"weights")),
        gzip.compress(tar_of(("a/x.prototxt", b"text"), ("a/b/y", b"weights"))),
        bz2.compress(tar_of(("a/x.prototxt", b"text"), ("a/b/y", b"weights"))),
        lzma.compress(tar_of(("a/x.prototxt", b"text"), ("a/b/y", b"weights"))),
    ],
    ids=["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"],
)
def test_files_come_out_under_normal_names(archive, out, data):
    names = unpack(archive(data), out)

    assert sorted(names) == ["a/b/y", "a/x.prototxt"]
    assert (out / "a" / "x.prototxt").read_bytes() == b"text"
    assert (out / "a" / "b" / "y").read_bytes() == b"weights"


@pytest.mark.parametrize("make", [zip_of, tar_of])
@pytest.mark.parametrize(
    "name", ["/etc/x", "../x", "a/../../x", "a/..", r"..\x", r"\x", "C:/x", "a\nb", "x" * 300]
)
def test_names_that_lead_out_or_are_none_are_refused(archive, out, make, name):
    with pytest.raises(ArchiveError, match="whose name"):
        unpack(archive(make((name, b"data"))), out)
    assert_nothing_outside(out)


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_folders_may_not_nest_without_end(archive, out, make):
    with pytest.raises(ArchiveError, match="too long"):
        unpack(archive(make(("d/" * 40 + "x", b"data"))), out)


@pytest.mark.parametrize("mode", [0o120777, 0o060644, 0o020644, 0o010644])
def test_zip_members_that_are_links_or_devices_are_refused(archive, out, mode):
    data = zip_of((zip_info("x", mode), b"/etc/passwd"))

    with pytest.raises(ArchiveError, match="'x', which is a link or a device"):
        unpack(archive(data), out)
    assert_nothing_outside(out)


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.GNUTYPE_SPARSE,
    ],
)
def test_tar_members_that_are_links_or_devices_are_refused(archive, out, kind):
    data = tar_of((tar_info("x", kind, "/etc/passwd"), b""))

    with pytest.raises(ArchiveError, match="'x', which is a link or a device"):
        unpack(archive(data), out)
    assert_nothing_outside(out)


def test_a_link_cannot_redirect_a_later_member(archive, out):
    data = tar_of((tar_info("a", tarfile.SYMTYPE, ".."), b""), ("a/x", b"data"))

    with pytest.raises(ArchiveError, match="link"):
        unpack(archive(data), out)
    assert_nothing_outside(out)


@pytest.mark.parametrize("claimed_bytes", [GIGABYTE, 5])
def test_a_zip_bomb_stops_at_the_bytes_it_may_write(archive, out, claimed_bytes):
    data = deflated_zip_of("bomb", deflated_zeros(GIGABYTE), claimed_bytes=claimed_bytes)

    with pytest.raises(ArchiveError, match=r"more than 1000000 bytes|damaged"):
        unpack(archive(data), out, SMALL)
    assert sum(path.stat().st_size for path in out.rglob("*")) <= SMALL.file_bytes


def test_a_tar_bomb_stops_at_the_bytes_it_may_write(archive, out):
    info = tarfile.TarInfo("bomb")
    info.size = GIGABYTE
    data = gzip.compress(info.tobuf()) + gzip.compress(bytes(10**6)) * 1_000

    with pytest.raises(ArchiveError, match="more than 1000000 bytes"):
        unpack(archive(data), out, SMALL)
    assert sum(path.stat().st_size for path in out.rglob("*")) <= SMALL.file_bytes


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_tar_header_that_claims_a_gigabyte_is_not_read_into_memory(archive, out, kind):
    info = tar_info("long", kind)
    info.size = GIGABYTE
    data = gzip.compress(info.tobuf(tarfile.GNU_FORMAT)) + gzip.compress(bytes(10**6)) * 1_000

    with pytest.raises(ArchiveError, match="too large"):
        unpack(archive(data), out)


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_all_files_together_are_bounded(archive, out, make):
    data = make(("a", bytes(900_000)), ("b", bytes(900_000)))

    with pytest.raises(ArchiveError, match="'b', which is more than 600000 bytes"):
        unpack(archive(data), out, SMALL)


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_the_number_of_members_is_bounded(archive, out, make):
    data = make(*((str(number), b"") for number in range(11)))

    with pytest.raises(ArchiveError, match="more than 10 members"):
        unpack(archive(data), out, SMALL)


def test_a_huge_zip_directory_is_refused_before_it_is_read(archive, out):
    data = bytearray(zip_of(("x", b"data")))
    struct.pack_into("<L", data, len(data) - 10, 2**31)

    with pytest.raises(ArchiveError, match="too many members"):
        unpack(archive(data), out)


def test_a_zip64_archive_is_refused(archive, out):
    data = zip_of(("x", b"data"))
    locator = b"PK\x06\x07" + bytes(16)

    with pytest.raises(ArchiveError, match="zip64"):
        unpack(archive(data[:-22] + locator + data[-22:]), out)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("make", [zip_of, tar_of])
@pytest.mark.parametrize(
    ("names", "reason"),
    [(("x", "./x"), "twice"), (("x", "x/y"), "both"), (("x/y", "x"), "twice")],
)
def test_two_members_may_not_claim_one_name(archive, out, make, names, reason):
    with pytest.raises(ArchiveError, match=reason):
        unpack(archive(make(*((name, b"data") for name in names))), out)


def test_an_encrypted_member_is_refused(archive, out):
    data = bytearray(zip_of(("x", b"data")))
    for flags_at in (6, data.rindex(b"PK\x01\x02") + 8):
        data[flags_at] |= 1

    with pytest.raises(ArchiveError, match="encrypted"):
        unpack(archive(data), out)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_methods_without_a_memory_bound_are_refused(archive, out, method):
    info = zipfile.ZipInfo("x")
    info.compress_type = method

    with pytest.raises(ArchiveError, match="neither stored nor deflated"):
        unpack(archive(zip_of((info, b"data"))), out)


@pytest.mark.parametrize(
    "whole",
    [
        deflated_zip_of("x", zlib.compress(bytes(range(256)) * 40)[2:-4], claimed_bytes=10_240),
        gzip.compress(tar_of(("x", bytes(18_900)))),
        bz2.compress(tar_of(("x", bytes(18_900)))),
        lzma.compress(tar_of(("x", bytes(18_900)))),
        tar_of(("x", bytes(18_900))),
    ],
    ids=["zip", "gzip", "bzip2", "xz", "tar"],
)
def test_a_damaged_archive_is_an_error_wherever_it_ends(archive, out, whole):
    # A tar ends in padding, which it may lack; here that is less than its last third.
    for length in range(0, len(whole) * 2 // 3, max(1, len(whole) // 40)):
        with pytest.raises(ArchiveError, match=r"damaged|neither"):
            unpack(archive(whole[:length]), out.parent / str(length))


def test_a_wrong_checksum_is_an_error(archive, out):
    data = zip_of(("x", b"weights")).replace(b"weights", b"WEIGHTS")

    with pytest.raises(ArchiveError, match="damaged"):
        unpack(archive(data), out)


@pytest.mark.parametrize("data", [b"", b"<html>", b"layer {", bytes(600)])
def test_other_files_are_no_archives(archive, out, data):
    path = archive(data)

    assert not is_archive(path)
    with pytest.raises(ArchiveError, match="neither a zip nor a tar"):
        unpack(path, out)


def test_a_folder_that_cannot_be_made_is_not_the_archives_fault(archive, out):
    with pytest.raises(OSError, match="No such file"):
        unpack(archive(zip_of(("x", b"data"))), out / "missing" / "out")
