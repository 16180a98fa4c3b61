"""Comparisons with other libraries, which run from a clone, with the pages of their figures; the package never imports them.

Each comparison has its folder, or is one file; these files are what several of them share (processes, memory, timing, the
command line).
"""

from pathlib import Path

CLONE = Path(__file__).resolve().parents[1]
