"""Texts to token ids: SigLIP's SentencePiece and SigLIP 2's Gemma tokenizer."""
