"""ask -> run -> tell, until a study's budget is met."""

from kirigami.search.loop.loop import Loop

__all__ = ["Loop"]
