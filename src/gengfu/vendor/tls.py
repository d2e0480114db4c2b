"""How the vendor's certificate is verified, as curl does on every Python, and what is told of one that is refused."""

from __future__ import annotations

import ssl
from pathlib import Path

from gengfu.errors import ConfigError
from gengfu.language import Message, tr

_EXPIRED, _NOT_YET = 10, 9
_SELF_SIGNED, _UNKNOWN_ROOT = 18, 19
_NO_ISSUER = (2, 20, 21)
_OTHER_NAME = (62, 64)
"""Numbers of X509_verify_cert_error_string(3)."""


def tls_context(ca_file: Path | None, *, verify: bool) -> ssl.SSLContext:
    """A context that trusts what the system does and what is in `ca_file`, be it a root, an authority in between or the
    server's own certificate.

    Raises:
        ConfigError: the file holds no certificate.
    """
    context = ssl.create_default_context()
    # Python 3.13 sets both of these, earlier ones neither.
    context.verify_flags = (context.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN) & ~ssl.VERIFY_X509_STRICT
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(
                tr(
                    "API_CA_FILE names {file}, which holds no certificate in PEM form ({reason}); "
                    "for example: API_CA_FILE=/etc/ssl/vendor-ca.pem",
                    file=ca_file,
                    reason=error.strerror,
                )
            ) from None
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def certificate_problem(error: ssl.SSLCertVerificationError, host: str, ca_file: Path | None) -> Message:
    """Why a certificate is not accepted and what to do, to be said after the name of the server."""
    code = error.verify_code
    if code == _EXPIRED:
        return tr("shows a certificate that has expired: the vendor must renew it, or this machine's clock is wrong")
    if code == _NOT_YET:
        return tr("shows a certificate that is not valid yet: look at this machine's clock")
    if code in _OTHER_NAME:
        return tr(
            "shows a certificate that is not for {host}: write the name that it is for into API_WECHAT_URL", host=host
        )
    if ca_file is None:
        return _without_file(code, error)
    if code in _NO_ISSUER:
        return tr(
            "shows a certificate whose issuer is neither in API_CA_FILE ({file}) nor sent along: a link of the chain "
            "is missing; have the vendor send the whole chain, or add the certificate of the issuer to that file",
            file=ca_file,
        )
    if code == _SELF_SIGNED:
        return tr(
            "shows a self-signed certificate that is not the one in API_CA_FILE ({file}): has the vendor a new one?",
            file=ca_file,
        )
    if code == _UNKNOWN_ROOT:
        return tr("shows a certificate of another authority than those in API_CA_FILE ({file})", file=ca_file)
    return tr("shows a certificate that is not accepted: {reason}", reason=error.verify_message)


def _without_file(code: int, error: ssl.SSLCertVerificationError) -> Message:
    if code == _SELF_SIGNED:
        return tr("shows a self-signed certificate; if it is the right one, set API_CA_FILE to its PEM file")
    if code == _UNKNOWN_ROOT:
        return tr(
            "shows a certificate that is not trusted: its authority is none that this machine knows; if it is the "
            "right one, set API_CA_FILE to the PEM file of that authority"
        )
    if code in _NO_ISSUER:
        return tr(
            "shows a certificate that is not trusted: its issuer is neither known to this machine nor sent along; set "
            "API_CA_FILE to the PEM file of its authority, or, where only a link of the chain is missing, have the "
            "vendor send the whole chain"
        )
    return tr("shows a certificate that is not accepted: {reason}", reason=error.verify_message)
