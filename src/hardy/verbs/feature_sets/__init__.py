"""How hardy features makes a data set: the job, the pictures, the numbers, the files."""
