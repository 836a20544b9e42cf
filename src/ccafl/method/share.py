"""Work that several processes do together, each with the same inputs."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Share:
    """One process's part: of things in a row, those with the numbers p, p + P, p + 2 P, ...

    Attributes:
        number: p, of this process, in 0..P-1.
        processes: P, how many there are.
        gathered: what all processes give at the same time, (m, ...) each, one after the other: (P m, ...).
    """

    number: int
    processes: int
    gathered: Callable[[Tensor], Tensor]

    def of(self, values: Tensor) -> Tensor:
        """This process's part of values (N, ...): (N_p, ...)."""
        return values[self.number :: self.processes]

    def together(self, values: Tensor) -> Tensor:
        """Values of every process, all of one shape (...): (P, ...). The gradient reaches this process's own."""
        parts = list(self.gathered(values.detach()[None]))
        parts[self.number] = values
        return torch.stack(parts)

    def parts(self, own: list[Tensor]) -> list[Tensor]:
        """Rows (m, ...) of each of several parts, on the CPU, whichever process has them; on the others, it is empty.

        The parts differ in their numbers of rows alone, which need not be known elsewhere.
        """
        if not own:
            return []
        sizes = self.together(torch.tensor([len(part) for part in own])).cpu()
        rows = torch.cat(own)
        together = self.together(F.pad(rows, (0, 0) * (rows.ndim - 1) + (0, int(sizes.sum(1).max()) - len(rows)))).cpu()
        of_processes = [
            held.split([*some, len(held) - sum(some)]) for held, some in zip(together, sizes.tolist(), strict=True)
        ]
        return [torch.cat(some) for some in list(zip(*of_processes, strict=True))[:-1]]

    def whole(self, part: Tensor, rows: int) -> Tensor:
        """The values (N, ...) that `of` has divided, on the CPU of process 0; none of them, (0, ...), on the others.

        Args:
            part: (N_p, ...), this process's.
            rows: N.
        """
        longest = -(-rows // self.processes)
        block = max(1, _BLOCK_ELEMENTS // max(1, part[:1].numel() * self.processes))
        blocks = [part[:0].cpu()]
        for start in range(0, longest, block):
            some = part[start : min(start + block, longest)]
            missing = min(block, longest - start) - len(some)
            together = self.gathered(F.pad(some, (0, 0) * (part.ndim - 1) + (0, missing)))
            if self.number == 0:
                blocks.append(together.unflatten(0, (self.processes, -1)).transpose(0, 1).flatten(0, 1).cpu())
        return torch.cat(blocks)[:rows]

    def picked(self, values: Tensor, pairs: Tensor) -> Tensor:
        """Values (B, N_p) of pairs of sample and column (2, T); 0 where another process has the column: (T,)."""
        sample, column = pairs
        if not values.shape[1]:
            return values.sum(1)[sample]
        own = column % self.processes == self.number
        return torch.where(own, values[sample, torch.where(own, column // self.processes, 0)], 0.0)

    def without(self, logits: Tensor, pairs: Tensor) -> Tensor:
        """Logits (B, N_p) with -inf at the pairs of sample and column (2, T) that are this process's."""
        sample, column = pairs
        own = column % self.processes == self.number
        left_out = torch.zeros(len(logits), logits.shape[1] + 1, dtype=torch.bool, device=logits.device)
        left_out[sample, torch.where(own, column // self.processes, logits.shape[1])] = True  # the last is nobody's
        return logits.masked_fill(left_out[:, :-1], -torch.inf)


_BLOCK_ELEMENTS = 1 << 24  # gathered at a time: 64 MiB in float32
