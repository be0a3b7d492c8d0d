"""Callbacks that judge a run by scores, and the moment at which its network takes its final form."""

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint


def judge_anew(trainer: Trainer) -> None:
    """Let the callbacks that compare scores forget those of the soft form: a hard network is compared with hard ones.

    Checkpoints that were written before stay where they are, and are no longer among the best.
    """
    for callback in trainer.callbacks:
        if not isinstance(callback, EarlyStopping | ModelCheckpoint):
            continue
        worst = torch.tensor(float("inf") if callback.mode == "min" else -float("inf"))
        if isinstance(callback, EarlyStopping):
            callback.best_score, callback.wait_count = worst, 0
        elif callback.monitor is not None:
            callback.best_k_models, callback.kth_best_model_path, callback.kth_value = {}, "", worst
            callback.best_model_path, callback.best_model_score = "", None
