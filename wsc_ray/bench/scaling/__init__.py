"""`wsc-ray bench scaling`: throughput across numbers of workers, where each step's time goes, and a projection."""
