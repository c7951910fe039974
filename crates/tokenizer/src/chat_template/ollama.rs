//! Ollama's Go templates for chat templates that are recognised by what they render.
