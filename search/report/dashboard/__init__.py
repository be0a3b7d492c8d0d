"""Optuna's dashboard on our studies, with limits, a note and figures added."""
