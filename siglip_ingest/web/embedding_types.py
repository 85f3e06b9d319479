"""What requests and answers of `/v1/embeddings` look like: OpenAI's, with what vLLM and Infinity added for images."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_NO_TOKENS = "input is texts: arrays of tokens are of another tokenizer than this model's"

MAX_TEXTS = 2048  # OpenAI's own limit


class ImageUrl(BaseModel):
    """Where an image is: a data URL."""

    url: str


class ContentPart(BaseModel):
    """A part of a message: a text or an image."""

    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: ImageUrl | str | None = None

    @model_validator(mode="after")
    def _has_content(self) -> ContentPart:
        if getattr(self, self.type) is None:
            raise ValueError(f"a part of type {self.type} has {self.type}")  # pydantic's way
        return self


class ChatMessage(BaseModel):
    """A message of a chat."""

    role: str = "user"
    content: str | Annotated[list[ContentPart], Field(max_length=16)]


class EmbeddingRequest(BaseModel):
    """What is to be embedded. Fields that only other servers know are ignored."""

    model_config = ConfigDict(extra="ignore")

    model: str | None = Field(default=None, description="The active model's name, or the last part of it.")
    input: str | Annotated[list[str], Field(min_length=1, max_length=MAX_TEXTS)] | None = Field(
        default=None, description="A text, or several; data URLs are images. Arrays of tokens aren't taken."
    )
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=16)] | None = Field(
        default=None, description="Instead of input: one text or one image."
    )
    modality: Literal["text", "image"] | None = Field(
        default=None, description="What all of input is; null: data URLs are images, and all else are texts."
    )
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, description="That of the model, if it is given.")
    user: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _has_no_tokens(cls, body: Any) -> Any:
        given = body.get("input") if isinstance(body, dict) else None
        first = given[0] if isinstance(given, list) and given else None
        if (isinstance(first, int) and not isinstance(first, bool)) or isinstance(first, list):
            raise ValueError(_NO_TOKENS)  # noqa: TRY004  # pydantic's way
        return body

    @model_validator(mode="after")
    def _has_one(self) -> EmbeddingRequest:
        if (self.input is None) == (self.messages is None):
            raise ValueError("give one of input and messages")
        if self.messages is not None:
            self.read_messages()
        return self

    def read_messages(self) -> tuple[str, str | None]:
        """The text of the messages, which may be empty, and the URL of their image; only one of the two is there.

        Raises:
            ValueError: If there are several.
        """
        texts, images = [], []
        for message in self.messages or ():
            parts = message.content if isinstance(message.content, list) else []
            texts += [message.content] if isinstance(message.content, str) else [part.text or "" for part in parts]
            for part in parts:
                if part.type == "image_url" and part.image_url is not None:
                    images.append(part.image_url if isinstance(part.image_url, str) else part.image_url.url)
        texts = [text for text in texts if text.strip()]
        if len(texts) + len(images) != 1:
            raise ValueError(
                "messages hold one text or one image: the model embeds each by itself. Send the others in requests of "
                f"their own, not {len(texts)} texts and {len(images)} images in one"
            )
        return (texts[0] if texts else ""), (images[0] if images else None)


class Embedding(BaseModel):
    """One vector."""

    object: Literal["embedding"] = "embedding"
    index: int = Field(description="Its place in input.")
    embedding: list[float] | str = Field(description="Numbers, or the base64 of little-endian float32.")


class Usage(BaseModel):
    """Tokens that the model read, padding left out; 0 for images, and where a worker embeds."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """Vectors, in the order of input."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage
