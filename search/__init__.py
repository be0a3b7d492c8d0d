"""The loop that joins spaces, tasks and models into a search; nothing imports this package but its users."""
