"""The `config` verb: the composed config of a study."""

from kirigami.search.command.options import NoOptions
from kirigami.search.command.verb import Call
from kirigami.search.errors import masked

Options = NoOptions


def run(call: Call, _options: NoOptions) -> int:
    """Print the composed config as YAML."""
    from omegaconf import OmegaConf

    from kirigami.search.config.resolve import resolve

    print(masked(OmegaConf.to_yaml(resolve(call.composed()))), end="")
    return 0
