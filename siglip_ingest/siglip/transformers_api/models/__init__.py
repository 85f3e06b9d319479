"""Models, configs and outputs of the transformers API."""
