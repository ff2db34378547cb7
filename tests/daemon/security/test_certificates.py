import pytest
from cryptography.hazmat.primitives import serialization

from tests.certificates import Authority
from tsnd_daemon.errors import SettingsError
from tsnd_daemon.security.certificates import CertificateFiles, Certificates


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def files_of(authority, client_ca):
    certificate, key = authority.issue()
    return CertificateFiles(certificate, key, client_ca)


def test_files_that_belong_together_are_taken(authority):
    certificate, key = authority.issue()

    Certificates(CertificateFiles(certificate, key))
    Certificates(CertificateFiles(certificate, key, authority.certificate))


def test_a_key_of_another_certificate_is_refused(authority):
    certificate, _ = authority.issue("one")
    _, key = authority.issue("two")

    with pytest.raises(SettingsError, match="are no certificate and its key"):
        Certificates(CertificateFiles(certificate, key))


def test_a_file_that_is_not_there_is_named(authority, tmp_path):
    certificate, _ = authority.issue()

    with pytest.raises(SettingsError, match=r"--tls-key .*none\.key: No such file"):
        Certificates(CertificateFiles(certificate, tmp_path / "none.key"))


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(authority, tmp_path):
    certificate, key = authority.issue()
    plain = serialization.load_pem_private_key(key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )

    with pytest.raises(SettingsError, match="is encrypted"):
        Certificates(CertificateFiles(certificate, locked))


@pytest.mark.parametrize(
    "text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_authorities_that_are_none_are_refused(authority, tmp_path, text):
    other = tmp_path / "other.pem"
    other.write_text(text)

    with pytest.raises(SettingsError, match="has no certificates in PEM"):
        Certificates(files_of(authority, client_ca=other))


def test_what_cannot_be_used_is_not_taken_up(authority, tmp_path):
    files = CertificateFiles(*authority.issue())
    certificates = Certificates(files)
    broken = tmp_path / "broken.pem"
    broken.write_text("nonsense")

    with pytest.raises(SettingsError):
        certificates.reload(CertificateFiles(broken, files.key))
    with pytest.raises(SettingsError, match="start it anew"):
        certificates.reload(files_of(authority, client_ca=authority.certificate))
