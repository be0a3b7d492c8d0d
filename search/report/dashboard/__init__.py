"""Optuna's dashboard on our studies, with what it does not know of them: limits, the note, our figures."""
