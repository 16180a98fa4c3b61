"""Compare encoders whose backbone is trained from pixels by WeakSupCon, SimCLR and SupCon: `python -m benchmarks.backbones`."""
