"""What the demo checkpoint is trained with: pictures drawn ahead, batches, a tokenizer, and help to start."""
