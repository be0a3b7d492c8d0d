"""What `predict` reads and answers: rows of tables, pictures, and the columns of the answer; none of it needs torch."""
