import grpc
import pytest

from tests.certificates import Authority
from tsnd_client import AsyncClient, Client, CredentialsError, Tls
from tsnd_client.connection import Connection, is_loopback, to_connection

LOCAL, FAR = "127.0.0.1:8001", "gpu7.example.org:8001"


def connection(target=LOCAL, *, token=None, tls=None, allowed=False, **environment):
    return to_connection(
        target, token=token, tls=tls, allow_plaintext_token=allowed, environment=environment
    )


def test_without_word_of_a_token_or_tls_there_is_neither():
    assert connection(FAR) == Connection(FAR)


def test_a_token_comes_from_the_caller_a_variable_or_a_file_in_this_order(tmp_path):
    file = tmp_path / "token"
    file.write_text("from-file\n")
    both = {"TSND_TOKEN": "from-variable", "TSND_TOKEN_FILE": str(file)}

    assert connection(token="given", **both).token == "given"
    assert connection(**both).token == "from-variable"
    assert connection(TSND_TOKEN_FILE=str(file)).token == "from-file"
    assert connection(token="", **both).token is None


def test_files_of_tls_come_from_the_caller_or_variables():
    names = {"TSND_CA": "ca", "TSND_CLIENT_CERTIFICATE": "cert", "TSND_CLIENT_KEY": "key"}

    assert connection(**names).tls == Tls("ca", "cert", "key")
    assert connection(TSND_CA="ca").tls == Tls("ca")
    assert connection(tls=Tls("mine"), **names).tls == Tls("mine")


@pytest.mark.parametrize("target", [FAR, "10.0.0.1:8001", "[2001:db8::1]:8001", "localhost.evil:1"])
def test_a_token_leaves_this_host_only_over_tls_or_when_told(target):
    with pytest.raises(CredentialsError, match=r"in the clear.*tls=Tls\(ca=\.\.\.\)"):
        connection(target, token="t")
    with pytest.raises(CredentialsError, match="in the clear"):
        connection(target, TSND_TOKEN="t")

    assert connection(target, token="t", tls=Tls()).token == "t"
    assert connection(target, token="t", allowed=True).token == "t"


@pytest.mark.parametrize(
    "target", [LOCAL, "localhost:1", "[::1]:8001", "127.1.2.3:1", "unix:/run/tsnd"]
)
def test_on_this_host_a_token_needs_no_tls(target):
    assert is_loopback(target)
    assert connection(target, token="t").token == "t"


@pytest.mark.parametrize("token", ["two words", "new\nline", "naïve"])
def test_what_is_no_token_is_refused_and_not_repeated(token):
    with pytest.raises(CredentialsError, match="no token has") as caught:
        connection(token=token)

    assert token not in str(caught.value)


async def test_both_clients_refuse_at_once():
    with pytest.raises(CredentialsError):
        Client(FAR, token="t")
    with pytest.raises(CredentialsError):
        AsyncClient(FAR, token="t")


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(CredentialsError, match=r"none\.pem cannot be read: No such file"):
        Client(LOCAL, tls=Tls(tmp_path / "none.pem"))
    with pytest.raises(CredentialsError, match="cannot be read"):
        connection(TSND_TOKEN_FILE=str(tmp_path / "none"))


def test_a_certificate_without_its_key_is_refused(tmp_path):
    tls = Authority(tmp_path).tls("me")

    assert isinstance(tls.credentials(), grpc.ChannelCredentials)
    with pytest.raises(CredentialsError, match="name both"):
        Tls(tls.ca, tls.certificate).credentials()
