"""Images and texts to what the models take."""
