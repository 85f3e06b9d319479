"""What goes through Redis: tickets, which say that images are queued, and tasks, which embed a query's image."""
