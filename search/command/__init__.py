"""What a user types and reads: the command line and its verbs, one file a verb."""
