"""The command line, built from the declarations of the commands."""

from wsc_ray.cli.program import main

__all__ = ["main"]
