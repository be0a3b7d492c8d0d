"""What a study has come to, for people and for other programs."""
