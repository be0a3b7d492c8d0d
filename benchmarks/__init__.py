"""Each claim and each race, one file each; records of what was measured lie in records/."""
