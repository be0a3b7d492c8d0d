"""What claims and races are measured with: the command, training, servers, faults, the judge, the record."""
