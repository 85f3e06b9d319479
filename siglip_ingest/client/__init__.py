"""The public API: `SiglipClient`, a part in each module, and its methods as functions of one default client."""

from siglip_ingest.client.client import SiglipClient
from siglip_ingest.client.models import LABELS_TIMEOUT_S

__all__ = ["LABELS_TIMEOUT_S", "SiglipClient"]
