"""`launcher:` of the config: the system that runs the worker command, and its resources."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from kirigami.search.schema import Group

Number = int | float


class Local(Group):
    """Worker processes on this machine.

    Attributes:
        deaths_in_a_row: a worker that died so often, while no trial of the study ended, is not replaced any more.
    """

    name: Literal["local"]
    deaths_in_a_row: int = Field(default=10, ge=1)


class Ray(Group):
    """Workers as actors of a Ray cluster.

    Attributes:
        address: auto, local, HOST:PORT or ray://HOST:PORT.
        num_cpus: of a worker; also its threads.
        num_gpus: of a worker; 0.5 puts two workers on a GPU.
        max_restarts: how often Ray starts a worker again whose node or actor was lost; -1 is always.
        runtime_env: Ray's own.
    """

    name: Literal["ray"]
    deaths_in_a_row: int = Field(default=10, ge=1)
    address: str = "auto"
    num_cpus: Annotated[Number, Field(gt=0)] = 1
    num_gpus: Annotated[Number, Field(ge=0)] | Literal["auto"] = Field(
        default="auto", description="auto, a fraction of one GPU or a whole number"
    )
    max_restarts: int = Field(default=-1, ge=-1, description="a whole number, or -1 for always")
    runtime_env: dict[str, Any] = {}

    @model_validator(mode="after")
    def _whole_gpus(self) -> Self:
        if self.num_gpus != "auto" and self.num_gpus > 1 and self.num_gpus != int(self.num_gpus):
            raise ValueError(
                f"launcher.num_gpus must be auto, a fraction of one GPU or a whole number, but got {self.num_gpus!r}."
            )
        return self


class Slurm(Group):
    """Workers as an array of SLURM jobs.

    Attributes:
        cluster: `local` runs the same jobs as processes of this machine.
        wait: whether to follow the jobs; else they are submitted and left alone.
        timeout_min: minutes of a job; before it ends the trial is handed back and the job queued again.
        signal_delay_s: seconds before that.
        max_num_timeout: how often a job is queued again after it ran out of time.
        cpus_per_task: of a worker; also its threads.
        setup: shell lines before the worker starts.
        additional_parameters: any other option of sbatch.
    """

    name: Literal["slurm"]
    deaths_in_a_row: int = Field(default=10, ge=1)
    cluster: Literal["slurm", "local"] = "slurm"
    wait: bool = True
    timeout_min: int = Field(default=60, ge=1)
    signal_delay_s: int = Field(default=90, ge=1)
    max_num_timeout: int = Field(default=100, ge=0)
    cpus_per_task: int = Field(default=1, ge=1)
    gpus_per_node: int = Field(default=0, ge=0)
    mem_gb: Annotated[Number, Field(gt=0)] | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    setup: list[str] = []
    additional_parameters: dict[str, Any] = {}


Launcher = Annotated[Local | Ray | Slurm, Field(discriminator="name")]
