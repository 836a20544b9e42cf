"""Device, processes and precision of a run, by Lightning Fabric."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor

from ccafl.config import Runtime
from ccafl.errors import InputError
from ccafl.method.share import Share
from ccafl.model.network import Network


def make_fabric(settings: Runtime) -> Fabric:
    """Device, processes and precision; ``auto`` is one process on a CPU and mixed precision on a GPU.

    Raises:
        InputError: the accelerator or the devices asked for are not available.
    """
    try:
        fabric = _fabric(settings, "32-true")
        if fabric.device.type == "cpu" and settings.devices == "auto" and fabric.world_size > 1:
            fabric = _fabric(settings.model_copy(update={"devices": 1}), "32-true")
        if fabric.device.type == "cuda" and settings.precision == "auto":
            fabric = _fabric(settings, automatic_precision())
        elif settings.precision not in ("auto", "32-true"):
            fabric = _fabric(settings, settings.precision)
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"runtime: {str(error).splitlines()[0]}; set runtime.accelerator and runtime.devices"
        ) from error
    return fabric


def automatic_precision() -> str:
    """The GPU's mixed precision: bfloat16 if it has that natively, float16 if it would only emulate it."""
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"


def set_up_optimizer(fabric: Fabric, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimiser wrapped by Fabric, whose step undoes the scaling of 16-bit gradients by `Fabric.backward`."""
    wrapped = fabric.setup_optimizers(optimizer)
    assert isinstance(wrapped, torch.optim.Optimizer)
    return wrapped


def synchronised(network: Network, fabric: Fabric) -> Network:
    """The network with batch statistics over all processes, where the device supports that (GPUs)."""
    if fabric.world_size == 1 or fabric.device.type != "cuda":
        return network
    return replace(network, encoder=torch.nn.SyncBatchNorm.convert_sync_batchnorm(network.encoder))


def shared(fabric: Fabric) -> Share | None:
    """This process's part of work that all of the run's processes do together; None if it is the only one."""

    def gathered(values: Tensor) -> Tensor:
        together = fabric.all_gather(values)
        assert isinstance(together, Tensor)
        return together.flatten(0, 1)

    return None if fabric.world_size == 1 else Share(fabric.global_rank, fabric.world_size, gathered)


@contextmanager
def unless_left_alone(run: Path) -> Iterator[None]:
    """Report as an InputError if another process of the run in folder ``run`` ends while they work together."""
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, torch.distributed.DistError) or "gloo" in str(error)):
            raise
        raise InputError(
            f"{run}: another process of this run has ended or cannot be reached; what is finished is kept: continue "
            "with --resume, on as many processes as you like"
        ) from error


def _fabric(settings: Runtime, precision: str) -> Fabric:
    devices = settings.devices
    if settings.accelerator == "cpu" and devices == "auto":
        devices = 1
    several = settings.nodes > 1 or devices not in (1, "1", "auto")
    return Fabric(
        accelerator=settings.accelerator,
        devices=devices,
        num_nodes=settings.nodes,
        precision=precision,  # type: ignore[arg-type]
        strategy=DDPStrategy(find_unused_parameters=True) if several else "auto",
    )
