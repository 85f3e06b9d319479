"""Messages through Redis: tickets, which tell workers that images are queued, and tasks that embed a query's image."""
