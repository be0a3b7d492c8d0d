"""Each claim of the project, measured; one file each."""
