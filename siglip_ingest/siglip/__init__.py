"""SigLIP and SigLIP 2 with the names of the transformers API: change the import, keep the code.

    from siglip_ingest.siglip import AutoModel, AutoProcessor, pipeline

Snippets written for transformers run with that import line and the name of a checkpoint: `demo`, a folder, or a hub
name such as `google/siglip2-base-patch16-224`. Models, tokenizers and image processors are this package's own; nothing
of transformers is needed. The names stand in `__init__.pyi` and are loaded when they are first used: importing this
imports no torch.
"""

from typing import Any

import lazy_loader

from siglip_ingest.errors import ConfigurationError
from siglip_ingest.process import how_to_install

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "BitsAndBytesConfig":
        raise ConfigurationError(
            "Quantized weights aren't supported: leave BitsAndBytesConfig out, and choose dtype=torch.bfloat16, which "
            "halves the memory."
        )
    try:
        return _load(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("siglip_ingest"):
            raise
        raise ConfigurationError(
            f"{name} needs {error.name}, which isn't installed: {how_to_install('model')}."
        ) from error
