"""From a trial of a study to a folder that a stranger can use without this project."""
