"""Pictures: which files hold them, and how each becomes numbers, in training and in `predict` alike. No torch here."""
