"""What weights would be if something had gone wrong with them; `verify.kinds` lists it."""
