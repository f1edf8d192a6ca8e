"""Other people's executions of a model, in processes of their own."""
