"""The page: layout, what its buttons do, and what of Gradio's own HTTP answers."""
