"""Taking secrets out of URIs, before they are printed or written.

What goes: who logs in (`user:password@`, a token, an access key), also where the password holds a `/`, `@`, `?` or `#` that
should have been encoded; options and fragments that are called like secrets (`?password=`, `?token=`, `X-Amz-Signature`, a
shared access signature's `sig`); and all of that in URIs inside of URIs, as fsspec (`zip://a.zip::s3://...`) and options have them.
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
_SECRET = re.compile(r"pass|pwd|secret|token|key|^sig$|signature|cred|auth|^sas$|bearer", re.IGNORECASE)
_CONTAINERS = ("abfs", "abfss", "wasb", "wasbs")  # where what stands before the @ names a container
_BUCKETS = ("s3", "s3a", "gs", "gcs")  # whose host has no port


def shown(place: Any) -> str:
    """A path or URI as it may be printed or kept: without secrets. A local path is left as it is."""
    return _URI.sub(lambda found: found[1] + _cleaned(found[1], found[2]), str(place))


def without_secrets(text: str) -> str:
    """A text, such as an error's sentence, with every URI in it as `shown` gives it; a URI ends at a blank."""
    return _URI_IN_TEXT.sub(lambda found: found[1] + _cleaned(found[1], found[2]), text)


def values_without_secrets(values: Any) -> Any:
    """JSON's values with every URI as `shown` gives it, also inside of longer texts; keys are left as they are."""
    if isinstance(values, str):
        return shown(values) if _CHAIN.match(values) else without_secrets(values)
    if isinstance(values, Mapping):
        return {key: values_without_secrets(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [values_without_secrets(value) for value in values]
    return values


def has_secrets(text: str) -> bool:
    """Whether a path or URI holds what `shown` would take out."""
    return shown(text) != text


def secrets_of(uri: str) -> list[str]:
    """The secrets of a URI, as they stand there and decoded, the longest first: someone else's message may quote them alone."""
    found: set[str] = set()
    for scheme, rest in _URI.findall(uri) + _URI.findall(unquote(uri)):
        login, tail = _parted(scheme, rest)
        found.update(login.removesuffix("@").split(":", 1))
        found.update(pair.partition("=")[2] for pair in re.split("[?&;#]", tail) if _is_secret(pair))
    found |= {unquote(each) for each in found}
    return sorted((each for each in found if len(each) > 2), key=len, reverse=True)


def reason_about(uri: str, error: BaseException) -> str:
    """What somebody else's error says about a URI, in a line of bounded length, without the URI's secrets."""
    text = str(error).splitlines()[0] if str(error).strip() else type(error).__name__
    text = text.replace(uri, shown(uri))
    for secret in secrets_of(uri):
        text = text.replace(secret, "(removed)")
    return without_secrets(text)[:300]


def _cleaned(scheme: str, rest: str) -> str:
    """What follows `scheme://`, without secrets."""
    return _without_options(_parted(scheme, rest)[1])


def _parted(scheme: str, rest: str) -> tuple[str, str]:
    """Who logs in, and what remains of a URI behind its scheme.

    A login ends at the last `@` before the first `/`, `?` or `#`. Where none stands there and the host has a colon
    without a port behind it, the password holds one of these three, and the login ends at the last `@` of all.
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
    if ":" in login and "@" in path:  # of a password that holds both @ and /
        end = path.rindex("@") + 1
        login, rest = login + rest[:end], rest[end:]
    if login == "anonymous@":  # how pyarrow's gs:// asks for no login
        return "", login + rest
    if name in _CONTAINERS and login:
        container = login.removesuffix("@").partition(":")[0]
        return login.removeprefix(container), f"{container}@{rest}"
    return login, rest


def _without_options(text: str) -> str:
    """Leave out the options behind `?` and `#` that are secrets."""
    for mark in "#?":
        before, found, options = text.partition(mark)
        if not found:
            continue
        kept = [_inner(pair) for pair in re.split(r"(?=[&;])", options) if not _is_secret(pair)]
        joined = "".join(kept)
        joined = joined[1:] if joined[:1] in ("&", ";") and options[:1] not in ("&", ";") else joined
        text = f"{before}{mark}{joined}" if joined else before
    return text


def _is_secret(pair: str) -> bool:
    name, equals, _ = pair.lstrip("&;").partition("=")
    return bool(equals) and bool(_SECRET.search(unquote(name)))


def _inner(pair: str) -> str:
    """An option whose value is an encoded URI, which may hold secrets of its own."""
    name, equals, value = pair.partition("=")
    plain = unquote(value)
    if "://" in value or "://" not in plain or not has_secrets(plain):
        return pair
    return f"{name}{equals}{quote(shown(plain), safe='')}"
