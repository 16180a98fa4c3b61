"""Pretraining methods, a file each: see `wsc_ray.losses.method` for what one consists of, and docs/add-a-method.md."""
