"""Image search inside PostgreSQL: SigLIP embeddings, ingestion workers, label scores in SQL.

The module-level functions use the default client, made from the environment at first use; `SiglipClient` is the same
with everything explicit. The names stand in `__init__.pyi` and are loaded when they are first used, so that importing
the package costs next to nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
