"""Certificates of every sort, made by openssl."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from servers import absent

CONFIG = """
[ca]
default_ca = own
[own]
new_certs_dir = .
database = index
unique_subject = no
serial = serial
default_md = sha256
policy = any
[any]
commonName = supplied
[authority]
basicConstraints = CA:TRUE
keyUsage = critical,keyCertSign
[here]
subjectAltName = IP:127.0.0.1,IP:::1,DNS:localhost
[elsewhere]
subjectAltName = DNS:vendor.example.com
"""


class Certificates:
    """A folder with NAME.pem and NAME.key of everything in it, and NAME.chain.pem with its issuer behind it."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            absent("openssl", "no such program")
        self.folder = folder
        for name, text in (("ca.cnf", CONFIG), ("index", ""), ("serial", "01\n")):
            (folder / name).write_text(text)
        self.make("root", None, "authority")
        self.make("between", "root", "authority")
        self.make("leaf", "between", "here")
        self.make("own", None, "here")
        self.make("renewed", None, "here")
        self.make("old", "between", "here", "200101000000Z", "210101000000Z")
        self.make("early", "between", "here", "480101000000Z", "491231000000Z")
        self.make("other", "between", "elsewhere")

    def make(
        self, name: str, issuer: str | None, kind: str, start: str = "200101000000Z", end: str = "491231000000Z"
    ) -> None:
        """A certificate with its key; without an issuer it signs itself."""
        key = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        self._openssl(f"{key} -subj /CN={name} -keyout {name}.key -out {name}.csr")
        signer = f"-keyfile {issuer}.key -cert {issuer}.pem" if issuer else f"-keyfile {name}.key -selfsign"
        times = f"-startdate {start} -enddate {end}"
        self._openssl(
            f"ca -batch -config ca.cnf -extensions {kind} {signer} {times} -in {name}.csr -notext -out {name}.pem"
        )
        if issuer:
            (self.folder / f"{name}.chain.pem").write_text(self.text(name) + self.text(issuer))

    def readable(self, name: str, user: str) -> list[Path]:
        """Certificate and key, in files that only that user of the machine may read."""
        found = []
        for kind in ("pem", "key"):
            copy = self.folder / f"{name}-{user}.{kind}"
            shutil.copy(self.folder / f"{name}.{kind}", copy)
            if os.geteuid() == 0:
                shutil.chown(copy, user)
            copy.chmod(0o600)
            found.append(copy)
        return found

    def text(self, name: str) -> str:
        return (self.folder / f"{name}.pem").read_text()

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def _openssl(self, command: str) -> None:
        subprocess.run(["openssl", *command.split()], cwd=self.folder, check=True, capture_output=True)
