"""The family's models, and what they take and give."""
