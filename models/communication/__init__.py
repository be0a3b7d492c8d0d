"""Gradients between the workers of one distributed run, in a tenth of the bytes and less."""

from kirigami.models.communication.codes import Layout
from kirigami.models.communication.gradients import CompressedGradients, exchange

__all__ = ["CompressedGradients", "Layout", "exchange"]
