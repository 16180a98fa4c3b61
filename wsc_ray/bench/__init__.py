"""Benchmarks: medians and ratios of interleaved runs on the same cores, with machine, versions, commit and command.

This room holds what all benchmarks share (environment, rounds, synthetic patches, tables, output); each benchmark has its own folder.
Comparisons with other libraries use it too; they are outside the package, in `benchmarks/`.
"""
