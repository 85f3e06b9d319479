"""A server of the Model Context Protocol: assistants search, label and look at the images. Needs the extra `mcp`."""
