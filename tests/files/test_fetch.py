"""Published weights, fetched from a server on this machine that stalls, breaks off, lies, and knows ranges or not."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refnet.cli import main
from refnet.errors import FormatError, RequestError
from refnet.files import published
from refnet.files.containers import safetensors
from refnet.files.fetch import fetch, folder
from refnet.files.published import PUBLISHED, Published, find_published

pytest.importorskip("pooch")

STALL = 0.3  # seconds
CHUNK = 8192  # bytes: what of a broken answer is not a whole chunk is asked for again


class Server:
    """Serves one file: how, the tests say. `asked` are the Range headers that came."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.status = 200
        self.ranges = True
        self.breaks: list[int] = []  # after how many bytes each of the next answers breaks off
        self.stalls = False
        self.length = ""  # what it says, instead of the truth
        self.endless = False
        self.version = ""  # its ETag; a range of another one is not served
        self.most = 1 << 30  # bytes of an answer to a request for a range, which ends well
        self.drips = False
        self.redirect = ""
        self.asked: list[str | None] = []
        self.over = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/weights.pth"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.asked.append(asked)
        begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        if self.redirect:
            request.send_response(302)
            request.send_header("Location", self.redirect)
            request.end_headers()
            return
        if request.headers.get("If-Range", self.version) != self.version:
            begin = 0
        if self.status != 200 or begin >= len(self.data):
            request.send_error(self.status if self.status != 200 else 416)
            return
        body = self.data[begin:][: self.most if begin else None]
        request.send_response(206 if begin else 200)
        if begin:
            request.send_header("Content-Range", f"bytes {begin}-{begin + len(body) - 1}/{len(self.data)}")
        if self.version:
            request.send_header("ETag", self.version)
        if not self.endless and self.length != "none":
            request.send_header("Content-Length", self.length or str(len(body)))
        request.end_headers()
        while self.endless:
            try:
                request.wfile.write(bytes(1 << 16))
            except OSError:
                return
        with contextlib.suppress(OSError):
            while self.drips and not self.over.wait(0.05):
                request.wfile.write(b"\0")
        count = self.breaks.pop(0) if self.breaks else len(body)
        with contextlib.suppress(OSError):
            request.wfile.write(body[:count])
            request.wfile.flush()
            if self.stalls:
                self.over.wait(20)
            request.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = tmp_path / "made"
    safetensors.write(made, {"w": np.arange(100_000, dtype=np.float32)})
    server = Server(made.read_bytes())
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.over.set()
    server.http.shutdown()
    server.http.server_close()
    thread.join()


@pytest.fixture
def entry(server: Server) -> Published:
    digest = hashlib.sha256(server.data).hexdigest()
    return Published("torchvision/mobilenet_v2", "weights-of-it.pth", server.url, f"sha256:{digest[:8]}")


def left(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


def test_a_file_is_fetched_once(tmp_path: Path, server: Server, entry: Published) -> None:
    path = fetch(entry, tmp_path / "new" / "cache")
    assert path == tmp_path / "new" / "cache" / "weights-of-it.pth"
    assert path.read_bytes() == server.data
    assert fetch(entry, tmp_path / "new" / "cache") == path
    assert server.asked == [None]
    assert left(path.parent) == [path.name]


def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path, server: Server, entry: Published) -> None:
    server.breaks = [12 * CHUNK, 18 * CHUNK]
    path = fetch(entry, tmp_path / "cache")
    assert path.read_bytes() == server.data
    assert server.asked == [None, f"bytes={12 * CHUNK}-", f"bytes={30 * CHUNK}-"]


def test_a_server_that_goes_on_for_ever_is_left(
    tmp_path: Path, server: Server, entry: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refnet.files.fetch._LARGEST", 1 << 20)
    server.endless = True
    with pytest.raises(FormatError, match="sends more than 1 MiB"):
        fetch(entry, tmp_path / "cache")
    assert left(tmp_path / "cache") == []


@pytest.mark.parametrize("length", ["many", "-5", "9" * 5000])
def test_a_length_that_is_none_is_a_broken_connection(
    tmp_path: Path, server: Server, entry: Published, length: str
) -> None:
    server.length = length
    with pytest.raises((RequestError, FormatError), match="get it elsewhere and put it at"):
        fetch(entry, tmp_path / "cache")


def test_a_length_beyond_every_published_file_is_not_fetched(tmp_path: Path, server: Server, entry: Published) -> None:
    server.length = str(1 << 40)
    with pytest.raises(FormatError, match="sends more than 256 MiB"):
        fetch(entry, tmp_path / "cache")


@pytest.mark.parametrize("name", ["weights-of-it.pth", "weights-of-it.pth.part"])
def test_a_pipe_in_the_cache_is_refused(tmp_path: Path, entry: Published, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(RequestError, match="exists and is no file"):
        fetch(entry, tmp_path)


def test_another_run_goes_on_where_one_stopped(tmp_path: Path, server: Server, entry: Published) -> None:
    server.breaks = [CHUNK, 0]
    with pytest.raises(RequestError, match="no connection, or it breaks; get it elsewhere and put it at "):
        fetch(entry, tmp_path / "cache")
    assert left(tmp_path / "cache") == ["weights-of-it.pth.part"]
    assert fetch(entry, tmp_path / "cache").read_bytes() == server.data
    assert server.asked[-1] == f"bytes={CHUNK}-"
    assert left(tmp_path / "cache") == ["weights-of-it.pth"]


def test_a_server_that_ignores_ranges_starts_over(tmp_path: Path, server: Server, entry: Published) -> None:
    server.breaks, server.ranges = [12 * CHUNK], False
    assert fetch(entry, tmp_path / "cache").read_bytes() == server.data
    assert server.asked == [None, f"bytes={12 * CHUNK}-"]


def test_what_another_file_left_is_no_beginning_of_this_one(tmp_path: Path, server: Server, entry: Published) -> None:
    (tmp_path / "cache").mkdir()
    part = tmp_path / "cache" / "weights-of-it.pth.part"
    part.write_bytes(bytes(len(server.data) + 5))  # longer than the file: the server says 416
    assert fetch(entry, tmp_path / "cache").read_bytes() == server.data
    part.write_bytes(bytes(10))
    (tmp_path / "cache" / "weights-of-it.pth").unlink()
    with pytest.raises(FormatError, match="has the sha256"):
        fetch(entry, tmp_path / "cache")
    assert fetch(entry, tmp_path / "cache").read_bytes() == server.data  # the wrong beginning is gone


def test_a_whole_download_that_has_not_its_name_yet_is_taken(tmp_path: Path, server: Server, entry: Published) -> None:
    (tmp_path / "weights-of-it.pth.part").write_bytes(server.data)
    assert fetch(entry, tmp_path).read_bytes() == server.data
    assert server.asked == []


def test_a_stalling_server_is_given_up(tmp_path: Path, server: Server, entry: Published) -> None:
    server.stalls, server.breaks = True, [0]
    with pytest.raises(RequestError, match=r"the server stalls; get it elsewhere .* \(its sha256 begins with "):
        fetch(entry, tmp_path / "cache", stall=STALL)
    assert not (tmp_path / "cache" / "weights-of-it.pth").exists()


def test_a_missing_file_is_said_with_where_to_put_it(tmp_path: Path, server: Server, entry: Published) -> None:
    server.status = 404
    with pytest.raises(RequestError, match="the server says 404 Not Found; get it elsewhere and put it at") as caught:
        fetch(entry, tmp_path / "cache")
    assert str(tmp_path / "cache" / "weights-of-it.pth") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert left(tmp_path / "cache") == []


def test_another_file_is_refused_and_taken_away(tmp_path: Path, server: Server, entry: Published) -> None:
    server.data = server.data[:-1] + b"!"
    with pytest.raises(FormatError, match=r"what came has the sha256 \w{8}, not \w{8}; get it elsewhere"):
        fetch(entry, tmp_path / "cache")
    assert left(tmp_path / "cache") == []


def test_a_page_in_place_of_a_file_without_a_hash_is_refused(tmp_path: Path, server: Server, entry: Published) -> None:
    entry = entry._replace(digest="")
    server.data = b"<html>please sign in</html>"
    with pytest.raises(FormatError, match="what came is no file of weights"):
        fetch(entry, tmp_path / "cache")
    assert left(tmp_path / "cache") == []


def test_an_md5_is_checked_too(tmp_path: Path, server: Server, entry: Published) -> None:
    entry = entry._replace(digest=f"md5:{hashlib.md5(server.data).hexdigest()}")
    assert fetch(entry, tmp_path / "cache").exists()
    with pytest.raises(RequestError, match="has the md5"):
        fetch(entry._replace(digest="md5:" + 32 * "0"), tmp_path / "cache")


def test_without_a_network_it_says_where_to_put_the_file(tmp_path: Path, server: Server, entry: Published) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and nobody listens
        entry = entry._replace(url=f"http://127.0.0.1:{unused.getsockname()[1]}/weights.pth")
        with pytest.raises(RequestError, match="no connection, or it breaks; get it elsewhere and put it at"):
            fetch(entry, tmp_path / "cache")
    (tmp_path / "cache" / "weights-of-it.pth").write_bytes(server.data)  # by hand
    assert fetch(entry, tmp_path / "cache").read_bytes() == server.data


def test_a_file_of_that_name_that_is_another_stays(tmp_path: Path, server: Server, entry: Published) -> None:
    path = tmp_path / "weights-of-it.pth"
    path.write_bytes(b"mine")
    with pytest.raises(RequestError, match="take it away, or fetch to another folder"):
        fetch(entry, tmp_path)
    assert path.read_bytes() == b"mine"
    assert server.asked == []


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFNET_CACHE", str(tmp_path / "here"))
    assert folder() == tmp_path / "here"
    monkeypatch.delenv("REFNET_CACHE")
    assert folder().name == "refnet"


def test_a_missing_pooch_is_said(tmp_path: Path, entry: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(RequestError, match=r"needs pooch: pip install 'refnet\[tools\]'"):
        fetch(entry, tmp_path)


def test_the_command_prints_the_path(
    tmp_path: Path, entry: Published, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(published, "PUBLISHED", (entry,))
    monkeypatch.setenv("REFNET_CACHE", str(tmp_path / "cache"))
    assert main(["fetch", "mobilenet_v2"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'cache' / 'weights-of-it.pth'}\n"
    assert main(["fetch", "mobilenet_v2", "--release", "V9"]) == 2
    assert "there are torchvision/mobilenet_v2" in capsys.readouterr().err


def test_the_latest_weights_of_a_model_are_found_by_its_name() -> None:
    assert find_published("torchvision/mobilenet_v2").release == "V2"
    assert find_published("mobilenet_v2", release="V1").digest == "sha256:b0353104"
    assert find_published("keras/MobileNet", width=0.25, size=(128, 128)).file == "mobilenet_2_5_128_tf.h5"
    with pytest.raises(RequestError, match="no weights of 'alexnet' are published: there are those of torchvision/"):
        find_published("alexnet")


def test_every_published_file_has_a_name_of_its_own() -> None:
    assert len({entry.file for entry in PUBLISHED}) == len(PUBLISHED)
    assert all(entry.url.startswith("https://") and entry.url.endswith(entry.file) for entry in PUBLISHED)


@pytest.fixture
def unknown(entry: Published) -> Published:
    """The same file, of whose hash nothing is known."""
    return entry._replace(digest="")


def test_a_short_range_is_no_whole_file(tmp_path: Path, server: Server, unknown: Published) -> None:
    server.version, server.breaks, server.most = '"1"', [10 * CHUNK], 15 * CHUNK
    assert fetch(unknown, tmp_path).read_bytes() == server.data
    assert len(server.asked) == 4


def test_a_resume_of_another_version_starts_over(
    tmp_path: Path, server: Server, unknown: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.version, server.breaks = '"1"', [10 * CHUNK]
    safetensors.write(tmp_path / "other", {"w": np.ones(100_000, np.float32)})
    other, answer = (tmp_path / "other").read_bytes(), server.answer

    def changing(request: BaseHTTPRequestHandler) -> None:
        answer(request)
        server.version, server.data = '"2"', other

    monkeypatch.setattr(server, "answer", changing)
    assert fetch(unknown, tmp_path / "cache").read_bytes() == other


def test_without_a_version_nothing_is_resumed(tmp_path: Path, server: Server, unknown: Published) -> None:
    server.breaks = [10 * CHUNK]
    (tmp_path / "weights-of-it.pth.part").write_bytes(b"another file's beginning")
    assert fetch(unknown, tmp_path).read_bytes() == server.data
    assert server.asked == [None, None]


def test_an_answer_without_a_length_is_not_believed(tmp_path: Path, server: Server, unknown: Published) -> None:
    server.length, server.breaks = "none", [10 * CHUNK] * 9
    with pytest.raises(RequestError, match="no connection, or it breaks"):
        fetch(unknown, tmp_path / "cache")
    assert not left(tmp_path / "cache")


def test_a_file_of_the_right_length_that_is_damaged_is_refused(
    tmp_path: Path, server: Server, unknown: Published
) -> None:
    server.data = server.data[:8] + b"{" * (len(server.data) - 8)
    with pytest.raises(FormatError, match="is no file of weights"):
        fetch(unknown, tmp_path / "cache")
    assert not left(tmp_path / "cache")


def test_a_dripping_server_is_given_up(tmp_path: Path, server: Server, entry: Published) -> None:
    server.drips = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("refnet.files.fetch._CONNECT", 1.0)
        with pytest.raises(RequestError, match="the server stalls"):
            fetch(entry, tmp_path / "cache", stall=STALL)


@pytest.mark.parametrize("to", ["http://[::1", "http://", "file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_a_redirect_to_no_address_is_no_connection(tmp_path: Path, server: Server, entry: Published, to: str) -> None:
    server.redirect = to
    with pytest.raises(RequestError, match="no connection, or it breaks"):
        fetch(entry, tmp_path / "cache")


@pytest.mark.parametrize("digest", [True, False])
def test_twelve_fetches_at_once_all_get_the_file(
    tmp_path: Path, server: Server, entry: Published, unknown: Published, digest: bool
) -> None:
    with ThreadPoolExecutor(12) as pool:
        made = list(pool.map(lambda _: fetch(entry if digest else unknown, tmp_path / "cache"), range(12)))
    assert {path.read_bytes() for path in made} == {server.data}
    assert server.asked == [None]
    assert left(tmp_path / "cache") == ["weights-of-it.pth"]


def test_without_a_home_it_says_how_to_name_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "REFNET_CACHE"):
        monkeypatch.delenv(name, raising=False)

    def nobody(_: int) -> None:
        raise KeyError("getpwuid(): uid not found: 54321")

    pwd = pytest.importorskip("pwd")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(RequestError, match="set REFNET_CACHE, or say where with --to"):
        folder()
