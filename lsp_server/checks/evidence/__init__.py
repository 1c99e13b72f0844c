"""What was run, on what, and how close it was: kept below the project's `.ditproof/`.

* `model`: one run as it is kept, and what makes two runs the same question.
* `making`: from the result of a check to what is kept of it.
* `store`: SQLite; safe when several processes write, when the disk is full and when one is killed.
* `standing`: whether what is kept still speaks of the files as they are.
"""
