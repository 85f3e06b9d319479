"""Training on several processes: their group, and the sigmoid loss of a batch that is spread over them."""
