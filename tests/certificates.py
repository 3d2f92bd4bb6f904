"""A certification authority for tests, made by OpenSSL."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = "IP:127.0.0.1,DNS:localhost"


@dataclass(frozen=True)
class Identity:
    """A certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates.

    Parameters
    ----------
    folder : pathlib.Path
        For everything that is made.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.certificate = folder / "ca.pem"
        self._key = folder / "ca.key"
        _openssl(
            *("req", "-x509", *_new_key(self._key), "-out", self.certificate),
            *("-subj", "/CN=Test CA", "-days", "2"),
        )

    def issue(self, name: str, days: int = 2, names: str = HERE, bits: int = 0) -> Identity:
        """Issue a certificate; with `bits` for an RSA key, negative `days` are over."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\n")
        _openssl("req", *_new_key(key, bits), "-out", request, "-subj", f"/CN={name}")
        _openssl(
            *("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key),
            *("-CAcreateserial", "-days", days, "-extfile", extensions, "-out", certificate),
        )
        key.chmod(0o600)
        return Identity(certificate, key)


def _new_key(path: Path, bits: int = 0) -> tuple[str | Path, ...]:
    kind = (f"rsa:{bits}",) if bits else ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    return ("-newkey", *kind, "-nodes", "-keyout", path)


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
