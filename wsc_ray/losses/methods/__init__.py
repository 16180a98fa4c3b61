"""Pretraining methods, one file each; `wsc_ray.losses.method` and docs/add-a-method.md say how to write one."""
