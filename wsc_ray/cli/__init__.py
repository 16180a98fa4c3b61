"""The command line: parse, call one function of the same name, print."""

from wsc_ray.cli.group import main

__all__ = ["main"]
