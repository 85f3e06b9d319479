"""The classes and functions of the transformers API: change the import, keep the code."""
