"""The command line: made from the commands' declarations."""

from wsc_ray.cli.program import main

__all__ = ["main"]
