"""Benchmarks: medians and ratios of interleaved runs on the same cores, with machine, versions, commit and command.

What every benchmark shares lies here (environment, rounds, drawn patches, tables, output); each has a folder of its own.
Comparisons with other libraries share it too, and lie outside the package, in `benchmarks/`.
"""
