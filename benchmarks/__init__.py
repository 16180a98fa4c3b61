"""Comparisons that run from a clone, each beside the page of its figures; the package never imports them.

`data`, `loss` and `gpu` have a folder each; what the first two share lies here (processes, memory, timing, the command
line).
"""

from pathlib import Path

CLONE = Path(__file__).resolve().parents[1]
