import fcntl
import hashlib
import io
import json
import os
import socket
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tsnd_builder.__main__ import main
from tsnd_builder.errors import FetchError
from tsnd_builder.fetch import LOCK_FILE, fetch, list_published
from tsnd_builder.published import PUBLISHED

NAME = "kinetics/bn_inception_rgb"
ARCHIVE = "bn_inception_kinetics_rgb_pretrained.zip"
FOLDER = "bn_inception_kinetics_rgb_pretrained"
REFERENCE = "ucf101/bn_inception_flow_split_2"
WEIGHTS = os.urandom(300_000)
"""What no compression makes smaller, so that a download takes several reads."""


def model_zip(weights=WEIGHTS, **more):
    members = {"m/bn_deploy.prototxt": b'name: "net"', "m/bn.caffemodel": weights, **more}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in members.items():
            file.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Server(ThreadingHTTPServer):
    """A server that clients may hang up on without a word in the log."""

    def handle_error(self, *_):
        pass


class Site:
    """What the server has and how it behaves.

    Attributes:
        files: Contents by path.
        headers: Sent with every file; an ETag or a date makes it one that can be continued.
        has_ranges: Whether it answers a part of a file when asked for it.
        cut_at: Bytes of a body after which it hangs up, for the next answer only.
        redirects: Where a path leads.
        statuses: What a path without a file is answered with, if not 404.
        stalls: Whether it never sends the body.
        log: Path and range of each request.
    """

    def __init__(self):
        self.files = {f"/{ARCHIVE}": model_zip()}
        self.headers = {"ETag": '"1"'}
        self.has_ranges = True
        self.cut_at = None
        self.redirects = {}
        self.statuses = {}
        self.stalls = False
        self.log = []
        self.url = ""
        self.end = threading.Event()

    def answer(self, request):
        wanted = request.headers.get("Range")
        self.log.append((request.path, wanted))
        if request.path in self.redirects:
            self.send(request, 302, {"Location": self.redirects[request.path]}, b"")
        elif request.path not in self.files:
            self.send(request, self.statuses.get(request.path, 404), {}, b"")
        else:
            self.send_file(request, self.files[request.path], wanted)

    def send_file(self, request, data, wanted):
        same = request.headers.get("If-Range") in self.headers.values()
        if not (wanted and same and self.has_ranges):
            return self.send(request, 200, self.headers, data)
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(data):
            return self.send(request, 416, {}, b"")
        span = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self.send(request, 206, {**self.headers, "Content-Range": span}, data[start:])

    def send(self, request, status, headers, body):
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        if self.stalls:
            self.end.wait()
        if body:
            cut, self.cut_at = self.cut_at, None
            request.wfile.write(body[:cut])


@pytest.fixture
def site(monkeypatch):
    """A web server on this machine; proxies of the environment are left out."""
    monkeypatch.setenv("no_proxy", "*")
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            site.answer(self)

        def log_message(self, *_):
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        site.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield site
        site.end.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def get(site, folder):
    """Fetch a model from the server; returns it with all that was reported."""

    def get_model(name=NAME, *, url=None, **options):
        lines: list[str] = []
        model = fetch(name, folder, url=url or site.url, report=lines.append, **options)
        return model, "\n".join(lines)

    return get_model


@pytest.fixture
def fails(get, folder):
    """Fetch and fail; returns the message, having checked that nothing half-written is there."""

    def fail(*args, **options):
        before = visible(folder)
        with pytest.raises(FetchError) as caught:
            get(*args, **options)
        assert visible(folder) == before
        return str(caught.value)

    return fail


def visible(folder):
    """List what has its final name, or is left of staging."""
    left = {path.name for path in folder.glob("*") if ".zip.part" not in path.name}
    return left - {".tsn-build.lock"}


def lock_of(folder):
    return json.loads((folder / LOCK_FILE).read_text())["files"]


def test_a_model_is_downloaded_unpacked_and_found(get, folder):
    model, said = get()

    assert model.weights.read_bytes() == WEIGHTS
    assert model.weights == folder / FOLDER / "m" / "bn.caffemodel"
    assert model.prototxt.read_text() == 'name: "net"'
    assert visible(folder) == {ARCHIVE, FOLDER, LOCK_FILE}
    assert not list(folder.glob("*.part*"))
    assert "downloading http://127.0.0.1" in said
    assert "100 % of 0.3 MB" in said
    assert f"build --prototxt {model.prototxt} --weights {model.weights}" in str(model)


def test_the_first_hash_is_trusted_aloud_and_noted(get, folder):
    _, said = get()

    digest = sha256(model_zip())
    assert f"no hash is known, so this one is trusted: sha256 {digest}" in said
    entry = lock_of(folder)[ARCHIVE]
    assert (entry["sha256"], entry["size_bytes"]) == (digest, len(model_zip()))
    assert entry["members"]["m/bn.caffemodel"] == sha256(WEIGHTS)


def test_a_second_fetch_needs_no_network(get, site):
    first, _ = get()
    site.log.clear()

    second, said = get(url="http://127.0.0.1:1/")
    assert second == first
    assert "already here" in said
    assert site.log == []


def test_an_archive_that_lost_its_folder_is_unpacked_again_without_network(get, site, folder):
    model, _ = get()
    (folder / FOLDER).rename(folder / "elsewhere")
    site.log.clear()

    assert get()[0] == model
    assert model.weights.read_bytes() == WEIGHTS
    assert site.log == []


def test_weights_and_prototxt_can_be_files_of_their_own(get, site, folder):
    weights = "ucf101_split_2_tsn_flow_reference_bn_inception.caffemodel.v5"
    prototxt = "ucf101_tsn_bn_inception_flow_deploy.prototxt"
    site.files = {f"/{weights}": WEIGHTS, f"/{prototxt}": b'name: "net"'}

    model, _ = get(REFERENCE, sha256=sha256(WEIGHTS))
    assert model.weights == folder / weights
    assert model.prototxt == folder / prototxt
    assert get(REFERENCE, url="http://127.0.0.1:1/")[0] == model


def test_an_address_without_a_slash_is_that_of_the_archive_itself(get, site):
    site.files = {"/any/name.bin": model_zip()}

    model, _ = get(url=f"{site.url}any/name.bin")
    assert model.weights.read_bytes() == WEIGHTS


def test_a_tar_archive_will_do_as_well(get, site):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name in ("x.prototxt", "x.caffemodel"):
            info = tarfile.TarInfo(name)
            info.size = len(name)
            file.addfile(info, io.BytesIO(name.encode()))
    site.files = {"/model.tar.gz": buffer.getvalue()}

    model, _ = get(url=f"{site.url}model.tar.gz")
    assert model.weights.read_text() == "x.caffemodel"


def test_a_folder_on_this_machine_is_a_mirror(get, tmp_path, folder):
    (tmp_path / ARCHIVE).write_bytes(model_zip())

    model, _ = get(url=f"{tmp_path.as_uri()}/")
    assert model.weights.read_bytes() == WEIGHTS
    assert not list(folder.glob("*.part*"))


def test_an_archive_put_there_by_hand_is_used(get, site, folder):
    folder.mkdir()
    (folder / ARCHIVE).write_bytes(model_zip())

    model, said = get()
    assert model.weights.read_bytes() == WEIGHTS
    assert "this one is trusted" in said
    assert site.log == []


def test_an_interrupted_download_goes_on_where_it_ended(get, fails, site, folder):
    site.cut_at = 200_000
    message = fails()
    assert f"ended after 200000 of {len(model_zip())} bytes. Run the command again" in message
    assert (folder / f"{ARCHIVE}.part").stat().st_size == 200_000

    model, said = get()
    assert model.weights.read_bytes() == WEIGHTS
    assert site.log[-1] == (f"/{ARCHIVE}", "bytes=200000-")
    assert "going on at 0.2 MB" in said


def test_a_download_can_be_interrupted_more_than_once(get, fails, site):
    for _ in range(3):
        site.cut_at = 90_000
        fails()

    assert get()[0].weights.read_bytes() == WEIGHTS
    assert [wanted for _, wanted in site.log] == [
        None,
        "bytes=90000-",
        "bytes=180000-",
        "bytes=270000-",
    ]


def test_a_whole_part_is_not_asked_for_again(get, site, folder, fails):
    site.cut_at = 200_000
    fails()
    with (folder / f"{ARCHIVE}.part").open("ab") as part:
        part.write(model_zip()[200_000:])
    site.log.clear()

    assert get()[0].weights.read_bytes() == WEIGHTS
    assert site.log == []


@pytest.mark.parametrize("change", ["etag", "size", "no ranges", "no longer that long", "date"])
def test_a_download_starts_over_when_the_rest_is_not_to_be_had(get, fails, site, folder, change):
    if change == "date":
        site.headers = {"Last-Modified": "Mon, 04 Sep 2017 10:00:00 GMT"}
    site.cut_at = 200_000
    fails()
    weights = WEIGHTS[::-1]
    match change:
        case "etag":
            site.headers = {"ETag": '"2"'}
        case "date":
            site.headers = {"Last-Modified": "Tue, 05 Sep 2017 10:00:00 GMT"}
        case "size":
            weights += b"more"
        case "no ranges":
            site.has_ranges = False
        case "no longer that long":
            weights = weights[:1000]
    site.files = {f"/{ARCHIVE}": model_zip(weights)}

    assert get()[0].weights.read_bytes() == weights


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"1"'}])
def test_a_file_that_cannot_be_told_from_another_is_not_continued(get, fails, site, headers):
    site.headers = headers
    site.cut_at = 200_000
    fails()

    assert get()[0].weights.read_bytes() == WEIGHTS
    assert [wanted for _, wanted in site.log] == [None, None]


def test_a_part_from_another_address_is_not_continued(get, fails, site):
    site.cut_at = 200_000
    fails()
    site.files["/other"] = model_zip()

    assert get(url=f"{site.url}other")[0].weights.read_bytes() == WEIGHTS
    assert site.log[-1] == ("/other", None)


def test_a_wrong_hash_removes_the_download(fails, folder):
    message = fails(sha256="0" * 64)

    assert f"has sha256 {sha256(model_zip())}, expected {'0' * 64} (--sha256)" in message
    assert "It was removed" in message
    assert not list(folder.glob("*.part*"))


def test_the_right_hash_is_accepted_in_capitals(get, folder):
    digest = sha256(model_zip())

    _, said = get(sha256=digest.upper())
    assert f"sha256 {digest} as asked for" in said
    assert lock_of(folder)[ARCHIVE]["sha256"] == digest


def test_another_file_than_the_first_is_refused_until_its_hash_is_given(get, fails, site, folder):
    get()
    for name in (ARCHIVE, FOLDER):
        (folder / name).rename(folder.parent / name)
    changed = model_zip(b"other weights")
    site.files = {f"/{ARCHIVE}": changed}

    message = fails()
    assert f"expected {sha256(model_zip())} (fetch.lock, when first fetched)" in message
    assert f"give --sha256 {sha256(changed)}" in message

    model, _ = get(sha256=sha256(changed))
    assert model.weights.read_bytes() == b"other weights"
    assert lock_of(folder)[ARCHIVE]["sha256"] == sha256(changed)


def test_files_that_changed_since_are_noticed_and_left_alone(get, fails):
    model, _ = get()
    model.weights.write_bytes(b"changed")

    assert "is not what was unpacked" in fails()
    assert model.weights.read_bytes() == b"changed"


def test_a_link_in_place_of_a_file_is_a_change(get, fails, folder):
    model, _ = get()
    model.weights.rename(folder.parent / "weights")
    model.weights.symlink_to(folder.parent / "weights")

    assert "is not what was unpacked" in fails()


def test_own_files_beside_the_model_are_no_change(get, folder):
    model, _ = get()
    (folder / FOLDER / "labels.txt").write_text("one\n")
    (folder / FOLDER / "mine.prototxt").write_text("")

    assert get()[0] == model


def test_a_folder_of_that_name_that_is_not_ours_is_left_alone(fails, folder):
    (folder / FOLDER).mkdir(parents=True)

    assert "Move it away" in fails()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"format": 2}', '{"format": 1, "files": {"x": {}}}']
)
def test_a_damaged_lock_is_an_error(fails, folder, text):
    folder.mkdir()
    (folder / LOCK_FILE).write_text(text)

    assert "fetch.lock is damaged" in fails()


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><p>moved", b"\n <html>", b"<?xml version='1'?>"])
def test_a_web_page_is_not_a_model(fails, site, folder, page):
    site.files = {f"/{ARCHIVE}": page}

    message = fails()
    assert "is a web page, not a model" in message
    assert "--url" in message
    assert not list(folder.glob("*.part*"))


@pytest.mark.parametrize("data", [b"", b"neither"])
def test_what_is_not_an_archive_is_an_error(fails, site, data):
    site.files = {f"/{ARCHIVE}": data}

    assert "is not a zip or tar archive" in fails()


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (404, "is not there, or not any more"),
        (410, "is not there, or not any more"),
        (403, "is not public"),
        (503, "was answered with status 503"),
    ],
)
def test_a_refusal_names_the_address_and_the_way_out(fails, site, status, meaning):
    site.files = {}
    site.statuses = {f"/{ARCHIVE}": status}

    message = fails()
    assert message.startswith(f"{site.url}{ARCHIVE} {meaning}")
    assert "Give a mirror with --url, or download the model by hand" in message


def test_a_host_that_refuses_is_an_error(fails):
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"

        assert "cannot be reached: it refuses connections" in fails(url=url)


def test_a_server_that_says_nothing_is_an_error(fails, site):
    site.stalls = True

    assert "broke off: it does not answer in time" in fails(read_timeout_s=0.1)


def test_a_connection_that_is_not_secure_is_an_error(fails, site):
    assert "the connection is not secure" in fails(url=site.url.replace("http:", "https:"))


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("file:///etc/passwd", "leads on to an address that is not followed (status 302)"),
        ("data:,x", "leads on to an address that is not followed (status 302)"),
        ("ftp://127.0.0.1/x", "cannot be reached: unknown url type: ftp"),
    ],
)
def test_a_redirection_leads_to_the_web_only(fails, site, target, reason):
    site.redirects = {f"/{ARCHIVE}": target}

    assert reason in fails()


def test_a_redirection_in_a_circle_ends(fails, site):
    site.redirects = {f"/{ARCHIVE}": f"/{ARCHIVE}"}

    assert "not followed" in fails()


def test_a_redirection_on_the_web_is_followed_when_continuing_too(get, fails, site):
    site.files = {"/there": model_zip()}
    site.redirects = {f"/{ARCHIVE}": "/there"}
    site.cut_at = 200_000
    fails()

    assert get()[0].weights.read_bytes() == WEIGHTS
    assert site.log[-1] == ("/there", "bytes=200000-")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/",
        "models/",
        "file://host/x/",
        "http:///x/",
        "http://[::1/",
        "http://h:port/",
        "http://h/ö/",
        "http://h/a b/",
    ],
)
def test_addresses_of_other_kinds_are_refused(fails, url):
    assert repr(url) in fails(url=url)


def test_a_file_larger_than_allowed_is_refused(fails, site):
    site.headers = {**site.headers, "Content-Length": str(10**12)}

    assert f"is {10**12} bytes, more than the" in fails()


def test_a_prototxt_without_an_end_is_stopped_at_its_bound(fails, site, folder):
    prototxt = "ucf101_tsn_bn_inception_flow_deploy.prototxt"
    model = PUBLISHED[REFERENCE]
    site.files = {f"/{model.main.name}": WEIGHTS, f"/{prototxt}": bytes(4 * 1024**2 + 1)}
    folder.mkdir()
    (folder / model.main.name).write_bytes(WEIGHTS)
    (folder / LOCK_FILE).write_text(
        json.dumps(
            {
                "format": 1,
                "files": {model.main.name: {"sha256": sha256(WEIGHTS), "size_bytes": 1, "url": ""}},
            }
        )
    )

    assert "more than the 4194304" in fails(REFERENCE)


def test_a_hostile_archive_leaves_nothing_behind(fails, site, folder):
    site.files = {f"/{ARCHIVE}": model_zip(**{"../../evil": b"x"})}

    message = fails()
    assert "has '../../evil', whose name leads out of the folder" in message
    assert {path.name for path in folder.iterdir()} == {".tsn-build.lock"}
    assert {path.name for path in folder.parent.iterdir()} == {"models"}


@pytest.mark.parametrize(
    "more",
    [{"m/second.caffemodel": b"x"}, {"m/other_deploy.prototxt": b"x"}],
)
def test_an_archive_that_leaves_a_choice_is_an_error(fails, site, more):
    site.files = {f"/{ARCHIVE}": model_zip(**more)}

    assert "expected one of each, among: m/bn.caffemodel" in fails()


def test_the_deploy_net_is_preferred_and_hidden_files_are_passed_over(get, site):
    more = {
        "m/train_val.prototxt": b"x",
        "__MACOSX/m/._deploy.prototxt": b"x",
        "m/._x.caffemodel": b"",
    }
    site.files = {f"/{ARCHIVE}": model_zip(**more)}

    assert get()[0].prototxt.name == "bn_deploy.prototxt"


def test_a_full_disk_is_an_error(fails, folder):
    folder.mkdir()
    (folder / f"{ARCHIVE}.part").symlink_to("/dev/full")

    message = fails()
    assert "No space left on device" in message
    assert ARCHIVE in message


def test_a_folder_that_cannot_be_made_is_an_error(fails, folder):
    folder.write_text("a file")

    assert "cannot write to" in fails()


def test_two_fetches_do_not_share_a_folder(fails, folder):
    folder.mkdir()
    with (folder / ".tsn-build.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        assert "another `tsn-build fetch` is at work" in fails()


def test_secrets_of_an_address_are_neither_shown_nor_kept(get, site, folder):
    site.files = {"/x?key=secret": model_zip()}

    _, said = get(url=f"{site.url}x?key=secret")
    assert "secret" not in said
    assert "secret" not in (folder / LOCK_FILE).read_text()


def test_an_unknown_name_is_answered_with_near_ones(fails):
    assert "did you mean kinetics/bn_inception_rgb" in fails("kinetics/bn_inception_rbg")
    assert "--list" in fails("?")


@pytest.mark.parametrize("digest", ["", "abc", "g" * 64, "0" * 65])
def test_what_is_no_hash_is_refused(fails, digest):
    assert "is not a SHA-256" in fails(sha256=digest)


def test_the_list_says_which_addresses_are_not_confirmed():
    lines = {line.split()[0]: line for line in list_published().splitlines()}

    assert list(lines) == list(PUBLISHED)
    for name, model in PUBLISHED.items():
        assert model.main.url in lines[name]
        assert ("not confirmed" in lines[name]) != model.confirmed


def test_published_files_have_names_of_their_own():
    urls: dict[str, set[str]] = {}
    for model in PUBLISHED.values():
        for file in model.files:
            urls.setdefault(file.name, set()).add(file.url)

    assert all(len(found) == 1 for found in urls.values())
    assert all(url.startswith("https://") for found in urls.values() for url in found)


def test_the_command_lists_the_published_models(capsys):
    assert main(["fetch", "--list"]) == 0

    assert "kinetics/inception_v3_flow" in capsys.readouterr().out


def test_the_command_ends_with_2_and_one_line_when_nothing_can_be_fetched(tmp_path, capsys):
    mirror = f"{tmp_path.as_uri()}/"

    status = main(
        ["fetch", "kinetics/bn_inception_rgb", "--out", str(tmp_path / "out"), "--url", mirror]
    )

    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("tsn-build: error: file://")
