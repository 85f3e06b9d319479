"""Celery workers that turn queued images, query texts and query images into SigLIP embeddings."""
