"""Tables: from a file to raw cells, and from cells to numbers by rules that the train rows taught. Needs no torch."""
