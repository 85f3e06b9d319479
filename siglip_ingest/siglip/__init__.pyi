# The public names: each once, here. Type checkers read this file, and __init__.py loads the names that it lists.
from .transformers_api.auto import (
    AutoConfig as AutoConfig,
)
from .transformers_api.auto import (
    AutoImageProcessor as AutoImageProcessor,
)
from .transformers_api.auto import (
    AutoModel as AutoModel,
)
from .transformers_api.auto import (
    AutoModelForImageClassification as AutoModelForImageClassification,
)
from .transformers_api.auto import (
    AutoModelForZeroShotImageClassification as AutoModelForZeroShotImageClassification,
)
from .transformers_api.auto import (
    AutoProcessor as AutoProcessor,
)
from .transformers_api.auto import (
    AutoTokenizer as AutoTokenizer,
)
from .transformers_api.models.classification import (
    Siglip2ForImageClassification as Siglip2ForImageClassification,
)
from .transformers_api.models.classification import (
    SiglipForImageClassification as SiglipForImageClassification,
)
from .transformers_api.models.configs import (
    Siglip2Config as Siglip2Config,
)
from .transformers_api.models.configs import (
    Siglip2TextConfig as Siglip2TextConfig,
)
from .transformers_api.models.configs import (
    Siglip2VisionConfig as Siglip2VisionConfig,
)
from .transformers_api.models.configs import (
    SiglipConfig as SiglipConfig,
)
from .transformers_api.models.configs import (
    SiglipTextConfig as SiglipTextConfig,
)
from .transformers_api.models.configs import (
    SiglipVisionConfig as SiglipVisionConfig,
)
from .transformers_api.models.towers import (
    Siglip2Model as Siglip2Model,
)
from .transformers_api.models.towers import (
    Siglip2TextModel as Siglip2TextModel,
)
from .transformers_api.models.towers import (
    Siglip2VisionModel as Siglip2VisionModel,
)
from .transformers_api.models.towers import (
    SiglipModel as SiglipModel,
)
from .transformers_api.models.towers import (
    SiglipTextModel as SiglipTextModel,
)
from .transformers_api.models.towers import (
    SiglipVisionModel as SiglipVisionModel,
)
from .transformers_api.pipelines import pipeline as pipeline
from .transformers_api.processing.image_processors import (
    Siglip2ImageProcessor as Siglip2ImageProcessor,
)
from .transformers_api.processing.image_processors import (
    Siglip2ImageProcessorFast as Siglip2ImageProcessorFast,
)
from .transformers_api.processing.image_processors import (
    Siglip2ImageProcessorPil as Siglip2ImageProcessorPil,
)
from .transformers_api.processing.image_processors import (
    SiglipImageProcessor as SiglipImageProcessor,
)
from .transformers_api.processing.image_processors import (
    SiglipImageProcessorFast as SiglipImageProcessorFast,
)
from .transformers_api.processing.image_processors import (
    SiglipImageProcessorPil as SiglipImageProcessorPil,
)
from .transformers_api.processing.images import load_image as load_image
from .transformers_api.processing.processors import (
    Siglip2Processor as Siglip2Processor,
)
from .transformers_api.processing.processors import (
    SiglipProcessor as SiglipProcessor,
)
from .transformers_api.processing.tokenizers import (
    Siglip2Tokenizer as Siglip2Tokenizer,
)
from .transformers_api.processing.tokenizers import (
    SiglipTokenizer as SiglipTokenizer,
)
