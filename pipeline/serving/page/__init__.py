"""The page of `ganline app`, made with Gradio: a process of its own that asks the model's one."""
