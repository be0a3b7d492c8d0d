"""`trainer:` and `checkpoint:` of the config: the training of a trial, and its checkpoints."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from kirigami.search.schema import Group, Unit

Precision = Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true"]


class TrainerConfig(Group):
    """Length, batches and devices of a trial's training.

    Attributes:
        epochs: of a full trial; 0 trains nothing.
        steps: optimiser steps of a full trial in place of epochs; fidelities are then counted in steps.
        val_every: epochs or steps between validations.
        gradient_clip: largest norm of the gradient.
        devices: that share every batch of a trial; trials recorded before there was a choice had one.
        compress_gradients: share of the gradient's entries that several devices send at a step.
        callbacks: Lightning's or the user's, each by its `_target_` and arguments.
        logger: where curves are written too: csv, tensorboard, or a logger by its `_target_` and arguments.
    """

    epochs: int = Field(ge=0)
    steps: Annotated[int, Field(ge=1)] | None
    batch_size: int = Field(ge=1)
    val_every: int = Field(ge=1)
    precision: Precision
    gradient_clip: Annotated[int | float, Field(gt=0)] | None
    device: str
    devices: int = Field(default=1, ge=1)
    compress_gradients: float | None = Field(
        default=None, gt=0, le=1, description="null or the share of entries sent, above 0 and at most 1"
    )
    callbacks: list[dict[str, Any]] = Field(default=[], description="a list of mappings, each with a _target_")
    logger: Literal["csv", "tensorboard"] | dict[str, Any] | None = Field(
        default=None, description="null, csv, tensorboard or a mapping with a _target_"
    )

    @property
    def fidelities(self) -> int:
        """The fidelity of a full trial: its epochs, or its steps; one where nothing is trained."""
        return max(1, self.epochs if self.steps is None else self.steps)

    @property
    def unit(self) -> Literal["epoch", "step"]:
        """What fidelities are counted in."""
        return "epoch" if self.steps is None else "step"

    @property
    def is_untrained(self) -> bool:
        """Whether a trial is validated without any training."""
        return self.epochs == 0 and self.steps is None

    @property
    def ranks(self) -> int:
        """How many processes train a trial together; one is enough where nothing is trained."""
        return 1 if self.is_untrained else self.devices

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.fidelities % self.val_every:
            raise ValueError(
                f"trainer.val_every must divide the {self.fidelities} epochs or steps of a trial, so that its end is "
                f"validated, but got {self.val_every}. Set trainer.val_every=1."
            )
        if self.devices > self.batch_size:
            raise ValueError(
                f"trainer.devices must be at most trainer.batch_size={self.batch_size}, a row of each batch for each, "
                f"but got {self.devices}. Set trainer.devices={self.batch_size}, or a larger trainer.batch_size."
            )
        if self.compress_gradients is not None and self.devices == 1:
            raise ValueError(
                "trainer.compress_gradients must be null on one device, which sends no gradients, but got "
                f"{self.compress_gradients!r}. Set trainer.devices=2, or more."
            )
        return self


class Checkpoint(Group):
    """Checkpoints of running trials.

    Attributes:
        every_s: seconds between two of one trial, at least; 0 writes one at every validation, None writes none.
    """

    every_s: Annotated[float, Unit("seconds"), Field(ge=0)] | None = None
