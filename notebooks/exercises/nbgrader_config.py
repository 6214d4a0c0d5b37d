"""nbgrader's settings for the assignments in this folder; see docs/teaching.md."""

c = get_config()  # noqa: F821 - nbgrader gives it
c.CourseDirectory.course_id = "lcelib"
c.ExecutePreprocessor.timeout = 120
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError()"}
