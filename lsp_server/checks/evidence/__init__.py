"""What was run, on what, and how close it was: kept below the project's `.ditproof/`.

* `model`: one run as it is kept, and what makes two runs the same question.
* `making`: from the result of a check to what is kept of it.
* `kept_findings`: what an editor shows of a run.
* `store`: SQLite; safe when several processes write, when the disk is full and when one is killed.
* `trends`: how drift went over time.
* `standing`: whether what is kept still speaks of the files as they are.
"""
