"""Losses over the global batch: the same value, gradient and trained weights however many workers share it.

One principle carries all of them: forward, the workers exchange just enough for each to compute the *same* global
value; backward, each takes the gradient of its own rows, multiplied by the number of workers because
DistributedDataParallel averages, and nothing travels at all.
"""

from wsc_ray.losses.ntxent import ntxent_loss
from wsc_ray.losses.similarity import similarity_loss
from wsc_ray.losses.supcon import supcon_loss
from wsc_ray.losses.weaksupcon import WeakSupConLoss, WeakSupConTerms

__all__ = ["WeakSupConLoss", "WeakSupConTerms", "ntxent_loss", "similarity_loss", "supcon_loss"]
