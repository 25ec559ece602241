"""One question before the load: is there a server, does it take the token, has it the model?"""

import ssl

import certifi
import httpx

from loadtest.answers import error_type
from loadtest.tokens import authorization, is_refused

_TIMEOUT_S = 10


def authorities(ca_file: str) -> ssl.SSLContext:
    """Trust the certificates in a file of PEM, or without one the public authorities.

    Raises:
        ValueError: the file holds none.
    """
    try:
        return ssl.create_default_context(cafile=ca_file or certifi.where())
    except OSError as error:  # SSLError is one
        raise ValueError(
            f"--ca-file {ca_file!r} holds no certificate ({error}); give one in PEM"
        ) from error


def address(model: str, version: str | None, explain: bool = False) -> str:
    """Return the path of a version, or of the default one, for predictions or explanations."""
    path = f"/{'explanations' if explain else 'predictions'}/{model}"
    return f"{path}/{version}" if version else path


def why_not_ready(host: str, token: str, model: str, version: str, ca_file: str = "") -> str | None:
    """Say why a load test of `host` can't start, or None; certificates are checked with `ca_file`.

    It asks for the description of the model's API, which TorchServe answers itself: no worker is asked,
    nothing is counted in its metrics.
    """
    try:
        answer = httpx.options(
            f"{host}{address(model, version)}",
            headers=authorization(token),
            timeout=_TIMEOUT_S,
            verify=authorities(ca_file),
            trust_env=False,  # a token mustn't pass through a proxy that nobody chose
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return (
                f"the certificate of {host} isn't trusted here ({error}); give --ca-file with that of "
                "its authority, or with a self-signed one itself"
            )
        return (
            f"no server answers at {host!r} ({type(error).__name__}); start one with "
            "`flyobj serve --detach` or give --host http://127.0.0.1:PORT"
        )
    if is_refused(answer.status_code, answer.text):
        return (
            f"the server at {host} refuses the token; give --key-file with that server's key_file.json, "
            "and let `flyobj token --watch` renew it if it ran out"
        )
    if answer.status_code == 404:
        what = f"version {version} of" if version else "model"
        return (
            f"the server at {host} has no {what} {model!r}; `flyobj models deploy` it, or give another "
            "--model-name or --model-version (`flyobj models list`)"
        )
    if answer.status_code != 200:
        kind = error_type(answer.text) or ""
        return f"the server at {host} isn't ready: status {answer.status_code} {kind}".strip()
    return None
