"""The result of a check, as one line: ok, or what is wrong and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypedDict


class CheckResult(TypedDict):
    """`state` is ok, warn (commands work all the same) or fail (mend it first).

    `detail` is the value found, or how to mend it.
    """

    state: Literal["ok", "warn", "fail"]
    what: str
    detail: str


def ok(what: str, detail: str) -> CheckResult:
    return {"state": "ok", "what": what, "detail": detail}


def warn(what: str, detail: str) -> CheckResult:
    return {"state": "warn", "what": what, "detail": detail}


def fail(what: str, detail: str) -> CheckResult:
    return {"state": "fail", "what": what, "detail": detail}


def as_text(lines: Iterable[CheckResult]) -> str:
    """Return the results as text, one line each."""
    return "\n".join(f"{line['state']:<5} {line['what']}: {line['detail']}" for line in lines)


def failures(lines: Iterable[CheckResult]) -> list[CheckResult]:
    return [line for line in lines if line["state"] == "fail"]
