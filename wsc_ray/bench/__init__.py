"""Benchmarks: medians and ratios of interleaved runs on the same cores, with machine, versions, commit and command.

What every benchmark shares lies here (environment, timing, memory, processes, output); each has a folder of its own.
"""
