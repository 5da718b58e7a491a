"""What every page is made of: shapes, words, colours, charts, lists, forms and dialogs. Knows states, and no other subject."""
