import ipaddress
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from lastgood import guard
from lastgood.guard import BlockedUrl

#: names as a resolver that an attacker controls answers them
NAMES = {
    "api.example.com": ["93.184.215.14"],
    "v6.example.com": ["2606:2800:21f:cb07:6820:80da:af6b:8b2c"],
    "localhost": ["127.0.0.1", "::1"],
    "localhost.": ["127.0.0.1"],
    "rebind.example.com": ["10.0.0.7"],
    "both.example.com": ["93.184.215.14", "192.168.1.1"],
    "metadata.google.internal": ["169.254.169.254"],
    "mapped.example.com": ["::ffff:10.0.0.1"],
    "nat64.example.com": ["64:ff9b::7f00:1"],
    "127.0.0.1.nip.example": ["127.0.0.1"],
    "linklocal.example.com": ["fe80::1%eth0"],
    "empty.example.com": [],
}
REFUSED = """
http://127.0.0.1/ http://127.0.0.1:8080/x http://127.1/ http://127.255.255.254/ http://2130706433/
http://0x7f000001/ http://0x7f.1/ http://0177.0.0.1/ http://017700000001/ http://0/
http://0.0.0.0/ http://[::]/ http://[::1]/ http://[::1]:80/ http://[0:0:0:0:0:0:0:1]/
http://[::ffff:127.0.0.1]/ http://[::ffff:7f00:1]/ http://[::ffff:10.0.0.1]/ http://[::127.0.0.1]/
http://[64:ff9b::127.0.0.1]/ http://[64:ff9b::a9fe:a9fe]/ http://[2002:7f00:1::]/ http://[2002:a00:1::]/
http://10.0.0.1/ http://10.255.255.255/ http://172.16.0.1/ http://172.31.255.255/ http://192.168.0.1/
http://192.168.1.254:9200/ http://100.64.0.1/ http://169.254.169.254/latest/meta-data/
http://169.254.170.2/ http://[fd00:ec2::254]/ http://[fe80::1]/ http://[fc00::1]/ http://[fec0::1]/
http://224.0.0.1/ http://[ff02::1]/ http://240.0.0.1/ http://255.255.255.255/ http://192.0.2.1/
http://198.18.0.1/ http://203.0.113.5/ http://localhost/ http://LOCALHOST/ http://localhost./
http://rebind.example.com/ http://both.example.com/ http://metadata.google.internal/computeMetadata/v1/
http://mapped.example.com/ http://nat64.example.com/ http://127.0.0.1.nip.example/ http://linklocal.example.com/
http://nowhere.example.com/ http://user:secret@api.example.com/ http://api.example.com@127.0.0.1/
ftp://api.example.com/ file:///etc/passwd gopher://127.0.0.1:6379/_x javascript:alert(1) //api.example.com/
http:///x http://ex_ample..com/ http://exa%6dple.com:99999/ http://[::1 https:// data:text/plain,x
""".split()  # noqa: SIM905


@pytest.fixture(autouse=True)
def resolver(monkeypatch):
    monkeypatch.delenv(guard.VARIABLE, raising=False)

    real = socket.getaddrinfo

    def resolve(host, port, *more, **named):
        if host == "127.0.0.1":  # what a socket asks of an address
            return real(host, port, *more, **named)
        if host not in NAMES or not NAMES[host]:
            raise socket.gaierror(-2, "Name or service not known")
        return [(0, 0, 0, "", (address, port)) for address in NAMES[host]]

    monkeypatch.setattr(guard.socket, "getaddrinfo", resolve)


def test_there_are_sixty_and_more():
    assert len(set(REFUSED)) >= 60


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_reaches_inside_is_refused_before_anything_is_sent(url):
    with pytest.raises(BlockedUrl, match=r"is refused: ") as refused:
        guard.check(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://api.example.com/x?y", ("api.example.com", 443, "93.184.215.14")),
        ("http://api.example.com:8080/", ("api.example.com", 8080, "93.184.215.14")),
        ("http://v6.example.com/", ("v6.example.com", 80, "2606:2800:21f:cb07:6820:80da:af6b:8b2c")),
        ("https://93.184.215.14/", ("93.184.215.14", 443, "93.184.215.14")),
    ],
)
def test_a_public_url_is_let_through_with_the_address_that_was_looked_at(url, found):
    assert guard.check(url) == (*found[:2], ipaddress.ip_address(found[2]))


def test_a_host_is_allowed_by_name_and_port(monkeypatch):
    monkeypatch.setenv(guard.VARIABLE, "rebind.example.com:9090, localhost, [::1]:80")
    assert guard.check("http://rebind.example.com:9090/")[2] == ipaddress.ip_address("10.0.0.7")
    assert guard.check("http://localhost:1234/")[1] == 1234
    assert guard.check("http://[::1]/")[0] == "::1"
    for url in ("http://rebind.example.com/", "http://127.0.0.1/", "http://[::1]:81/"):
        with pytest.raises(BlockedUrl, match=guard.VARIABLE):
            guard.check(url)


class Answers(BaseHTTPRequestHandler):
    """Tells what it was asked; redirects and floods on request."""

    def do_GET(self):
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"x" * 100_000 if self.path == "/flood" else self.headers["Host"].encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    made = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setitem(NAMES, "inside.example.com", ["127.0.0.1"])
    monkeypatch.setenv(guard.VARIABLE, f"inside.example.com:{made.server_port}")
    yield f"http://inside.example.com:{made.server_port}"
    made.shutdown()
    made.server_close()
    thread.join()


def test_the_connection_goes_to_the_address_and_the_host_keeps_its_name(server):
    with guard.client() as client:
        assert client.get(server).text == server.removeprefix("http://")


def test_a_name_that_changes_after_the_look_reaches_nothing_else(server, monkeypatch):
    """The socket never resolves: it is given an address."""
    connected = []
    real = socket.create_connection
    monkeypatch.setattr(
        socket, "create_connection", lambda place, *a, **k: connected.append(place) or real(place, *a, **k)
    )
    with guard.client() as client:
        client.get(server)
    assert [host for host, _ in connected] == ["127.0.0.1"]


def test_a_redirect_is_not_followed(server):
    with guard.client() as client:
        assert client.get(f"{server}/away").status_code == 302


def test_an_answer_beyond_its_size_or_time_is_cut_off(server):
    with guard.client(most_bytes=50_000) as client, pytest.raises(httpx.ReadError, match="50,000 bytes"):
        client.get(f"{server}/flood")
    with guard.client(timeout_s=1e-6) as client, pytest.raises(httpx.TimeoutException):
        client.get(f"{server}/flood")


def test_a_refused_url_never_connects(monkeypatch):
    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: pytest.fail("it connected"))
    with guard.client() as client, pytest.raises(BlockedUrl):
        client.get("http://rebind.example.com/")
