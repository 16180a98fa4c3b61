"""Remove secrets from URIs before they are printed or written.

Removed are the login (`user:password@`, a token, an access key), also where the password holds a `/`, `@`, `?` or `#`
that should have been encoded; options, parameters and fragments with names of secrets (`?password=`, `;password=`, `?token=`, `X-Amz-Signature`, a
shared access signature's `sig`), also where an option's value is a text of such pairs (`odbc_connect=...%3BPWD%3D...`);
and all of these in URIs inside URIs, such as fsspec's (`zip://a.zip::s3://...`) and those in options.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]{0,30}://"
_URI = re.compile(rf"({_SCHEME})((?:(?!{_SCHEME}).)*)", re.DOTALL)
_URI_IN_TEXT = re.compile(rf"({_SCHEME})((?:(?!{_SCHEME})\S)*)")
_CHAIN = re.compile(rf"(?:[a-z]+::)*{_SCHEME}")
_SECRET = re.compile(r"pass|pwd|secret|token|key|^sig$|signature|cred|auth|^sas$|bearer|jwt|^code$", re.IGNORECASE)
_CONTAINERS = ("abfs", "abfss", "wasb", "wasbs")  # schemes where the part before the @ names a container
_PAIRS = 100  # most pairs that are looked at inside an option's value
_BUCKETS = ("s3", "s3a", "gs", "gcs")  # schemes whose host has no port


def shown(place: Any) -> str:
    """Return a path or URI without secrets, to be printed or kept; a local path is returned unchanged."""
    return _URI.sub(lambda match: match[1] + _cleaned(match[1], match[2]), str(place))


def without_secrets(text: str) -> str:
    """Return a text, such as an error's sentence, with all its URIs as `shown` returns them; a URI ends at a blank."""
    return _URI_IN_TEXT.sub(lambda match: match[1] + _cleaned(match[1], match[2]), text)


def values_without_secrets(values: Any) -> Any:
    """Return JSON values with all URIs as `shown` returns them, also inside longer texts; keys are unchanged."""
    if isinstance(values, str):
        return shown(values) if _CHAIN.match(values) else without_secrets(values)
    if isinstance(values, Mapping):
        return {key: values_without_secrets(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [values_without_secrets(value) for value in values]
    return values


def has_secrets(text: str) -> bool:
    """Return whether a path or URI holds secrets that `shown` would remove."""
    return shown(text) != text


def secrets_of(uri: str) -> list[str]:
    """Return the secrets of a URI, both encoded and decoded, the longest first; a library's message may quote just these."""
    secrets: set[str] = set()
    for scheme, rest in _URI.findall(uri) + _URI.findall(unquote(uri)):
        login, tail = _parted(scheme, rest)
        secrets.update(login.removesuffix("@").split(":", 1))
        secrets.update(pair.partition("=")[2] for pair in re.split("[?&;#]", tail) if _is_secret(pair))
    secrets |= {unquote(secret) for secret in secrets}
    return sorted((secret for secret in secrets if len(secret) > 2), key=len, reverse=True)


def reason_about(uri: str, error: BaseException) -> str:
    """Return the first line of a library's error about a URI, at most 300 characters, without the URI's secrets."""
    text = str(error).splitlines()[0] if str(error).strip() else type(error).__name__
    text = text.replace(uri, shown(uri))
    for secret in secrets_of(uri):
        text = text.replace(secret, "(removed)")
    return without_secrets(text)[:300]


def unusable(place: object, error: BaseException) -> str:
    """Return a sentence on why a place that a record names cannot be used, without the advice that an error's own sentence ends with."""
    reason = reason_about(str(place), error).partition("; ")[0]
    return f"{shown(place)} cannot be used: {reason}" if isinstance(error, OSError) else reason


def _cleaned(scheme: str, rest: str) -> str:
    """Return the part after `scheme://` without secrets."""
    return _without_options(_parted(scheme, rest)[1])


def _parted(scheme: str, rest: str) -> tuple[str, str]:
    """Return the login in a URI, and the rest of the part after its scheme.

    A login ends at the last `@` before the first `/`, `?` or `#`. If there is no such `@` and the host has a colon that
    no port follows, the password holds one of these three, and the login ends at the last `@` of the URI.
    """
    name = scheme.removesuffix("://").lower()
    login = ""
    while True:
        first = re.split("[/?#]", rest, maxsplit=1)[0]
        colon = not first.startswith("[") and re.search(r":(?!\d+$)." if name not in _BUCKETS else ":", first)
        if "@" in first:
            end = first.rindex("@") + 1
        elif colon and "@" in rest:
            end = rest.rindex("@") + 1
        else:
            break
        login, rest = login + rest[:end], rest[end:]
    path = re.split("[?#]", rest, maxsplit=1)[0]
    if ":" in login and "@" in path:  # the password holds both @ and /
        end = path.rindex("@") + 1
        login, rest = login + rest[:end], rest[end:]
    if login == "anonymous@":  # in pyarrow's gs:// this means no login
        return "", login + rest
    if name in _CONTAINERS and login:
        container = login.removesuffix("@").partition(":")[0]
        return login.removeprefix(container), f"{container}@{rest}"
    return login, rest


def _without_options(text: str) -> str:
    """Return the text without the options after `?`, `#` and `;` that are secrets."""
    for mark in "#?;":
        before, separator, options = text.partition(mark)
        if not separator:
            continue
        kept = [_cleaned_option(pair) for pair in re.split(r"(?=[&;])", options) if not _is_secret(pair)]
        joined = "".join(kept)
        joined = joined[1:] if joined[:1] in ("&", ";") and options[:1] not in ("&", ";") else joined
        text = f"{before}{mark}{joined}" if joined else before
    return text


def _is_secret(pair: str) -> bool:
    name, equals, value = pair.lstrip("&;").partition("=")
    inner = [each for each in unquote(value).split(";")[:_PAIRS] if "=" in each]
    names = [name, *(each.partition("=")[0].strip() for each in inner)]
    return bool(equals) and any(_SECRET.search(unquote(each)) for each in names)


def _cleaned_option(pair: str) -> str:
    """Return an option whose value, if it is an encoded URI, has no secrets."""
    name, equals, value = pair.partition("=")
    plain = unquote(value)
    if "://" in value or "://" not in plain or not has_secrets(plain):
        return pair
    return f"{name}{equals}{quote(shown(plain), safe='')}"
