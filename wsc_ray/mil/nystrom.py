"""Nystrom attention: self-attention through landmarks, linear in the number of tokens (Xiong et al. 2021, arXiv 2102.03902)."""

from __future__ import annotations

import torch
from torch import nn

from wsc_ray.mil.dropout import Dropout


class NystromAttention(nn.Module):
    """Multi-head self-attention, where tokens attend to each other only through landmarks, the means of neighbouring tokens.

    As in the authors' code and in TransMIL's, zeros are put before the tokens so that `landmarks` divides their number, and these
    zeros take part; and a convolution of the values along the tokens is added.

    Args:
        width: W, width of a token; `heads` divides it.
        heads: number of attention heads.
        landmarks: m, number of landmarks.
        dropout: on the returned tokens.
        iterations: number of iterations of the pseudo-inverse.
        kernel: number of tokens that the convolution spans.
    """

    def __init__(
        self, width: int, *, heads: int, landmarks: int, dropout: float = 0.0, iterations: int = 6, kernel: int = 33
    ):
        super().__init__()
        self.heads, self.landmarks, self.iterations = heads, landmarks, iterations
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.skip = nn.Conv2d(heads, heads, (kernel, 1), padding=(kernel // 2, 0), groups=heads, bias=False)
        self.out = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Let tokens attend to each other.

        Args:
            x: (g, s, W), s tokens of each of g sequences.

        Returns:
            The new tokens (g, s, W), and the attention of the first token to every token, as the mean over heads (g, s).
        """
        s = x.shape[1]
        before = -s % self.landmarks
        x = nn.functional.pad(x, (0, 0, before, 0))  # (g, t, W)
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (g, heads, t, d) each
        q = q * q.shape[-1] ** -0.5
        q_mean, k_mean = (x.unflatten(2, (self.landmarks, -1)).mean(3) for x in (q, k))  # (g, heads, m, d)
        from_tokens = torch.softmax(q @ k_mean.mT, dim=-1)  # (g, heads, t, m)
        between = pseudo_inverse(torch.softmax(q_mean @ k_mean.mT, dim=-1), self.iterations)  # (g, heads, m, m)
        to_tokens = torch.softmax(q_mean @ k.mT, dim=-1)  # (g, heads, m, t)
        y = from_tokens @ (between @ (to_tokens @ v)) + self.skip(v)  # (g, heads, t, d)
        first = from_tokens[:, :, before : before + 1] @ between @ to_tokens  # (g, heads, 1, t)
        y = y.transpose(1, 2).flatten(2)[:, before:]
        return self.dropout(self.out(y)), first.squeeze(2).mean(1)[:, before:]


def pseudo_inverse(x: torch.Tensor, iterations: int) -> torch.Tensor:
    """Return an approximate Moore-Penrose inverse of matrices `x` (g, heads, m, m), computed by products only.

    The initial value is scaled by the largest sums over all heads of a sequence, as in the authors' code.
    """
    largest = x.abs().sum(-1).amax((1, 2)) * x.abs().sum(-2).amax((1, 2))  # (g,)
    z = x.mT / largest[:, None, None, None]
    eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    for _ in range(iterations):
        xz = x @ z
        z = 0.25 * z @ (13 * eye - xz @ (15 * eye - xz @ (7 * eye - xz)))
    return z
