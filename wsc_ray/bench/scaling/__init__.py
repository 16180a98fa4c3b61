"""`wsc-ray bench scaling`: throughput over numbers of workers, the parts of each step's time, and a projection."""
