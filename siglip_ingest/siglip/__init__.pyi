# The public names: each once, here. Type checkers read this file, and __init__.py loads the names that it lists.
from .transformers_api.auto import (
    AutoConfig as AutoConfig,
    AutoImageProcessor as AutoImageProcessor,
    AutoModel as AutoModel,
    AutoModelForImageClassification as AutoModelForImageClassification,
    AutoModelForZeroShotImageClassification as AutoModelForZeroShotImageClassification,
    AutoProcessor as AutoProcessor,
    AutoTokenizer as AutoTokenizer,
)
from .transformers_api.models.classification import (
    Siglip2ForImageClassification as Siglip2ForImageClassification,
    SiglipForImageClassification as SiglipForImageClassification,
)
from .transformers_api.models.configs import (
    Siglip2Config as Siglip2Config,
    Siglip2TextConfig as Siglip2TextConfig,
    Siglip2VisionConfig as Siglip2VisionConfig,
    SiglipConfig as SiglipConfig,
    SiglipTextConfig as SiglipTextConfig,
    SiglipVisionConfig as SiglipVisionConfig,
)
from .transformers_api.models.towers import (
    Siglip2Model as Siglip2Model,
    Siglip2TextModel as Siglip2TextModel,
    Siglip2VisionModel as Siglip2VisionModel,
    SiglipModel as SiglipModel,
    SiglipTextModel as SiglipTextModel,
    SiglipVisionModel as SiglipVisionModel,
)
from .transformers_api.pipelines import pipeline as pipeline
from .transformers_api.processing.image_processors import (
    Siglip2ImageProcessor as Siglip2ImageProcessor,
    Siglip2ImageProcessorFast as Siglip2ImageProcessorFast,
    Siglip2ImageProcessorPil as Siglip2ImageProcessorPil,
    SiglipImageProcessor as SiglipImageProcessor,
    SiglipImageProcessorFast as SiglipImageProcessorFast,
    SiglipImageProcessorPil as SiglipImageProcessorPil,
)
from .transformers_api.processing.images import load_image as load_image
from .transformers_api.processing.processors import (
    Siglip2Processor as Siglip2Processor,
    SiglipProcessor as SiglipProcessor,
)
from .transformers_api.processing.tokenizers import (
    Siglip2Tokenizer as Siglip2Tokenizer,
    SiglipTokenizer as SiglipTokenizer,
)
