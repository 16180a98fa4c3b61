"""wsc-ray: weakly supervised contrastive pretraining of patch encoders on a Ray cluster.

The commands as functions are in `wsc_ray.commands`.
"""

__version__ = "0.1.0"
