"""Losses over the global batch, with the same value, gradient and trained weights for any number of workers.

All losses follow one principle. In forward, the workers exchange just enough for each to compute the *same* global
value. In backward, each worker computes the gradient of its own rows, multiplied by the number of workers because
DistributedDataParallel averages, and sends nothing.
"""

from wsc_ray.losses.ntxent import ntxent_loss
from wsc_ray.losses.similarity import similarity_loss
from wsc_ray.losses.supcon import supcon_loss
from wsc_ray.losses.weaksupcon import WeakSupConLoss, WeakSupConTerms

__all__ = ["WeakSupConLoss", "WeakSupConTerms", "ntxent_loss", "similarity_loss", "supcon_loss"]
