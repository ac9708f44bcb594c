"""No models. Django sends its signals about migrations to apps with this module only."""
