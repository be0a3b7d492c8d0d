"""From YAML and the command line to a study that is checked."""
